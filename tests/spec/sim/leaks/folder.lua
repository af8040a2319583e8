-- A planted leak: the folder that the process runs in: a relative path finds a file in one of two.
local perilune = require "perilune"

local function leak(node)
  perilune.sleep(1)
  node:tell(package.searchpath("README.md", "?", "") ~= nil)
end

return {
  nodes = { leaky = leak },
  run = function(sim)
    sim:start("n1", "leaky")
    sim:join "n1"
  end,
}
