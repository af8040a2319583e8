-- Gossip: a rumour spreads without anybody in charge. Every node knows a few others, chosen at random;
-- ten times a second it tells one of them what it has heard. A tenth of the messages get lost, and a tenth of
-- the nodes crash on the way and start again knowing nothing; still everybody hears the rumour
-- (Demers et al., Epidemic algorithms for replicated database maintenance, 1987).
--
--   perilune sim examples/scenarios/gossip.lua
--   perilune sim examples/scenarios/gossip.lua --arg nodes=100 --seed 2
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local NODES = math.tointeger(tonumber(args.nodes or 30))
local NEIGHBOURS = 4

local M = {
  about = "a rumour spreads to all nodes, although messages get lost and nodes crash",
  time = "5m",
  network = { latency = { "exponential", "1ms", "20ms" }, loss = 0.1 },
}

M.nodes = {}

function M.nodes.member(node, neighbours)
  node.heard = {}
  assert(rpc.serve {
    tell = function(rumours)
      for rumour in pairs(rumours) do
        node.heard[rumour] = true
      end
    end,
  })
  local peers = {}
  for index, name in ipairs(neighbours) do
    peers[index] = rpc.connect(name)
  end
  while true do
    perilune.sleep(0.05 + 0.1 * perilune.random())
    if next(node.heard) then
      peers[perilune.random(#peers)]:cast("tell", node.heard)
    end
  end
end

M.probes = {
  start_rumour = function(node, rumour)
    node.heard[rumour] = true
  end,
  has_heard = function(node, rumour)
    return node.heard[rumour] == true
  end,
}

local function count_heard(sim, rumour)
  local count = 0
  for _, name in ipairs(sim:names()) do
    count = count + (sim:probe(name, "has_heard", rumour) == true and 1 or 0)
  end
  return count
end

function M.run(sim)
  local names = {}
  for index = 1, NODES do
    names[index] = "n" .. index
  end
  for index, name in ipairs(names) do
    local neighbours = { names[index % NODES + 1] } -- a ring, so that nobody is left out
    while #neighbours < NEIGHBOURS do
      neighbours[#neighbours + 1] = sim:pick(names)
    end
    sim:start(name, "member", neighbours)
  end
  sim:sleep "1s"
  sim:probe("n1", "start_rumour", "the king has ears of an ass")
  sim:assert(sim:wait_until(function() -- or the crashes could take everybody who knows
    return count_heard(sim, "the king has ears of an ass") > NODES // 10
  end, "60s", "100ms"), "some have heard the rumour")
  for _ = 1, NODES // 10 do
    sim:sleep "200ms"
    local victim = sim:pick(names)
    sim:crash(victim)
    sim:restart(victim)
  end
  sim:assert(sim:wait_until(function()
    return count_heard(sim, "the king has ears of an ass") == NODES
  end, "120s", "1s"), "everybody has heard the rumour")
  print(("all %d nodes had heard it after %.1f s"):format(NODES, sim:now()))
end

return M
