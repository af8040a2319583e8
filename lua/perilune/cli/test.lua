--- perilune test: busted, unmodified, as the main fiber.
---
--- Each `it` runs in a fiber of its own, so it may sleep and wait for other fibers; one that takes
--- longer than the time limit is cancelled, fails by its name, and the run goes on.
local arguments = require "perilune.cli.test_arguments"
local output = require "perilune.cli.output"
local perilune = require "perilune"
local units = require "perilune.units"
local verbs = require "perilune.cli.verbs"

local M = { summary = "run busted specs inside the runtime, where tests may sleep" }

local DEFAULT_TIMEOUT_SECONDS = 60

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune test", "Runs busted specs as fibers: tests may sleep, spawn and wait.")
  parser:usage "Usage: perilune test [--timeout TIME] [busted argument...] [FILE or FOLDER...]"
  parser:option "--timeout":argname "TIME":convert(units.parse_duration)
    :description(("Fail a test that runs longer; default %ds."):format(DEFAULT_TIMEOUT_SECONDS))
  parser:epilog [[
All other arguments are busted's, the most useful of them:
   --filter=PATTERN       run the tests whose names match a Lua pattern
   -o, --output=LIBRARY   plainTerminal, utfTerminal, TAP, junit, gtest
   -p, --pattern=PATTERN  which files of a folder are specs; default _spec
   --shuffle --seed=N     random order
   --list                 list the tests

Examples:
  perilune test                      # the folder spec/, or what .busted says
  perilune test tests/spec --filter=join
  perilune test --timeout 5s -o TAP my_spec.lua]]
  return parser
end

local function flags_with_values()
  local flags = { ["--timeout"] = true }
  for _, option in ipairs(verbs.global_options) do
    flags[option.flag] = not option.is_for_front or nil
  end
  return flags
end

local HELP = { ["-h"] = true, ["--help"] = true }

--- Our options may stand anywhere among busted's.
---@param argv string[]
---@return string[] own
---@return string[] rest
function M.split(argv)
  local valued = flags_with_values()
  local own, rest = {}, {}
  local index = 1
  while argv[index] do
    local flag, value = argv[index]:match "^(%-%-[^=]+)(=?)"
    local is_own = HELP[argv[index]] or valued[flag]
    local into = is_own and own or rest
    into[#into + 1] = argv[index]
    if valued[flag] and value == "" then
      index = index + 1
      own[#own + 1] = argv[index]
    end
    index = index + 1
  end
  return own, rest
end

-- What os.exit raises while specs run: busted shows it as a failed test, and the verb as the exit code.
local Exit = {}
Exit.__index = Exit
Exit.__tostring = function(exit)
  return ("%s: os.exit(%d) was called"):format(exit.where, exit.code)
end

local function raise_exit(code)
  if code == nil or code == true then
    code = 0
  end
  local caller = debug.getinfo(2, "Sl")
  error(setmetatable({
    code = code == false and 1 or math.tointeger(code) or 1,
    where = ("%s:%d"):format(caller.short_src, caller.currentline),
  }, Exit), 0)
end

-- Runs a test in a fiber with a deadline, and restores busted's notion of where it is after one.
local function run_limited(busted, timeout, safe, descriptor, run, element)
  local context = busted.context.get()
  local results
  local lost = perilune.lost()
  local fiber = perilune.spawn(
    { name = "test: " .. tostring(element.name), deadline = timeout, cpu_deadline = timeout },
    function()
      results = table.pack(safe(descriptor, function(...)
        run(...)
        if perilune.lost() > lost then
          error("a fiber of this test failed and nobody joined it; the log has its error", 0)
        end
      end, element))
    end)
  local _, why = fiber:join()
  if results then
    return table.unpack(results, 1, results.n)
  end
  while busted.context.get() ~= context do
    busted.context.pop()
  end
  return safe(descriptor, function()
    local where = element.trace
    busted.fail(("%s:%d: gave up after %g s: %s"):format(where.short_src, where.currentline, timeout, why), 0)
  end, element)
end

-- Gives every busted instance the time limit: busted.safe is what it runs each test with. Counts the
-- tests that start.
local function install_watchdog(timeout, counted)
  local core = require "busted.core"
  package.loaded["busted.core"] = function()
    local busted = core()
    busted.subscribe({ "test", "start" }, function()
      counted.tests = counted.tests + 1
      return nil, true
    end)
    local safe = busted.safe
    function busted.safe(descriptor, run, element)
      if descriptor ~= "it" or element.descriptor ~= "it" or run ~= element.run then
        return safe(descriptor, run, element)
      end
      return run_limited(busted, timeout, safe, descriptor, run, element)
    end
    return busted
  end
end

---@param args { timeout?: number, rest: string[] }
---@return integer exit_code
function M.run(args)
  local found, why = pcall(require, "busted.core")
  if not found then
    return output.fail {
      what = "test", why = "busted is not installed: " .. tostring(why):match "^[^\n]*",
      hint = "apt-get install lua-busted", code = "ENOENT",
    }
  end
  local given, failed = arguments.read(args.rest)
  if not given then
    return failed
  end
  local counted = { tests = 0 }
  install_watchdog(args.timeout or DEFAULT_TIMEOUT_SECONDS, counted)
  arguments.set_colors()
  _G.arg = table.move(args.rest, 1, #args.rest, 1, { [0] = "perilune test" })
  -- busted names itself after the file of the chunk that calls it.
  local source = "require 'busted.runner' { standalone = false, output = ... }"
  local runner = assert(load(source, "@perilune test"))
  local exit = os.exit
  os.exit = raise_exit
  local ok, err = xpcall(runner, function(err)
    return getmetatable(err) == Exit and err or debug.traceback(tostring(err), 2)
  end, arguments.output())
  os.exit = exit
  if ok then
    return counted.tests > 0 and output.EXIT_OK or arguments.report_none(given)
  elseif getmetatable(err) == Exit then
    return err.code
  end
  return output.fail { what = "test", why = err }
end

return M
