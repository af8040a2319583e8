--- What a client feels of compaction: the state machine keeps its keys on disk, in LevelDB, and overwrites
--- them again and again.
local cluster = require "raft.cluster"

local NAME = "compaction"
local GOAL_MS = 50

-- Compactions of the state store that the leader has logged.
local function compactions(directory)
  local pipe = assert(io.popen(("cat '%s'/LOG* 2>/dev/null"):format(directory)))
  local _, count = pipe:read("a"):gsub("Compacted %d+@%d+", "")
  pipe:close()
  return count
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, rows = {}, goals = {} }
  if not context.wants(NAME) then
    return section
  end
  local line = ("load 16 1024 %d"):format(context.options.quick and 300 or 8000)
  context.say "\n16 proposers of 1 KiB, worst latency"
  local rows = { { name = "state in memory" }, { name = "state in 32,768 keys on disk", keys = true } }
  for _, row in ipairs(rows) do
    local three = cluster.open { name = NAME, directory = context.directory,
      command = { context.programs .. "bench_raft_node", row.keys and "--keys" or nil } }
    local found, leader = three:load(line)
    found.compactions = row.keys and compactions(("%s/%d/state"):format(three.directory, leader)) or 0
    three:check()
    three:close()
    found.name = row.name
    section.rows[#section.rows + 1] = found
    context.say("  %-32s worst %6.1f ms, p99 %6.1f ms, %7.0f entries/s, %d compactions", row.name,
      found.max_us / 1000, found.p99_us / 1000, found.per_second, found.compactions)
  end
  local worst, count = section.rows[2].max_us / 1000, section.rows[2].compactions
  section.goals[1] = { what = ("worst latency during %d compactions of the state, ms"):format(count),
    value = ("%.1f"):format(worst), wanted = ("<= %d"):format(GOAL_MS), met = count > 0 and worst <= GOAL_MS }
  return section
end
