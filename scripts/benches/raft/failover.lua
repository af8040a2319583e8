--- How long a client waits when the leader is killed: from kill -9 to the next entry that is committed.
local cluster = require "raft.cluster"
local perilune = require "perilune"

local NAME = "failover"
local ELECTION_MAX_MS, GOAL = 300, 2.5 -- the default's longer election timeout
local LED, NEVER = 0, 1 -- node_certainty

-- Proposes until a command is committed, at whoever is said to lead; returns who that is.
local function put(three, id)
  while true do
    local answer = three.nodes[id]:ask "put"
    if answer.put == LED then
      return id
    end
    local leader = answer.leader
    id = answer.put == NEVER and three.nodes[leader] and leader or next(three.nodes)
  end
end

local function fail_over(three)
  local leader = put(three, three:leader())
  perilune.sleep(math.random() * 0.05) -- at any moment between two heartbeats
  three:kill(leader)
  local start = perilune.now()
  local successor = put(three, (next(three.nodes)))
  local took = perilune.now() - start
  three:start(leader)
  three:wait("the replica has caught up", 20, function(statuses)
    return statuses[leader].applied == statuses[successor].applied
  end)
  perilune.sleep(0.3)
  return took * 1000
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, goals = {} }
  if not context.wants(NAME) then
    return section
  end
  local times = {}
  local three <close> = setmetatable({ cluster.open { name = NAME, directory = context.directory,
    command = { context.programs .. "bench_raft_node" } } }, { __close = function(self) self[1]:close() end })
  for i = 1, context.options.quick and 2 or 40 do
    times[i] = fail_over(three[1])
  end
  table.sort(times)
  local p50, p99 = times[(#times + 1) // 2], times[math.ceil(#times * 0.99)]
  section.times_ms, section.p50_ms, section.p99_ms = times, p50, p99
  context.say("\nFailover, kill -9 to the next commit, %d times", #times)
  context.say("  p50 %.0f ms, p99 %.0f ms, worst %.0f ms (election timeouts of 150 to %d ms)", p50, p99,
    times[#times], ELECTION_MAX_MS)
  section.goals = { { what = "failover p99 by the larger election timeout",
    value = ("%.2fx"):format(p99 / ELECTION_MAX_MS), wanted = ("<= %.1fx"):format(GOAL),
    met = p99 <= GOAL * ELECTION_MAX_MS } }
  return section
end
