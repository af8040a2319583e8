--- Time of the checker: recorded histories beside Porcupine's recorded times, and random ones of growing
--- concurrency. Processor time of one check, reading not included, as Porcupine's times are.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("check", arg)
local report = require "lib.report"

local RECORDED = "../shared/data/histories"
local BUILD = "build/bench"
local MEMORY_GOAL = 64 * 1024 * 1024
local perilune = os.getenv "PERILUNE" or "build/release/perilune"

local function shell(command)
  if not os.execute(command) then
    io.stderr:write("failed: ", command, "\n")
    os.exit(1)
  end
end

local function check(model, path)
  local pipe = assert(io.popen(("%s scripts/benches/check/time.lua %s %s %d"):format(perilune, model, path,
    options.runs)))
  local verdict, least, median, steps, memory = pipe:read("a"):match "^(%a+)\t(%S+)\t(%S+)\t(%d+)\t(%d+)"
  if not pipe:close() or not verdict then
    io.stderr:write("scripts/bench check: cannot check ", path, "\n")
    os.exit(1)
  end
  return { verdict = verdict, least = tonumber(least), median = tonumber(median), steps = tonumber(steps),
    memory = tonumber(memory) }
end

--- The recorded files: { file, verdict, median of porcupine, its steps }.
local function recorded()
  local list, file = {}, io.open(RECORDED .. "/PORCUPINE_TIMES.tsv")
  for line in file and file:lines() or function() end do
    local name, verdict, median, steps = line:match "^(%S+)\t(%a+)\t%d+\t%d+\t%S+\t(%S+)\t%d+\t(%d+)"
    if name then
      list[#list + 1] = { file = name, verdict = verdict, median = tonumber(median), steps = tonumber(steps) }
    end
  end
  if file then
    file:close()
  end
  return list
end

local function bench_recorded(results)
  local list, ours, theirs, slower, wrong, memory = recorded(), 0, 0, 0, 0, 0
  if #list == 0 then
    print("\nrecorded histories: not run, " .. RECORDED .. " is not there")
    return {}
  end
  print(("\n%-34s %9s %9s %11s %9s %8s"):format("recorded history: ms, steps", "ours", "porcupine", "steps",
    "theirs", "faster"))
  for _, case in ipairs(list) do
    local found = check(case.file:match "^kv/" and "kv" or "cas-register", RECORDED .. "/" .. case.file)
    ours, theirs, memory = ours + found.median, theirs + case.median, math.max(memory, found.memory)
    slower = slower + (found.median > case.median and 1 or 0)
    wrong = wrong + (found.verdict == case.verdict and 0 or 1)
    results[#results + 1] = { name = case.file, ms = found.median, porcupine_ms = case.median,
      steps = found.steps, memory = found.memory, verdict = found.verdict }
    print(("  %-32s %9.3f %9.3f %11d %9d %7.1fx"):format(case.file, found.median, case.median, found.steps,
      case.steps, case.median / found.median))
  end
  if wrong > 0 then
    io.stderr:write(("scripts/bench check: %d wrong verdicts\n"):format(wrong))
    os.exit(1)
  end
  return {
    { what = "all recorded histories, ms", value = ("%.2f"):format(ours), wanted = ("%.2f"):format(theirs),
      met = ours < theirs },
    { what = "recorded histories where porcupine was faster", value = tostring(slower) },
    { what = "peak memory of a search, KiB", value = ("%d"):format(memory // 1024),
      wanted = ("%d"):format(MEMORY_GOAL // 1024), met = memory <= MEMORY_GOAL },
  }
end

local function bench_random(results)
  local count = options.quick and 500 or 10000
  print(("\n%-34s %9s %11s %9s %9s"):format("random register histories: ms", "median", "steps", "steps/op",
    "KiB"))
  for _, unknown in ipairs { 0, 200 } do
    for _, clients in ipairs(options.quick and { 2, 8 } or { 2, 4, 8, 16, 32, 64 }) do
      local path = ("%s/random-%d-%d-%d.jsonl"):format(BUILD, clients, count, unknown)
      shell(("%s scripts/benches/check/random.lua %d %d 1 %d > %s"):format(perilune, clients, count, unknown,
        path))
      local found = check("cas-register", path)
      local name = ("%d clients, %d operations%s"):format(clients, count,
        unknown > 0 and (", 1 in %d unknown"):format(unknown) or "")
      results[#results + 1] = { name = name, ms = found.median, steps = found.steps, memory = found.memory,
        verdict = found.verdict }
      print(("  %-46s %9.2f %11d %9.1f %9d  %s"):format(name, found.median, found.steps, found.steps / count,
        found.memory // 1024, found.verdict == "yes" and "" or found.verdict))
      if found.verdict == "no" then
        io.stderr:write("scripts/bench check: a right history was called wrong: ", path, "\n")
        os.exit(1)
      end
    end
  end
end

shell "cmake --preset release >/dev/null && cmake --build --preset release --target perilune >/dev/null"
shell("mkdir -p " .. BUILD)
local results = {}
local print_table = print
if options.json then
  print = function() end -- luacheck: ignore
end
local goals = bench_recorded(results)
bench_random(results)
if options.json then
  print = print_table -- luacheck: ignore
  report.json { results = results, goals = goals }
else
  report.goals(goals)
end
