--- perilune sim: runs a scenario in the simulator.
local job_options = require "perilune.cli.job_options"
local output = require "perilune.cli.output"
local units = require "perilune.units"
local verbs = require "perilune.cli.verbs"

local M = {
  summary = "run a cluster in the simulator, replayed from a seed",
  usage = "perilune sim SCENARIO.lua",
}

local JOBS_MAX = 1024
local FAILURES_SHOWN = 20
local SEEDS_LISTED = 100 -- after an interrupt

local function read_count(text)
  local count = math.tointeger(tonumber(text))
  if not count or count < 1 or count > JOBS_MAX then
    return nil, ("'%s' is not a whole number from 1 to %d"):format(text, JOBS_MAX)
  end
  return count
end

local function read_seed(text)
  local seed = text:match "^%d+$" and math.tointeger(tonumber(text))
  if not seed then
    return nil, text:find "^%d+$" and ("'%s' is too large: seeds go up to %d"):format(text, math.maxinteger)
      or text:find "^%d+%.%.%d+$" and ("'%s' is a range of seeds: write --seeds %s"):format(text, text)
      or ("'%s' is not a seed, which is a whole number from 0 on"):format(text)
  end
  return seed
end

local function read_seeds(text)
  local first, last = text:match "^(%d+)%.%.(%d+)$"
  if not first then
    local one = text:match "^%d+$"
    return nil, one and ("'%s' is one seed: write --seed %s, or a range of seeds like 1..%s")
      :format(one, one, one)
      or ("'%s' is not a range of seeds like 1..1000"):format(text)
  end
  local from, why_from = read_seed(first)
  local to, why_to = read_seed(last)
  if not from or not to then
    return nil, why_from or why_to
  elseif from > to then
    return nil, ("'%s' is no range: the smaller seed comes first, as in 1..1000"):format(text)
  end
  return { from = from, to = to }
end

local function read_time(text)
  local seconds, err = units.parse_duration(text)
  if seconds == 0 then
    return nil, "a run needs some time"
  end
  return seconds, err
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune sim", "Runs a scenario: a whole cluster in one process, with virtual "
    .. "time, and with a network, disks and clocks that fail as the scenario says. One seed, one run: it "
    .. "replays event by event.")
  parser:argument("scenario", "A Lua file that returns { nodes =, run = }."):argname "SCENARIO.lua":args "?"
  parser:option("-s --seed", "The run's seed (default 1)."):argname "N":convert(read_seed)
  parser:option("--seeds", "Many runs, each in a process of its own."):argname "A..B":convert(read_seeds)
  parser:option("-j --jobs", "How many at the same time (default: one for each core)."):argname "J"
    :convert(read_count)
  parser:option("-t --time", "End a run after so much virtual time, instead of the scenario's limit.")
    :argname "TIME":convert(read_time)
  parser:option("--trace", "Write a line for each event into FILE."):argname "FILE"
  parser:option("--history", "Write what clients recorded into FILE, for perilune check."):argname "FILE"
  parser:option("--arg", "A value for the scenario: args.NAME in the file."):argname "NAME=VALUE":count "*"
    :convert(job_options.read_argument)
  parser:flag("--verify", "Run each seed twice, under different circumstances, and compare every event.")
  parser:flag("--faults", "List what can go wrong, and how to write it in a scenario.")
  parser:flag("-q --quiet", "Print failures only.")
  parser:flag("--json", "Print the result as one JSON object.")
  parser:epilog [[
The exit code is 0 when every run passed, or, for a scenario that is meant to fail (its field
expect), when some run failed as expected; else 1. A failing run prints the command that
replays it. Ctrl-C ends --seeds with what it has found so far (exit code 130). Nodes log
errors only, unless --log-level says otherwise.

Examples:
  perilune sim examples/scenarios/ping.lua
  perilune sim examples/scenarios/primary_backup.lua --seeds 1..1000
  perilune sim cluster.lua --seed 42 --trace trace.txt
  perilune sim cluster.lua --seed 42 --history h.jsonl; perilune check --model kv h.jsonl
  perilune sim cluster.lua --seeds 1..100 --verify]]
  return parser
