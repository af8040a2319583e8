-- A planted leak: how the kernel scheduled the process, by way of a file of code.
local perilune = require "perilune"

local function leak(node)
  perilune.sleep(1)
  node:tell(select(2, loadfile "/proc/self/schedstat"))
end

return {
  nodes = { leaky = leak },
  run = function(sim)
    sim:start("n1", "leaky")
    sim:join "n1"
  end,
}
