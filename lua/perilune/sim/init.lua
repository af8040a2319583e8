--- Simulations: one scenario file, a whole cluster in one process, replayed from a seed.
---
--- require "perilune.sim" gives run and seeds, which start worker processes; inside of a simulation node()
--- and controller() give what the functions of the scenario got.
local options_of = require "perilune.options"

local M = {}

local REAL_SECONDS = 600

--- How one seed ended.
---@class perilune.sim.Result
---@field ok boolean       the controller returned, or the run failed as the scenario expects
---@field seed integer
---@field failure? perilune.sim.Failure
---@field found? boolean   it failed as the scenario's expect says
---@field time number      virtual seconds
---@field hash string      of all events
---@field stats table<string, integer>  events, sent, delivered, lost, ...
---@field history? table[]  what clients recorded with perilune.history, when that was asked for
---@field printed? string  what nodes printed and logged, at most the last 64 KiB
---@field cpu number       seconds that it took
---@field rss integer      bytes

---@class perilune.sim.Failure
---@field kind string  "controller", "node", "check", "undecided", "scenario", "deadlock", "time", "stuck",
---                     "died" or "difference"
---@field message string
---@field node? string
---@field fibers? string  where every fiber stood

---@class perilune.sim.CommonOptions
---@field scenario string        the file
---@field source? string         its text, when there is no file: scenario is then a name for it
---@field args? table            what the file sees as args
---@field time? number|string    virtual time after which a run ends
---@field verify? boolean        run each seed twice and compare all events
---@field log_level? string      least level of what nodes log; default "error"
---@field watchdog? number|string  real time that one event may take; default "10s"
---@field turns_max? integer      turns in a row, each of 4096 switches of fibers, that a node may take
---                               without waiting; default 10000
---@field real_seconds? number   real time after which the process of a run is killed; default 600

---@class perilune.sim.RunOptions: perilune.sim.CommonOptions
---@field seed? integer          default 1
---@field trace? string          a file that gets a line for each event
---@field history? boolean       gives the history in the result
---@field echo? boolean          what nodes print goes to standard error at once

---@class perilune.sim.SeedsOptions: perilune.sim.CommonOptions
---@field from integer
---@field to integer
---@field jobs? integer          default: one for each core
---@field on_result? fun(result: perilune.sim.Result, summary: table): boolean?  each run's, with the summary
---                               so far; true: start no further run

local OPTIONS = {
  scenario = "string", source = "string", seed = "number", time = true, trace = "string",
  verify = "boolean", echo = "boolean",
  args = "table", log_level = "string", jobs = "number", from = "number", to = "number",
  on_result = "function", history = "boolean",
  real_seconds = "number", watchdog = true, turns_max = "number",
}

local function read_scenario(path, source)
  local fs = require "perilune.fs"
  if source then
    return { path = assert(fs.real ".") .. "/" .. path, chunk = path, source = source }
  end
  local err, code
  source, err, code = fs.read(path)
  if not source then
    return nil, err, code
  end
  return { path = assert(fs.real(path)), chunk = path, source = (source:gsub("^#[^\n]*", "", 1)) }
end

local function common_of(options)
  local common, err, code = read_scenario(options.scenario, options.source)
  if not common then
    return nil, err, code
  end
  if options.time then
    common.time_us = require("perilune.sim.times").microseconds(options.time, "sim.run: time", 3)
  end
  if options.watchdog then
    common.watchdog_us = require("perilune.sim.times").microseconds(options.watchdog, "sim.run: watchdog", 3)
  end
  common.args = assert(require("perilune.msgpack").encode(options.args or {}))
  common.history, common.turns_max = options.history, options.turns_max
  common.echo, common.trace, common.log_level = options.echo, options.trace, options.log_level
  common.real_seconds = options.real_seconds or REAL_SECONDS
  return common
end

-- What a scenario expects turns its result around.
local function judge(result)
  local failure = result.failure
  local is_real = failure and failure.kind ~= "scenario" and failure.kind ~= "difference"
  if result.expect and is_real and (failure.message or ""):find(result.expect) then
    result.found, result.ok = true, true
  end
  return result
end

local function check_seed(caller, name, seed)
  if math.type(seed) ~= "integer" then
    error(("%s: %s must be an integer below 2^63, not %s"):format(caller, name, tostring(seed)), 3)
  end
end

local function make_pool(options, common)
  local runner = require "perilune.sim.runner"
  local here, elsewhere = {}, {}
  local pool = setmetatable({}, { __close = function()
    for _, worker in pairs(here) do
      worker:close()
    end
    for _, worker in pairs(elsewhere) do
      worker:close()
    end
  end })
  function pool.run(slot, seed)
    here[slot] = here[slot] or runner.start(common, options.verify and "here" or nil)
    if not options.verify then
      return judge(here[slot]:run { seed = seed })
    end
    elsewhere[slot] = elsewhere[slot] or runner.start(common, "elsewhere")
    return judge(require("perilune.sim.verify").run(here[slot], elsewhere[slot], seed))
  end
  return pool
end

--- Runs seeds of a scenario, each in a process of its own. Gives how many passed and all that failed; nil,
--- message, code when the file cannot be read.
---@param options perilune.sim.SeedsOptions
---@return table|nil summary  { runs, passed, failures, found, events, time }
---@return string? err
---@return string? code
function M.seeds(options)
  options_of.check(options, OPTIONS, "sim.seeds")
  check_seed("sim.seeds", "from", options.from)
  check_seed("sim.seeds", "to", options.to)
  if options.from > options.to then
    error(("sim.seeds: from %d to %d is no range: the smaller comes first"):format(options.from,
      options.to), 2)
  end
  local common, err, code = common_of(options)
  if not common then
    return nil, err, code
  end
  local summary = { runs = 0, passed = 0, failures = {}, found = {}, events = 0, time = 0 }
  local pool <close> = make_pool(options, common)
  local jobs = options.jobs or require("perilune.process").processors()
  require("perilune.sim.runner").each(options.from, options.to, jobs, function(slot, seed)
    local result = pool.run(slot, seed)
    summary.runs = summary.runs + 1
    summary.passed = summary.passed + (result.ok and 1 or 0)
    summary.events = summary.events + (result.stats and result.stats.events or 0)
    summary.time = summary.time + (result.time or 0)
    summary.expect = summary.expect or result.expect
    if result.found then
      summary.found[#summary.found + 1] = result
    elseif not result.ok then
      summary.failures[#summary.failures + 1] = result
    end
    return options.on_result and options.on_result(result, summary)
  end)
  return summary
end

--- Runs one seed of a scenario in a process of its own.
---@param options perilune.sim.RunOptions
---@return perilune.sim.Result|nil result
---@return string? err
---@return string? code
function M.run(options)
  options_of.check(options, OPTIONS, "sim.run")
  check_seed("sim.run", "seed", options.seed or 1)
  local common, err, code = common_of(options)
  if not common then
    return nil, err, code
  end
  local pool <close> = make_pool(options, common)
  local result = pool.run(1, options.seed or 1)
  if result.error then
    return nil, result.error, result.code
  elseif options.history then
    result.history = require("perilune.sim.values").unpack_list(result.history or "")
  end
  return result
end

--- The node that this code runs on, or nil outside of simulations and in the controller.
---@return perilune.sim.Node|nil
function M.node()
  return require("perilune.core.sim").info() and require("perilune.sim.node").current
end

--- The controller whose code this is, or nil elsewhere.
---@return perilune.sim.Controller|nil
function M.controller()
  return require("perilune.core.sim").info() and require("perilune.sim.controller").current
end

return M
