--- Two nodes play rpc casts back and forth, a hundred at a time: the whole stack, from message to message.
local rpc = require "perilune.rpc"
local fiber = require "perilune.fiber"

local OPTIONS = { secret = "the secret of a benchmark" }
local M = { time = "60s", network = { latency = { "uniform", "1ms", "10ms" } } }

local function play(_, other)
  local peer
  rpc.serve({ hop = function(ball) peer:cast("hop", { hops = ball.hops + 1 }) end }, OPTIONS)
  peer = rpc.connect(other, OPTIONS)
  fiber.sleep(1)
  for _ = 1, 50 do
    assert(peer:cast("hop", { hops = 0 }))
  end
  fiber.sleep(3600)
end

M.nodes = { player = play }

function M.run(sim)
  sim:start("n1", "player", "n2")
  sim:start("n2", "player", "n1")
  sim:sleep(50)
end

return M
