-- What one key may answer: the model of tests/sim/kv.lua for perilune.check. A state is false, or the key's
-- { version, value }; so more is checked than with the model "kv", whose operations know no versions.
--   put v -> true    append text -> size    delete -> was it there    add n -> sum
--   get -> { version, value } or false      cas { version, v } -> did the version match (0: not there)
local steps = {}

local function changed(state, value)
  return { state and state[1] + 1 or 1, value }
end

function steps.put(state, op)
  return true, changed(state, op.value)
end

function steps.append(state, op)
  local next = changed(state, (state and state[2] or "") .. op.value)
  return op.is_unknown or op.result == #next[2], next
end

function steps.delete(state, op)
  return op.is_unknown or op.result == (state ~= false), false
end

function steps.add(state, op)
  local sum = (state and math.tointeger(tonumber(state[2])) or 0) + op.value
  return op.is_unknown or op.result == sum, changed(state, ("%d"):format(sum))
end

function steps.get(state, op)
  local found = op.result
  return op.is_unknown or (found and state and found[1] == state[1] and found[2] == state[2])
    or (not found and not state), state
end

function steps.cas(state, op)
  local does = (state and state[1] or 0) == op.value[1]
  return op.is_unknown or op.result == does, does and changed(state, op.value[2]) or state
end

return {
  name = "key",
  init = false,
  pure = { "get" },
  partition = function(op)
    return op.key
  end,
  step = function(state, op)
    return steps[op.f](state, op)
  end,
}