end

-- ---- what a person sees ----

local function plural(count, word)
  return ("%s %s%s"):format(units.format_count(count), word, count == 1 and "" or "s")
end

local function quoted(text)
  return text:find "[^%w%./_%-]" and "'" .. text:gsub("'", "'\\''") .. "'" or text
end

local function replay_command(args, seed)
  local words = { ("perilune sim %s --seed %d"):format(quoted(args.scenario), seed) }
  for _, pair in ipairs(args.arg or {}) do
    words[#words + 1] = "--arg " .. quoted(pair[1] .. "=" .. pair[2])
  end
  words[#words + 1] = args.time and ("--time %gs"):format(args.time) or nil
  words[#words + 1] = args.verify and "--verify" or nil
  return table.concat(words, " ")
end

local HEADLINES = {
  controller = "the scenario failed", node = "node %s failed", check = "the history is wrong",
  undecided = "the history could not be judged", scenario = "the scenario cannot run",
  deadlock = "deadlock", time = "it did not end", stuck = "node %s is stuck", died = "the run died",
  difference = "it is not deterministic",
}

local function headline(failure)
  return HEADLINES[failure.kind]:format(failure.node or "?")
end

local function show_failure(args, result)
  local failure = result.failure
  local when = failure.kind == "died" and "" or (" at %.6f s"):format(result.time or 0)
  local lines = { ("%s%s: %s"):format(headline(failure), when, failure.message or "") }
  if failure.fibers then
    lines[#lines + 1] = "where every fiber stands:"
    lines[#lines + 1] = "  " .. failure.fibers:gsub("\n(.)", "\n  %1"):gsub("\n$", "")
  end
  local what = ("sim %s: seed %d"):format(args.scenario, result.seed)
  return output.fail {
    what = what, why = table.concat(lines, "\n"), code = "EFAILED",
    hint = failure.kind ~= "scenario" and "to see it again: " .. replay_command(args, result.seed) or nil,
  }
end

local function first_line(text)
  return (text or ""):match "^[^\n]*"
end

local function note(args, text)
  if not args.quiet and not args.json then
    output.note(text)
  end
end

local function describe(result)
  local stats = result.stats
  return ("%s, %s sent, %s of virtual time"):format(plural(stats.events, "event"),
    plural(stats.sent, "message"), units.format_duration(result.time))
end

-- ---- one seed ----

-- One event a line. Returns an exit code when that cannot be written.
local function write_history(path, events)
  local json, lines = require "perilune.json", {}
  for index, event in ipairs(events) do
    lines[index] = json.encode(event) .. "\n"
  end
  local ok, err, code = require("perilune.fs").write(path, table.concat(lines))
  return not ok and output.fail { what = "sim --history", why = err, code = code } or nil
end

-- The file cannot be read.
local function cannot_start(args, err, code)
  local longer = args.scenario .. ".lua"
  local is_near = code == "ENOENT" and require("perilune.fs").stat(longer) ~= nil
  return output.fail {
    what = "sim " .. args.scenario, why = err, code = code,
    hint = is_near and ("did you mean %s?"):format(longer) or nil,
  }
end

local function run_one(args)
  local started = require("perilune").now()
  local result, err, code = require("perilune.sim").run {
    scenario = args.scenario, seed = args.seed, args = job_options.collect(args.arg), time = args.time,
    trace = args.trace, history = args.history and true, verify = args.verify,
    log_level = verbs.settings.log_level,
    echo = not args.quiet and not args.json,
  }
  if not result then
    return cannot_start(args, err, code)
  end
  local seconds = require("perilune").now() - started
  local failed = args.history and write_history(args.history, result.history)
  if failed then
    return failed
  elseif args.json then
    result.history, result.printed, result.seconds = nil, nil, seconds
    output.json(result)
  elseif not result.ok then
    show_failure(args, result)
  elseif result.found then
    note(args, ("seed %d fails as the scenario expects, at %.6f s: %s"):format(result.seed, result.time,
      result.failure.message))
  end
  if result.ok then
    note(args, ("%s: %s in %s%s"):format(result.found and "expected" or "passed", describe(result),
      units.format_duration(seconds), args.verify and "; two runs gave the same events" or ""))
  end
  return result.ok and output.EXIT_OK or output.EXIT_FAILURE
end

-- ---- many seeds ----

-- Whether the runs taken together are what the scenario wants.
local function is_good(summary)
  return #summary.failures == 0 and (not summary.expect or #summary.found > 0)
end

local function by_seed(a, b)
  return a.seed < b.seed
end

local function brief(result)
  local failure = result.failure
  return { seed = result.seed, kind = failure.kind, message = failure.message, node = failure.node,
    time = result.time }
end

local function as_json(args, summary, seconds, is_interrupted)
  local lists = {}
  for _, name in ipairs { "failures", "found" } do
    lists[name] = require("perilune.json").array {}
    for index, result in ipairs(summary[name]) do
      lists[name][index] = brief(result)
      lists[name][index].command = replay_command(args, result.seed)
    end
  end
  output.json {
    ok = not is_interrupted and is_good(summary), interrupted = is_interrupted,
    scenario = args.scenario, from = args.seeds.from, to = args.seeds.to,
    runs = summary.runs, passed = summary.passed, failures = lists.failures, found = lists.found,
    events = summary.events, time = summary.time, seconds = seconds,
  }
end

-- How the runs ended. One that failed as the scenario expects is no pass for who reads "passed".
local function outcome(summary)
  local count = units.format_count
  if not summary.expect then
    return ("%s of %s passed"):format(count(summary.passed), plural(summary.runs, "run"))
  end
  local found, failed = #summary.found, #summary.failures
  local others = summary.passed - found
  return ("%s: %s failed as expected, %s did not fail%s"):format(plural(summary.runs, "run"), count(found),
    count(others), failed > 0 and (", %s failed otherwise"):format(count(failed)) or "")
end

local function show_summary(args, summary, seconds)
  if summary.expect and #summary.found == 0 then
    output.fail { what = "sim " .. args.scenario, code = "EFAILED",
      why = ("no run failed as the scenario expects: %s"):format(summary.expect),
      hint = "try more seeds" }
  elseif summary.expect then
    note(args, ("found what the scenario expects in %s of %s; the first is"):format(
      units.format_count(#summary.found), plural(summary.runs, "run")))
    note(args, "  " .. replay_command(args, summary.found[1].seed))
    note(args, "  " .. first_line(summary.found[1].failure.message))
  end
  note(args, ("%s: %s, %s of virtual time in %s%s"):format(outcome(summary), plural(summary.events, "event"),
    units.format_duration(summary.time), units.format_duration(seconds),
    args.verify and "; each run twice, with the same events" or ""))
end

local function show_as_it_comes(args, bar, shown, result)
  if result.ok or args.json or shown.count >= FAILURES_SHOWN then
    return
  end
  bar:finish()
  shown.count = shown.count + 1
  output.note(("%s seed %d: %s: %s"):format(output.paint("stderr", "red", "perilune:"), result.seed,
    headline(result.failure), first_line(result.failure.message)))
  output.note("  " .. replay_command(args, result.seed))
  if shown.count == FAILURES_SHOWN then
    output.note "  ... (further failing seeds are counted only)"
  end
end

-- "3, 7, 11", of the first so many.
local function list_seeds(results)
  table.sort(results, by_seed)
  local seeds = {}
  for index = 1, math.min(#results, SEEDS_LISTED) do
    seeds[index] = ("%d"):format(results[index].seed)
  end
  seeds[#seeds + 1] = #results > SEEDS_LISTED and "..." or nil
  return table.concat(seeds, ", ")
end

-- What a run of many seeds has found so far, for who does not want to wait for the rest.
local function show_interrupted(args, progress)
  local summary = progress.summary
  if args.json then
    as_json(args, summary, require("perilune").now() - progress.started, true)
    return
  end
  output.note(("interrupted after %s of %s: %s"):format(units.format_count(summary.runs),
    plural(progress.total, "seed"), outcome(summary)))
  if #summary.failures > 0 then
    output.note("failing seeds: " .. list_seeds(summary.failures))
  end
  if #summary.found > 0 then
    output.note("seeds that failed as expected: " .. list_seeds(summary.found))
  end
  output.note(("to go on: perilune sim %s --seeds %d..%d"):format(quoted(args.scenario), progress.next_seed,
    args.seeds.to))
end

-- How far the seeds are: total, done, the first that has not run (with several jobs they end in no order).
local function new_progress(args)
  local progress = {
    started = require("perilune").now(), total = args.seeds.to - args.seeds.from + 1,
    next_seed = args.seeds.from, is_over = false,
    summary = { runs = 0, passed = 0, failures = {}, found = {}, events = 0, time = 0 },
  }
  local ahead = {}
  function progress.add(seed, summary)
    progress.summary, ahead[seed] = summary, true
    while ahead[progress.next_seed] do
      ahead[progress.next_seed] = nil
      progress.next_seed = progress.next_seed + 1
    end
  end
  return progress
end

local function run_many(args)
  local perilune = require "perilune"
  local progress = new_progress(args)
  local started, total = progress.started, progress.total
  local bar <close> = output.progress "seeds"
  local _ <close> = setmetatable({}, { __close = function(_, err) -- Ctrl-C cancels this fiber
    if not progress.is_over and err == nil then
      bar:finish()
      show_interrupted(args, progress)
    end
  end })
  local shown, broken = { count = 0 }, nil
  local summary, err, code = require("perilune.sim").seeds {
    scenario = args.scenario, args = job_options.collect(args.arg), from = args.seeds.from,
    to = args.seeds.to, jobs = args.jobs, time = args.time, verify = args.verify,
    log_level = verbs.settings.log_level,
    on_result = function(result, summary)
      progress.add(result.seed, summary)
      if result.error or (result.failure and result.failure.kind == "scenario") then
        broken = result
        return true
      end
      show_as_it_comes(args, bar, shown, result)
      bar:update(summary.runs / total, ("%d of %d, %.0f/s, %d failed"):format(summary.runs, total,
        summary.runs / math.max(perilune.now() - started, 1e-3), #summary.failures))
    end,
  }
  progress.is_over = true
  bar:finish()
  if not summary or (broken and broken.error) then
    return cannot_start(args, err or broken.error, code or broken.code)
  elseif broken then
    return show_failure(args, broken)
  end
  for _, name in ipairs { "failures", "found" } do
    table.sort(summary[name], by_seed)
  end
  local seconds = perilune.now() - started
  if args.json then
    as_json(args, summary, seconds)
  else
    show_summary(args, summary, seconds)
  end
  return is_good(summary) and output.EXIT_OK or output.EXIT_FAILURE
end

local function list_faults(args)
  local list = require("perilune.sim.vocabulary").list()
  if args.json then
    output.json(list)
    return output.EXIT_OK
  end
  local rows = {}
  for index, row in ipairs(list) do
    rows[index] = { row.usage, row.unit ~= "nothing" and row.unit or "", row.text }
  end
  print(output.table(rows))
  return output.EXIT_OK
end

---@param args table
---@return integer exit_code
function M.run(args)
  if args.faults then
    return list_faults(args)
  elseif not args.scenario then
    return output.usage_error("sim", "missing argument 'SCENARIO.lua'", "write: " .. M.usage)
  elseif args.seeds and args.seed then
    return output.usage_error("sim", "--seed and --seeds exclude each other")
  elseif args.seeds and (args.trace or args.history) then
    return output.usage_error("sim", "--trace and --history are for one seed",
      "write --seed N instead of --seeds")
  end
  return args.seeds and run_many(args) or run_one(args)
end

return M
