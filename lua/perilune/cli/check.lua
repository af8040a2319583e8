--- perilune check: judges recorded histories.
local output = require "perilune.cli.output"
local units = require "perilune.units"

local M = {
  summary = "judge a history: is it linearizable?",
  usage = "perilune check --model MODEL HISTORY...",
}

local EXIT_UNDECIDED = 3
local MODELS = { "register", "cas-register", "kv", "append", "counter", "set", "queue", "lock" }
local FORMATS = { "auto", "jsonl", "jepsen", "edn" }
local LOAD_SECONDS = 5 -- that a model's file may compute
local BUDGET_DEFAULT, MEMORY_DEFAULT = "60s", "512MiB"

local function read_size(text)
  local size, err = units.parse_size(text, true)
  if size == 0 then
    return nil, "a search needs some memory"
  end
  return size, err
end

local function read_budget(text)
  local seconds, err = units.parse_duration(text)
  if seconds == 0 then
    return nil, "a search needs some time"
  end
  return seconds, err
end

local function read_model(text)
  for _, model in ipairs(MODELS) do
    if model == text then
      return text
    end
  end
  if text:match "%.lua$" then
    return text
  end
  local near = require("perilune.suggest").nearest(text, MODELS)
  return nil, ("'%s' is no model; %s"):format(text, near and ("did you mean %s?"):format(near)
    or "there are " .. table.concat(MODELS, ", ") .. ", or a file that ends in .lua")
end

local function read_format(text)
  for _, format in ipairs(FORMATS) do
    if format == text then
      return text
    end
  end
  return nil, ("'%s' is none of %s"):format(text, table.concat(FORMATS, ", "))
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune check", "Says whether a history is linearizable: whether one object, "
    .. "used by one client at a time, could have given the same answers. Exit code 0: it is; 1: it is not, "
    .. "or could not be read; 2: wrong command line; 3: not decided within the budget. Of several histories "
    .. "all are judged, and the worst counts: 1, then 3.")
  parser:argument("HISTORY", "Files of events in their order, or - for standard input."):target "histories"
    :args "+"
  parser:option("-m --model", "What the object is: " .. table.concat(MODELS, ", ")
    .. ", or a Lua file that returns { init =, step = }."):argname "MODEL":convert(read_model)
    .completes = MODELS
  parser:flag("--trusted", "Let a model in a Lua file use os, io and all else; without it a model sees what "
    .. "a job sees: string, table, math, utf8, coroutine, and files beside it.")
  parser:flag("--sequential", "Judge sequential consistency instead: each client's order counts, "
    .. "time does not.")
  parser:flag("--sessions", "Check read your writes, monotonic reads, monotonic writes, writes "
    .. "follow reads; needs no model.")
  parser:option("--budget", ("Time for each history (default %s)."):format(BUDGET_DEFAULT)):argname "TIME"
    :convert(read_budget)
  parser:option("--memory", ("Memory of a search (default %s)."):format(MEMORY_DEFAULT)):argname "SIZE"
    :convert(read_size)
  parser:option("--format", "jsonl (our own), jepsen (its log), edn (jepsen, porcupine); default: look.")
    :argname "FORMAT":convert(read_format).completes = FORMATS
  parser:option("--html", "Write a page that shows the history and the verdict; needs one HISTORY.")
    :argname "FILE"
  parser:flag("--json", "Print the verdicts as one JSON object.")
  parser:epilog [[
A history has one event a line, in the order in which one observer saw them:
  {"process":1,"type":"invoke","f":"write","value":5}
  {"process":1,"type":"ok","f":"write"}
An operation ends with "ok", "fail" (it did not happen) or "info" (nobody knows).

Examples:
  perilune check --model register history.jsonl
  perilune check --model cas-register --budget 5s --json etcd_*.log
  perilune check --model kv --html page.html history.jsonl
  perilune check --model bank.lua - < history.jsonl]]
  return parser
end

local function read_all(path)
  if path ~= "-" then
    return require("perilune.fs").read(path)
  end
  local stdin, err, code = require("perilune.process").standard "stdin"
  if not stdin then
    return nil, err, code
  end
  return stdin:read()
end

-- A failure for output.fail, made of what a history or a model has wrong.
local function trouble(path, err, code)
  return nil, {
    what = "check " .. path, why = err, code = code,
    hint = code == "EFORMAT" and "see 'perilune check --help' for what a line looks like" or nil,
  }
end

-- A failure of code in a model's file.
local function blame(name, err, code)
  local _, failure = trouble(name, tostring(err), code)
  failure.hint = require("perilune.check.file").hint(failure.why)
  return nil, failure
end

local function load_model(name, args)
  if not name:match "%.lua$" then
    return name
  end
  local text, err, code = require("perilune.fs").read(name)
  if not text then
    return trouble(name, err, code)
  end
  local file = require "perilune.check.file"
  local loader = require("perilune").spawn({ name = "load " .. name, cpu_deadline = LOAD_SECONDS }, file.load,
    name, text, args.trusted)
  local is_done, model, why
  is_done, model, why, code = loader:join()
  if not is_done then
    return blame(name, model, why)
  elseif not model then
    return blame(name, why, code)
  end
  return model
