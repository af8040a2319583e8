-- Three-phase commit, and how a partition breaks it: between votes and decision the coordinator announces
-- that it will commit (pre-commit). A participant that hears nothing more may then decide by itself: abort
-- when it has only voted, commit when it knows of the pre-commit, since then all have voted yes. No crash
-- of the coordinator blocks anybody (Skeen, Nonblocking commit protocols, 1981). But silence need not be a
-- crash: when the network splits while the pre-commit is on its way, those who have heard it commit and
-- the others abort.
--
-- This scenario is meant to fail: perilune sim ends with 0 because it finds such a run, and prints its seed.
--
--   perilune sim examples/scenarios/three_phase_commit.lua --seeds 1..100
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local PARTICIPANTS = { "p1", "p2", "p3" }
local PATIENCE = 1

local M = {
  about = "three-phase commit commits here and aborts there when the network splits",
  time = "5m",
  network = { latency = { "uniform", "1ms", "50ms" } },
  expect = "committed and %d+ aborted",
}

M.nodes = {}

local function ask_all(peers, ...)
  for _, outcome in ipairs(rpc.multicall(peers, ...)) do
    if not outcome.ok or outcome[1] ~= "yes" then
      return false
    end
  end
  return true
end

function M.nodes.coordinator()
  local peers = {}
  for index, name in ipairs(PARTICIPANTS) do
    peers[index] = rpc.connect(name, { deadline = 0.5 })
  end
  if not ask_all(peers, "prepare") then
    ask_all(peers, "decide", "abort")
  elseif ask_all(peers, "pre_commit") then
    ask_all(peers, "decide", "commit")
  end -- else somebody is taken for dead; the others decide by themselves
end

function M.nodes.participant(node)
  node.state = "working"
  local last_heard = perilune.now()
  local function become(state)
    if node.state ~= "commit" and node.state ~= "abort" then
      node.state, last_heard = state, perilune.now()
    end
    return "yes"
  end
  assert(rpc.serve {
    prepare = function() return become "prepared" end,
    pre_commit = function() return become "pre-committed" end,
    decide = become,
  })
  while true do
    perilune.sleep(0.05)
    if perilune.now() - last_heard > PATIENCE then
      if node.state == "prepared" then
        become "abort"
      elseif node.state == "pre-committed" then
        become "commit"
      end
    end
  end
end

M.probes = {
  state = function(node)
    return node.state
  end,
}

local function count(sim, state)
  local found = 0
  for _, name in ipairs(PARTICIPANTS) do
    found = found + (sim:probe(name, "state") == state and 1 or 0)
  end
  return found
end

function M.run(sim)
  for _, name in ipairs(PARTICIPANTS) do
    sim:start(name, "participant")
  end
  sim:start("coordinator", "coordinator")
  sim:sleep(0.4 * sim:random())
  sim:partition "halves"
  sim:sleep "10s"
  local committed, aborted = count(sim, "commit"), count(sim, "abort")
  sim:assert(committed == 0 or aborted == 0,
    ("%d committed and %d aborted"):format(committed, aborted))
end

return M
