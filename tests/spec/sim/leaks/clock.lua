-- A planted leak: the time since the machine started, by way of a file of code.
local perilune = require "perilune"

local function leak(node)
  perilune.sleep(1)
  node:tell(select(2, loadfile "/proc/uptime"))
  for _ = 1, 5000000 do end -- the clock moves by 10 ms before the second run reads it
end

return {
  nodes = { leaky = leak },
  run = function(sim)
    sim:start("n1", "leaky")
    sim:join "n1"
  end,
}
