-- Ping: the smallest scenario. A client calls an echo server over a network that loses one message in
-- fifty. Every answer must be the one to its question, and most questions must be answered.
--
--   perilune sim examples/scenarios/ping.lua
--   perilune sim examples/scenarios/ping.lua --seeds 1..100
local rpc = require "perilune.rpc"

local M = {
  about = "a client pings an echo server over a lossy network",
  time = "5m",
  network = { latency = { "uniform", "1ms", "10ms" }, loss = 0.02 },
}

M.nodes = {}

function M.nodes.server()
  assert(rpc.serve { echo = function(value) return value end })
end

function M.nodes.client(_, server, count)
  local peer = rpc.connect(server, { deadline = 0.5 })
  local answered = 0
  for number = 1, count do
    local answer = peer:call("echo", number)
    assert(answer == nil or answer == number, "an answer to another question")
    answered = answered + (answer and 1 or 0)
  end
  return answered
end

local PINGS = 100

function M.run(sim)
  sim:start("s1", "server")
  sim:start("c1", "client", "s1", PINGS)
  local _, answered = sim:join "c1"
  print(("%d of %d pings were answered"):format(answered, PINGS))
  sim:assert(answered > PINGS / 2, "most pings are answered")
end

return M
