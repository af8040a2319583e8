-- A planted leak: random numbers of the kernel, by way of a file of code.
local perilune = require "perilune"

local function leak(node)
  perilune.sleep(1)
  for _ = 1, 20 do -- Lua's message shows the first word when that is a number
    node:tell(select(2, loadfile "/proc/sys/kernel/random/uuid"))
  end
end

return {
  nodes = { leaky = leak },
  run = function(sim)
    sim:start("n1", "leaky")
    sim:join "n1"
  end,
}
