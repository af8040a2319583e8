--- perilune machine: replicated machines in Lua files.
local output = require "perilune.cli.output"

local M = {
  summary = "check a replicated machine: do replicas of it stay equal?",
  usage = "perilune machine check FILE",
}

local COMMANDS, SEEDS, ERRORS_SHOWN, STATE_SHOWN = 500, 2, 5, 2000

local function read_count(low, what)
  return function(text)
    local number = math.tointeger(tonumber(text))
    if not number or number < low then
      return nil, ("'%s' is not a number of %s from %d on"):format(text, what, low)
    end
    return number
  end
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune machine", "Checks a machine for perilune.raft: a Lua file that returns "
    .. "{ init, apply, query, snapshot, restore, migrate, version }.")
  parser:command_target "command"
  local check = parser:command("check", "Applies random commands to replicas of the machine that "
    .. "restart, take snapshots and restore them, and compares results, errors, hashes and states. Then runs "
    .. "a group of it in the simulator, under faults. The file's field samples, a list of commands, "
    .. "helps to find commands that mean something.")
  check:argument("file", "The machine's file."):argname "FILE"
  check:option("-n --commands", "How many commands (default: 500)."):argname "N"
    :convert(read_count(1, "commands")):default(tostring(COMMANDS)):show_default(false)
  check:option("--seed", "Where the random commands begin (default: 1)."):argname "N"
    :convert(read_count(0, "seeds")):default "1":show_default(false)
  check:option("--seeds", "How many simulated groups are run (default: 2; 0: none)."):argname "N"
    :convert(read_count(0, "seeds")):default(tostring(SEEDS)):show_default(false)
  check:flag("--json", "Print the result as one JSON object.")
  parser:epilog [[
Examples:
  perilune machine check examples/machines/bank.lua
  perilune machine check bank.lua --commands 10000 --seeds 20]]
  return parser
end

local function fail(args, err, code, hint)
  return output.fail { what = "machine check " .. args.file, why = err, code = code, hint = hint }
end

local function show(value)
  local text = require("perilune.json").encode(value, { lossy = true, pretty = type(value) == "table" })
  return #text > STATE_SHOWN and text:sub(1, STATE_SHOWN) .. " ..." or text
end

local function show_difference(report)
  io.stdout:write(("replicas differ from command %d on: %s\n"):format(report.index, report.why))
  io.stdout:write("command: ", show(report.command), "\n")
  for _, replica in ipairs(report.replicas) do
    io.stdout:write(("%s: %s, state: %s\n"):format(replica.name,
      replica.err and "error: " .. replica.err or "result " .. show(replica.result), show(replica.state)))
  end
end

local function show_report(report, args)
  io.stdout:write(("%d commands on 3 replicas, %d restores: equal\n"):format(report.commands,
    report.restores))
  io.stdout:write(("  %d were carried out, %d raised, %d spent their budget; those were undone\n")
    :format(report.done, report.refused, report.spent))
  for i = 1, math.min(ERRORS_SHOWN, #report.errors) do
    io.stdout:write(("  %6d  %s\n"):format(report.errors[i].count, report.errors[i].text))
  end
  if report.commands < args.commands then
    output.note(("of %d commands %d were tried, for many spend their budgets; no groups are simulated")
      :format(args.commands, report.commands))
  end
  if report.done == 0 then
    output.note("no command did anything, so that nothing was checked: " .. (report.samples > 0
      and "not even the machine's samples" or "give the machine samples = { command, ... }"))
  end
end

-- Groups of it under faults. The scenario is in the library.
local function simulate(args)
  return require("perilune.sim").seeds {
    scenario = "machine check", source = "return require 'perilune.machine.scenario' (args)",
    args = { machine = assert(require("perilune.fs").real(args.file)) },
    from = args.seed, to = args.seed + args.seeds - 1,
  }
end

---@param args table
---@return integer exit_code
function M.run(args)
  local machine = require "perilune.machine"
  local program, err, code = machine.load(args.file)
  if not program then
    return fail(args, err, code)
  end
  local report
  report, err, code = require("perilune.machine.check").run(program,
    { commands = args.commands, seed = args.seed })
  if not report then
    return fail(args, err, code)
  end
  local summary
  report.ok = report.ok and report.done > 0
  if report.ok and args.seeds > 0 and report.commands == args.commands then
    summary = assert(simulate(args))
    report.groups, report.groups_failed = summary.runs, summary.runs - summary.passed
    report.ok = report.groups_failed == 0
  end
  if args.json then
    output.json(report)
  elseif report.why then
    show_difference(report)
  else
    show_report(report, args)
    if summary then
      io.stdout:write(("%d simulated groups under faults: %d failed\n"):format(summary.runs,
        report.groups_failed))
    end
  end
  for _, failure in ipairs(summary and summary.failures or {}) do
    output.note(("seed %s: %s"):format(tostring(failure.seed), tostring(failure.why or failure.verdict)))
  end
  return report.ok and output.EXIT_OK or output.EXIT_FAILURE
end

return M
