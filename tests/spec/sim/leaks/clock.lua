-- A planted leak: the time since the machine started, by way of a file of code.
local perilune = require "perilune"

local function leak(node)
  perilune.sleep(1)
  node:tell(select(2, loadfile "/proc/uptime"))
end

return {
  nodes = { leaky = leak },
  run = function(sim)
    sim:start("n1", "leaky")
    sim:join "n1"
  end,
}
