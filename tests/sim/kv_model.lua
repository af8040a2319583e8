-- What one key may answer: the model of tests/sim/kv.lua for perilune.check. A state is false, or the key's
-- { version, value }; so more is checked than with the model "kv", whose operations know no versions.
--   put v -> true    append text -> size    delete -> was it there    add n -> sum
--   get -> { version, value } or false      cas { version, v } -> did the version match (0: not there)
--   either { version, text } -> { true, size } of an append when the version matched, else { false, as get }
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

local function is_what_is_there(found, state)
  return found and state and found[1] == state[1] and found[2] == state[2] or not found and not state
end

function steps.get(state, op)
  return op.is_unknown or is_what_is_there(op.result, state), state
end

function steps.cas(state, op)
  local does = (state and state[1] or 0) == op.value[1]
  return op.is_unknown or op.result == does, does and changed(state, op.value[2]) or state
end

function steps.either(state, op)
  local does = (state and state[1] or 0) == op.value[1]
  if does then
    state = changed(state, (state and state[2] or "") .. op.value[2])
  end
  local fits = op.is_unknown or op.result[1] == does
  return fits and (op.is_unknown or does and op.result[2] == #state[2]
    or not does and is_what_is_there(op.result[2], state)), state
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
