-- What one key may answer to Redis' commands: the model of tests/sim/kv_resp.lua for perilune.check. A state
-- is false, or the key's value.
--   set v -> "OK"     append text -> size    del -> how many    get -> the value, or false
--   getset v -> the value before             setnx v -> "OK", or false when it was there
--   add n -> sum      double -> the number before % 1000               cas { old, new } -> 1, or 0
local steps = {}

function steps.set(_, op)
  return "OK", op.value
end

function steps.append(state, op)
  local next = (state or "") .. op.value
  return #next, next
end

function steps.del(state)
  return state and 1 or 0, false
end

function steps.get(state)
  return state, state
end

function steps.getset(state, op)
  return state, op.value
end

function steps.setnx(state, op)
  return not state and "OK", state or op.value
end

function steps.add(state, op)
  local sum = (state and math.tointeger(tonumber(state)) or 0) + op.value
  return sum, ("%d"):format(sum)
end

function steps.double(state)
  local number = (state and math.tointeger(tonumber(state)) or 0) % 1000
  return number, ("%d"):format(2 * number)
end

function steps.cas(state, op)
  local does = state == op.value[1]
  return does and 1 or 0, does and op.value[2] or state
end

return {
  name = "resp",
  init = false,
  pure = { "get" },
  partition = function(op)
    return op.key
  end,
  step = function(state, op)
    local result, next = steps[op.f](state, op)
    return op.is_unknown or op.result == result, next
  end,
}
