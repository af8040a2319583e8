-- A counter with a limit: the smallest machine. Commands are numbers to add; the result is the sum.
--
--   perilune machine check examples/machines/counter.lua
local LIMIT = 1000000

return {
  init = function() return { count = 0 } end,

  apply = function(state, command)
    state.count = state.count + command
    if math.abs(state.count) > LIMIT then
      error(("the counter stays within %d"):format(LIMIT), 0) -- and what was added above is undone
    end
    return state.count
  end,

  query = function(state) return state.count end,

  samples = { 1, 5, -3, 400000 },
}
