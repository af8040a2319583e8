-- Two-phase commit, and how it blocks: a coordinator asks the participants to prepare; when all have voted
-- yes it writes its decision to disk and tells them. A participant that has voted yes may neither commit
-- nor abort by itself: until it learns the decision it holds its locks. So when the coordinator crashes
-- after the votes, everybody waits for it to come back (Gray, Notes on data base operating systems, 1978).
--
-- Each run crashes the coordinator between votes and decision, sees that the participants are in doubt for
-- as long as it is down, and that after its restart all of them decide alike. A decision that was not
-- written means abort.
--
--   perilune sim examples/scenarios/two_phase_commit.lua
--   perilune sim examples/scenarios/two_phase_commit.lua --seeds 1..50
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local PARTICIPANTS = { "p1", "p2", "p3" }

local M = {
  about = "two-phase commit blocks while its coordinator is down, and stays atomic",
  time = "5m",
  network = { latency = { "uniform", "1ms", "20ms" }, loss = 0.05 },
}

M.nodes = {}

local function call_until_answered(peer, ...)
  while true do
    local answer = peer:call(...)
    if answer ~= nil then
      return answer
    end
  end
end

local function ask_for_votes(node, peers)
  for _, peer in ipairs(peers) do
    if call_until_answered(peer, "prepare") ~= "yes" then
      return "abort"
    end
  end
  node:tell "has all votes"
  perilune.sleep(0.5 * perilune.random()) -- a machine that is busy
  return "commit"
end

-- After a restart the decision is what the disk says; when it says nothing, nobody can have committed.
function M.nodes.coordinator(node)
  local peers = {}
  for index, name in ipairs(PARTICIPANTS) do
    peers[index] = rpc.connect(name, { deadline = 0.2 })
  end
  local decision = perilune.fs.read "decision" or (node.incarnation > 0 and "abort")
    or ask_for_votes(node, peers)
  assert(perilune.fs.write("decision", decision, { atomic = true, sync = true }))
  for _, peer in ipairs(peers) do
    call_until_answered(peer, "decide", decision)
  end
  return decision
end

function M.nodes.participant(node)
  node.state = "working"
  assert(rpc.serve {
    prepare = function()
      if node.state == "working" then
        node.state = perilune.random() < 0.9 and "prepared" or "abort"
      end
      return node.state == "abort" and "no" or "yes"
    end,
    decide = function(decision)
      node.state = decision
      return true
    end,
  })
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

local function crash_and_look(sim)
  sim:crash "coordinator"
  sim:sleep "100ms" -- what is on its way arrives
  local in_doubt = count(sim, "prepared")
  sim:sleep "1m"
  sim:assert(count(sim, "prepared") == in_doubt, "nobody decides while the coordinator is down")
  print(("%d participants were in doubt for a minute, with their locks held"):format(in_doubt))
  sim:restart "coordinator"
end

function M.run(sim)
  for _, name in ipairs(PARTICIPANTS) do
    sim:start(name, "participant")
  end
  sim:start("coordinator", "coordinator")
  if sim:receive "10s" then
    sim:sleep(0.5 * sim:random())
    crash_and_look(sim)
  end
  local _, decision = sim:join("coordinator", "60s")
  sim:assert(decision, "the coordinator decides")
  local decided = count(sim, decision)
  sim:assert(decided == #PARTICIPANTS, ("all participants %s, not %d"):format(decision, decided))
end

return M
