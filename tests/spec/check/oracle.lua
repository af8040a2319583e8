--- A checker that is obviously right, and slow: it tries every order of the operations on models of its own.
local M = {}

local function copy(list)
  return table.move(list, 1, #list, 1, {})
end

local function equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  elseif #a ~= #b then
    return false
  end
  for index = 1, #a do
    if not equal(a[index], b[index]) then
      return false
    end
  end
  return true
end

-- step(state, op) gives whether the op is legal, and the state after it. op.outcome is ok, fail or unknown.
local function cas(state, op)
  if op.outcome == "fail" then
    return state ~= op.value[1], state
  elseif op.outcome == "unknown" then
    return true, state == op.value[1] and op.value[2] or state
  end
  return state == op.value[1], op.value[2]
end

local function register(state, op)
  if op.f == "read" then
    return state == op.result, state
  elseif op.f == "cas" then
    return cas(state, op)
  end
  return true, op.value
end

local function kv(state, op)
  if op.f == "get" then
    return state == op.result or (state == nil and op.result == ""), state
  elseif op.f == "append" then
    return true, (state or "") .. op.value
  end
  return true, op.value -- delete has none
end

local function append(state, op)
  if op.f == "read" then
    return equal(state, op.result), state
  end
  state = copy(state)
  state[#state + 1] = op.value
  return true, state
end

local function counter(state, op)
  if op.f == "read" then
    return state == op.result, state
  end
  return true, state + op.value
end

local function has(set, element)
  for index, item in ipairs(set) do
    if item == element then
      return index
    end
  end
end

local function set(state, op)
  if op.f == "contains" then
    return (has(state, op.value) ~= nil) == op.result, state
  elseif op.f == "read" then
    local sorted = copy(op.result)
    table.sort(sorted)
    return equal(sorted, state), state
  end
  state = copy(state)
  local at = has(state, op.value)
  if op.f == "add" and not at then
    table.insert(state, op.value)
    table.sort(state)
  elseif op.f == "remove" and at then
    table.remove(state, at)
  end
  return true, state
end

local function queue(state, op)
  state = copy(state)
  if op.f == "enqueue" then
    table.insert(state, op.value)
    return true, state
  end
  local first = table.remove(state, 1)
  return op.outcome == "unknown" or first == op.result, state
end

local function lock(state, op)
  if op.f == "release" then
    return state.holder == op.process, { token = state.token }
  end
  local token = op.result
  return state.holder == nil and (not token or not state.token or token > state.token),
    { holder = op.process, token = token or state.token }
end

M.models = {
  register = { init = nil, step = register }, ["cas-register"] = { init = nil, step = register },
  kv = { init = nil, step = kv }, append = { init = {}, step = append },
  counter = { init = 0, step = counter },
  set = { init = {}, step = set }, queue = { init = {}, step = queue },
  lock = { init = {}, step = lock },
}

-- What says nothing is no part of the question: reads without an answer, and what failed, but for a cas.
local READS = { read = true, get = true, contains = true }

local function counts(op)
  if op.outcome == "fail" then
    return op.f == "cas"
  end
  return op.outcome ~= "unknown" or not READS[op.f]
end

-- An op may be next when no other one that is left ended before it was called.
local function may_be_next(left, op)
  for _, other in ipairs(left) do
    if other ~= op and other.finish and other.finish < op.call then
      return false
    end
  end
  return true
end

local function search(step, state, left)
  local is_over = true
  for _, op in ipairs(left) do
    is_over = is_over and op.outcome == "unknown"
  end
  if is_over then
    return true
  end
  for index, op in ipairs(left) do
    local is_legal, next_state = false, nil
    if may_be_next(left, op) then
      is_legal, next_state = step(state, op)
    end
    if is_legal then
      local rest = copy(left)
      table.remove(rest, index)
      if search(step, next_state, rest) then
        return true
      end
    end
  end
  return false
end

--- True when some order explains the operations: { f, value, result, outcome, call, finish, process }.
---@param model string
---@param operations table[]
---@return boolean
function M.is_linearizable(model, operations)
  local left = {}
  for _, op in ipairs(operations) do
    if counts(op) then
      left[#left + 1] = op
    end
  end
  return search(M.models[model].step, M.models[model].init, left)
end

--- The same for sequential consistency: an op may be next when it is its client's next.
---@param operations table[]
---@return boolean
function M.is_sequential(operations)
  local left = {}
  for _, op in ipairs(operations) do
    if counts(op) then
      left[#left + 1] = op
    end
  end
  local function step(state, op)
    local is_legal, value = register(state[op.key or ""], op)
    local after = {}
    for key, item in pairs(state) do
      after[key] = item
    end
    after[op.key or ""] = value
    return is_legal, after
  end
  local function try(state, rest)
    local is_over, started = true, {}
    for _, op in ipairs(rest) do
      is_over = is_over and op.outcome == "unknown"
    end
    if is_over then
      return true
    end
    for index, op in ipairs(rest) do
      if not started[op.process] then
        started[op.process] = true
        local is_legal, after = step(state, op)
        local fewer = copy(rest)
        table.remove(fewer, index)
        if is_legal and try(after, fewer) then
          return true
        end
      end
    end
    return false
  end
  return try({}, left)
end

return M
