--- Five nodes with nothing to do for ten virtual minutes: heartbeats every 50 ms, and answers.
local rpc = require "perilune.rpc"
local fiber = require "perilune.fiber"

local OPTIONS = { secret = "the secret of a benchmark" }
local M = { time = "600s", network = { latency = { "uniform", "200us", "2ms" } } }

local function lead(_, ...)
  local followers = {}
  for i, name in ipairs { ... } do
    followers[i] = rpc.connect(name, OPTIONS)
  end
  rpc.serve({ answer = function() end }, OPTIONS)
  while true do
    fiber.sleep(0.05)
    for _, follower in ipairs(followers) do
      follower:cast("beat", { term = 1, commit = 7 })
    end
  end
end

local function follow(_, leader)
  local peer = rpc.connect(leader, OPTIONS)
  rpc.serve({ beat = function(beat) peer:cast("answer", { term = beat.term }) end }, OPTIONS)
  fiber.sleep(3600)
end

M.nodes = { leader = lead, follower = follow }

function M.run(sim)
  sim:start("n1", "leader", "n2", "n3", "n4", "n5")
  for i = 2, 5 do
    sim:start("n" .. i, "follower", "n1")
  end
  sim:sleep(599)
end

return M
