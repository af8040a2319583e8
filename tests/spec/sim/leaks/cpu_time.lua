-- A planted leak: how long the kernel let the process run, by way of a file of code.
local perilune = require "perilune"

local function leak(node)
  perilune.sleep(1)
  for _ = 1, 5000000 do end -- the kernel counts nothing before its first tick
  node:tell(select(2, loadfile "/proc/self/schedstat"))
end

return {
  nodes = { leaky = leak },
  run = function(sim)
    sim:start("n1", "leaky")
    sim:join "n1"
  end,
}
