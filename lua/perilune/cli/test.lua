--- perilune test: busted, unmodified, as the main fiber.
---
--- Each `it` runs in a fiber of its own, so it may sleep and wait for other fibers; one that takes
--- longer than the time limit is cancelled, fails by its name, and the run goes on.
local output = require "perilune.cli.output"
local perilune = require "perilune"
local units = require "perilune.units"

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

local OWN_FLAGS = { ["--timeout"] = 2, ["-h"] = 1, ["--help"] = 1 }

--- Our options may stand in front; the first argument that is not ours starts busted's.
---@param argv string[]
---@return integer count
function M.split(argv)
  local index = 1
  while argv[index] do
    local size = OWN_FLAGS[argv[index]] or (argv[index]:match "^%-%-timeout=" and 1)
    if not size then
      break
    end
    index = index + size
  end
  return math.min(index - 1, #argv)
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

-- Gives every busted instance the time limit: busted.safe is what it runs each test with.
local function install_watchdog(timeout)
  local core = require "busted.core"
  package.loaded["busted.core"] = function()
    local busted = core()
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
  install_watchdog(args.timeout or DEFAULT_TIMEOUT_SECONDS)
  _G.arg = table.move(args.rest, 1, #args.rest, 1, { [0] = "perilune test" })
  -- busted names itself after the file of the chunk that calls it.
  local runner = assert(load("require 'busted.runner'({ standalone = false })", "@perilune test"))
  local exit = os.exit
  os.exit = raise_exit
  local ok, err = xpcall(runner, function(err)
    return getmetatable(err) == Exit and err or debug.traceback(tostring(err), 2)
  end)
  os.exit = exit
  if ok then
    return output.EXIT_OK
  elseif getmetatable(err) == Exit then
    return err.code
  end
  return output.fail { what = "test", why = err }
end

return M
