--- Events per second of the simulator on one processor, beside a bare binary-heap loop.
---
--- bench_sim (core.c, messages.c) measures the core's rows in rounds and prints medians by processor time.
--- The scenarios run in `perilune sim`: medians of as many runs, by the processor time of each run.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("sim", arg)
local report = require "lib.report"

local BARE, EVENTS = "bare binary heap", "sim events, C handler"
local LUA, CASTS, QUIET = "messages, Lua handler", "rpc casts between Lua fibers", "quiet cluster"
local EVENTS_GOAL, SHARE_GOAL, LUA_GOAL, QUIET_GOAL_S = 5e6, 1 / 3, 1e6, 1
local perilune = os.getenv "PERILUNE" or "build/release/perilune"

local function prepare()
  for _, command in ipairs { "cmake --preset release >/dev/null",
    "cmake --build --preset release --target bench_sim perilune >/dev/null" } do
    if not os.execute(command) then
      io.stderr:write("failed: ", command, "\n")
      os.exit(1)
    end
  end
end

local function fail(message)
  io.stderr:write("scripts/bench sim: ", message, "\n")
  os.exit(1)
end

--- Runs bench_sim: the rates by name, and the names in its order.
local function measure()
  local events = options.quick and 100000 or options.full and 20000000 or 3000000
  local pipe = assert(io.popen(("build/release/bench_sim %d %d"):format(options.runs, events)))
  local rates, names = {}, {}
  for line in pipe:lines() do
    local rate, name = line:match "^(%d+)\t(.+)$"
    rates[name], names[#names + 1] = tonumber(rate), name
  end
  if not pipe:close() or not rates[BARE] then
    fail "bench_sim failed"
  end
  return rates, names
end

--- Runs a scenario of this folder: its events, and the processor seconds that they took.
local function simulate(file)
  local pipe = assert(io.popen(("%s sim scripts/benches/sim/%s --json"):format(perilune, file)))
  local result = pipe:read "a"
  if not pipe:close() then
    fail(file .. " failed: " .. result)
  end
  return tonumber(result:match '"events":(%d+)'), tonumber(result:match '"cpu":([%d.e-]+)')
end

local function median_of_runs(file)
  local seconds, events = {}, nil
  for i = 1, options.runs do
    events, seconds[i] = simulate(file)
  end
  table.sort(seconds)
  return events, seconds[(#seconds + 1) // 2]
end

local function goals_of(rates, quiet_s)
  local share = rates[EVENTS] / rates[BARE]
  return {
    { what = "C events per second", value = ("%.1f M"):format(rates[EVENTS] / 1e6),
      wanted = ("%.0f M"):format(EVENTS_GOAL / 1e6), met = rates[EVENTS] >= EVENTS_GOAL },
    { what = "share of the bare heap's rate", value = ("%.2f"):format(share),
      wanted = ("%.2f"):format(SHARE_GOAL), met = share >= SHARE_GOAL },
    { what = "Lua handlers per second", value = ("%.1f M"):format(rates[LUA] / 1e6),
      wanted = ("%.0f M"):format(LUA_GOAL / 1e6), met = rates[LUA] >= LUA_GOAL },
    { what = "the same with rpc and a fiber each", value = ("%.1f M"):format(rates[CASTS] / 1e6),
      wanted = ("%.0f M"):format(LUA_GOAL / 1e6), met = rates[CASTS] >= LUA_GOAL },
    { what = "10 quiet minutes of 5 nodes, seconds", value = ("%.2f s"):format(quiet_s),
      wanted = ("%.0f s"):format(QUIET_GOAL_S), met = quiet_s < QUIET_GOAL_S },
  }
end

prepare()
local rates, names = measure()
local casts, casts_s = median_of_runs "casts.lua"
local quiet, quiet_s = median_of_runs "quiet.lua"
for name, rate in pairs { [CASTS] = casts / casts_s, [QUIET] = quiet / quiet_s } do
  rates[name] = math.floor(rate)
end
table.move({ CASTS, QUIET }, 1, 2, #names + 1, names)
if options.json then
  local rows = {}
  for i, name in ipairs(names) do
    rows[i] = { name = name, events_per_second = rates[name] }
  end
  report.json { benchmark = "sim", rows = rows, quiet_seconds = quiet_s }
else
  print(("  %-44s %14s %14s"):format("", "events/s", "of the heap"))
  for _, name in ipairs(names) do
    print(("  %-44s %12.2f M %14.2f"):format(name, rates[name] / 1e6, rates[name] / rates[BARE]))
  end
  if not options.quick then
    report.goals(goals_of(rates, quiet_s))
  end
end
