--- Random histories of every model: what clients saw of one object that was right, and then perhaps one lie.
local oracle = require "tests.spec.check.oracle"

local M = {}

-- A small generator of its own: the same seed gives the same histories everywhere.
local function generator(seed)
  local state = (seed * 2654435761 + 12345) & 0x7fffffff
  return function(low, high)
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return low + (state >> 8) % (high - low + 1)
  end
end
M.generator = generator

local function word(random)
  return ("abc"):sub(1, 1):rep(random(0, 1)) .. ("xyz"):sub(random(1, 3), -1):sub(1, 1)
end

-- f and argument of a random operation.
local ASK = {
  register = function(random)
    return random(1, 2) == 1 and "read" or "write", random(1, 3)
  end,
  ["cas-register"] = function(random)
    local kind = random(1, 3)
    if kind == 3 then
      return "cas", { random(1, 3), random(1, 3) }
    end
    return kind == 1 and "read" or "write", random(1, 3)
  end,
  kv = function(random)
    local f = ({ "get", "get", "put", "append", "append", "delete" })[random(1, 6)]
    return f, (f == "put" or f == "append") and word(random) or nil
  end,
  append = function(random)
    return random(1, 2) == 1 and "read" or "append", random(1, 3)
  end,
  counter = function(random)
    return random(1, 2) == 1 and "read" or "add", random(-1, 2)
  end,
  set = function(random)
    return ({ "add", "add", "remove", "contains", "read" })[random(1, 5)], random(1, 3)
  end,
  queue = function(random)
    return random(1, 2) == 1 and "enqueue" or "dequeue", random(1, 3)
  end,
  lock = function(random)
    return random(1, 2) == 1 and "acquire" or "release"
  end,
}

-- What a right object answers: outcome, result. The state changes through the oracle's own step.
local RESULT = {
  read = function(state) return state end,
  get = function(state) return state end,
  contains = function(state, _, value)
    for _, item in ipairs(state) do
      if item == value then
        return true
      end
    end
    return false
  end,
  dequeue = function(state) return state[1] end,
}
local NO_ARGUMENT = { read = true, get = true, dequeue = true, delete = true, acquire = true, release = true }

-- Something else than what was seen.
local LIE = {
  register = function(random) return random(1, 3) end,
  ["cas-register"] = function(random) return random(1, 3) end,
  kv = function(random) return word(random) end,
  append = function(random)
    return random(1, 2) == 1 and { random(1, 3) } or { random(1, 3), random(1, 3) }
  end,
  counter = function(random) return random(-1, 3) end,
  set = function(random, f)
    if f == "contains" then
      return random(1, 2) == 1
    end
    return random(1, 2) == 1 and { random(1, 3) } or {}
  end,
  queue = function(random) return random(1, 3) end,
}

local function take_effect(model, op, world, random)
  local step = oracle.models[model].step
  local answer = RESULT[op.f]
  if answer then
    op.result = answer(world.state, model, op.value)
  end
  op.outcome = "ok"
  if op.f == "cas" and world.state ~= op.value[1] then
    op.outcome = "fail"
  elseif model == "lock" then
    local is_legal = step(world.state, op)
    op.outcome = is_legal and "ok" or "fail"
    if is_legal and op.f == "acquire" and random(1, 2) == 1 then
      world.token = (world.token or 0) + random(1, 2)
      op.result = world.token
    end
  end
  if op.outcome == "ok" then
    local _, after = step(world.state, op)
    world.state = after
  end
  op.happened = true
end

--- Makes a history of one object. Returns its events, and its operations for the oracle.
---@param model string
---@param seed integer
---@param size? integer  operations; default up to 7
---@param clients? integer  default 3
---@return table[] events
---@return table[] operations
function M.make(model, seed, size, clients)
  local random = generator(seed)
  size = size or random(2, 7)
  local world = { state = oracle.models[model].init }
  local events, operations, open, names = {}, {}, {}, {}
  for client = 1, clients or 3 do
    names[client] = client
  end
  local function emit(op, kind, value)
    events[#events + 1] = { process = op.process, type = kind, f = op.f, value = value, key = op.key,
      time = #events * 1000 }
    return #events - 1
  end
  while #operations < size or next(open) do
    local client = random(1, #names)
    local op = open[client]
    if not op and #operations < size then
      op = { process = names[client] }
      op.f, op.value = ASK[model](random)
      op.value = not NO_ARGUMENT[op.f] and op.value or nil
      op.call = emit(op, "invoke", op.value)
      operations[#operations + 1], open[client] = op, op
    elseif op and not op.happened and random(1, 5) == 1 then -- nobody knows: perhaps it happens, now
      if random(1, 2) == 1 then
        take_effect(model, op, world, random)
      end
      op.outcome, op.result = "unknown", nil
      emit(op, "info")
      open[client], names[client] = nil, names[client] + 100
    elseif op and not op.happened then
      take_effect(model, op, world, random)
    elseif op and random(1, 2) == 1 then
      local is_lie = LIE[model] and RESULT[op.f] and random(1, 6) == 1
      if is_lie then
        op.result = LIE[model](random, op.f)
      elseif model == "lock" and random(1, 5) == 1 then
        op.outcome, op.result = "ok", op.f == "acquire" and random(1, 4) or nil
      end
      op.finish = emit(op, op.outcome, op.result)
      if op.outcome == "fail" then
        events[#events].value = op.value
      end
      open[client] = nil
    end
  end
  return events, operations
end

return M
