-- A cluster of five that has nothing to do: each node beats ten times a second to each other one, for ten
-- virtual minutes. What a simulated minute costs.
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local NODES, SECONDS, PERIOD = 5, 600, 0.1

local M = { about = "five idle nodes, ten minutes", time = "11m", network = { latency = "1ms" } }

function M.run(sim)
  local names = {}
  for index = 1, NODES do
    names[index] = "n" .. index
  end
  for _, name in ipairs(names) do
    sim:start(name, "member", names)
  end
  sim:sleep(SECONDS)
  for _, name in ipairs(names) do
    local beats = sim:probe(name, "beats")
    sim:assert(beats > (NODES - 1) * (SECONDS / PERIOD) * 0.99, "every node hears the others")
  end
end

M.nodes = {
  member = function(node, names)
    node.beats = 0
    assert(rpc.serve {
      beat = function()
        node.beats = node.beats + 1
      end,
    })
    local peers = {}
    for _, name in ipairs(names) do
      peers[#peers + 1] = name ~= node.name and rpc.connect(name) or nil
    end
    perilune.every(PERIOD, function()
      for _, peer in ipairs(peers) do
        peer:cast "beat"
      end
    end)
  end,
}

M.probes = {
  beats = function(node)
    return node.beats
  end,
}

return M
