--- Events per second of the simulator's core on one processor, beside a bare binary-heap loop.
---
--- core.c measures all rows in rounds and prints medians by processor time.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("sim", arg)
local report = require "lib.report"

local BARE, EVENTS = "bare binary heap", "sim events, C handler"
local EVENTS_GOAL, SHARE_GOAL = 5e6, 1 / 3

local function prepare()
  for _, command in ipairs { "cmake --preset release >/dev/null",
    "cmake --build --preset release --target bench_sim >/dev/null" } do
    if not os.execute(command) then
      io.stderr:write("failed: ", command, "\n")
      os.exit(1)
    end
  end
end

--- Runs core.c: the rates by name, and the names in its order.
local function measure()
  local events = options.quick and 100000 or options.full and 20000000 or 3000000
  local pipe = assert(io.popen(("build/release/bench_sim %d %d"):format(options.runs, events)))
  local rates, names = {}, {}
  for line in pipe:lines() do
    local rate, name = line:match "^(%d+)\t(.+)$"
    rates[name], names[#names + 1] = tonumber(rate), name
  end
  if not pipe:close() or not rates[BARE] then
    io.stderr:write "scripts/bench sim: its program failed\n"
    os.exit(1)
  end
  return rates, names
end

local function goals_of(rates)
  local share = rates[EVENTS] / rates[BARE]
  return {
    { what = "C events per second", value = ("%.1f M"):format(rates[EVENTS] / 1e6),
      wanted = ("%.0f M"):format(EVENTS_GOAL / 1e6), met = rates[EVENTS] >= EVENTS_GOAL },
    { what = "share of the bare heap's rate", value = ("%.2f"):format(share),
      wanted = ("%.2f"):format(SHARE_GOAL), met = share >= SHARE_GOAL },
  }
end

prepare()
local rates, names = measure()
if options.json then
  local rows = {}
  for i, name in ipairs(names) do
    rows[i] = { name = name, events_per_second = rates[name] }
  end
  report.json { benchmark = "sim", rows = rows }
else
  print(("  %-44s %14s %14s"):format("", "events/s", "of the heap"))
  for _, name in ipairs(names) do
    print(("  %-44s %12.2f M %14.2f"):format(name, rates[name] / 1e6, rates[name] / rates[BARE]))
  end
  if not options.quick then
    report.goals(goals_of(rates))
  end
end
