--- Raft. So far: the core alone, on one processor.
---
--- bench_raft (core.c) prints the rows: steps and entries a second, and the memory of idle replicas.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("raft", arg)
local report = require "lib.report"

local STEPS, STEPS_GOAL = "steps/s, one at a time", 5e6
local LEADER, FOLLOWER, BYTES_GOAL = "bytes, leader of 3 asleep", "bytes, follower of 3 asleep", 4096

local function prepare()
  for _, command in ipairs { "cmake --preset release >/dev/null",
    "cmake --build --preset release --target bench_raft >/dev/null" } do
    if not os.execute(command) then
      io.stderr:write("failed: ", command, "\n")
      os.exit(1)
    end
  end
end

local function measure()
  local proposals = options.quick and 20000 or 300000
  local pipe = assert(io.popen(("build/release/bench_raft %d %d"):format(proposals, options.runs)))
  local rows, values = {}, {}
  for line in pipe:lines() do
    local value, name = line:match "^(%d+)\t(.+)$"
    rows[#rows + 1] = { name = name, value = tonumber(value) }
    values[name] = tonumber(value)
  end
  if not pipe:close() or not values[FOLLOWER] then
    io.stderr:write "scripts/bench raft: bench_raft failed\n"
    os.exit(1)
  end
  return rows, values
end

prepare()
local rows, values = measure()
if options.json then
  report.json { benchmark = "raft", rows = rows }
else
  for _, row in ipairs(rows) do
    print(("  %-44s %14d"):format(row.name, row.value))
  end
  if not options.quick then
    report.goals {
      { what = "steps of the core per second", value = ("%.1f M"):format(values[STEPS] / 1e6),
        wanted = ("%.0f M"):format(STEPS_GOAL / 1e6), met = values[STEPS] >= STEPS_GOAL },
      { what = "core state of an idle leader, bytes", value = tostring(values[LEADER]),
        wanted = tostring(BYTES_GOAL), met = values[LEADER] <= BYTES_GOAL },
      { what = "core state of an idle follower, bytes", value = tostring(values[FOLLOWER]),
        wanted = tostring(BYTES_GOAL), met = values[FOLLOWER] <= BYTES_GOAL },
    }
  end
end