end

-- What is asked of a history, by the flags.
local function ask(check, history, model, args)
  local options = { budget = args.budget, memory = args.memory }
  if args.sessions then
    return check.sessions(history)
  elseif args.sequential then
    return check.sequential(history, model, options)
  end
  return check.linearizable(history, model, options)
end

local function judge(check, path, model, args)
  local text, err, code = read_all(path)
  if not text then
    return trouble(path, err, code)
  end
  local history
  history, err, code = check.parse(text, args.format)
  if not history then
    return trouble(path, err, code)
  elseif history:counts() == 0 then
    return trouble(path, "there are no operations in it", "EFORMAT")
  end
  local ok, verdict, why, kind = pcall(ask, check, history, model, args)
  if not ok then
    return blame(type(model) == "table" and model.name or path, verdict, "ELUA")
  elseif not verdict then
    return trouble(path, why, kind)
  end
  return verdict
end

local function paint(style, text)
  return output.paint("stdout", style, text)
end

local SHOWN_MAX = 20 -- broken promises

local function show_sessions(result)
  local lines = { ("%s: %d operation%s in %d session%s%s"):format(
    paint(result.ok and "green" or "red", result.ok and "sessions keep their guarantees"
      or ("%d broken session guarantee%s"):format(#result.violations, #result.violations == 1 and "" or "s")),
    result.operations, result.operations == 1 and "" or "s",
    result.sessions, result.sessions == 1 and "" or "s",
    result.skipped > 0 and (" (%d reads of values that were written twice are not judged)"):format(
      result.skipped) or "") }
  for index, violation in ipairs(result.violations) do
    if index > SHOWN_MAX then
      lines[#lines + 1] = ("  and %d more"):format(#result.violations - SHOWN_MAX)
      break
    end
    lines[#lines + 1] = "  " .. violation.sentence
  end
  return table.concat(lines, "\n")
end

local function show(verdict, path, is_one)
  local columns = require("perilune.terminal").columns(1)
  local text = verdict.violations and show_sessions(verdict)
    or require("perilune.check.draw").verdict(verdict, {
      columns = columns > 0 and columns or nil, paint = paint,
    })
  io.stdout:write(is_one and "" or path .. ": ", text, "\n")
end

-- Returns a failure for output.fail when the page cannot be written.
local function write_page(check, file, verdict, path)
  local title = path == "-" and "standard input" or path:match "[^/]+$"
  local ok, err, code = require("perilune.fs").write(file, check.html(verdict, title), { atomic = true })
  return not ok and { what = "check --html", why = err, code = code } or nil
end

-- What --json says of a history: its verdict, or why there is none.
local function as_data(verdict, path, failure)
  local data = require "perilune.check.data"
  local item = verdict and (verdict.violations and data.sessions or data.verdict)(verdict, path)
    or { history = path }
  item.error = failure and output.error_data(failure)
  return item
end

local function report(verdict, path, failure, is_one)
  if verdict then
    show(verdict, path, is_one)
  end
  if failure then
    output.fail(failure)
  end
end

local function exit_of(verdict, failure)
  if failure or verdict.ok == false then
    return output.EXIT_FAILURE
  end
  return verdict.ok and output.EXIT_OK or EXIT_UNDECIDED
end

local SEVERITY = { [output.EXIT_OK] = 0, [EXIT_UNDECIDED] = 1, [output.EXIT_FAILURE] = 2 }

local function worse(a, b)
  return SEVERITY[b] > SEVERITY[a] and b or a
end

---@param args table
---@return integer exit_code
function M.run(args)
  local check = require "perilune.check"
  if not args.model and not args.sessions then
    return output.usage_error("check", "missing option '--model'", "write: " .. M.usage)
  end
  local model, failure = load_model(args.model or "register", args)
  if not model then
    return output.fail(failure)
  elseif args.sequential and type(model) == "table" then
    return output.usage_error("check", "--sequential needs a model that has a name", "models: "
      .. table.concat(MODELS, ", "))
  end
  if args.sequential and args.sessions then
    return output.usage_error("check", "--sequential and --sessions exclude each other", "run it twice")
  end
  if args.html and (#args.histories > 1 or args.sessions) then
    return output.usage_error("check", "--html shows one history, and no sessions",
      "write one page for each history")
  end
  local results, exit = {}, output.EXIT_OK
  for index, path in ipairs(args.histories) do
    local verdict
    verdict, failure = judge(check, path, model, args)
    if verdict and args.html then
      failure = write_page(check, args.html, verdict, path)
    end
    if args.json then
      results[index] = as_data(verdict, path, failure)
    else
      report(verdict, path, failure, #args.histories == 1)
    end
    exit = worse(exit, exit_of(verdict, failure))
  end
  if args.json then
    output.json { histories = results }
  end
  return exit
end

return M
