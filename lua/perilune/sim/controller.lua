--- What a scenario's run(sim) gets: starts nodes, breaks them and the network, and judges.
local core = require "perilune.core.sim"
local faults = require "perilune.sim.faults"
local judge = require "perilune.sim.judge"
local options_of = require "perilune.options"
local perilune = require "perilune"
local scenario_of = require "perilune.sim.scenario"
local times = require "perilune.sim.times"
local values = require "perilune.sim.values"

---@class perilune.sim.Controller: perilune.sim.Faults, perilune.sim.Judge
---@field seed integer
---@field package scenario table
---@field package nodes table<string, table>  what is known of each node's program
---@field package answers table<integer, perilune.Channel>
local Sim = {}
Sim.__index = Sim
for _, part in ipairs { faults, judge } do
  for name, method in pairs(part) do
    Sim[name] = method
  end
end

local M = {}

local PROBE_SECONDS = 10

-- Raises what the core says; level says whose line the error names, as for error.
local function insist(level, ok, message)
  if not ok then
    error(message, level + 1)
  end
end

-- ---- nodes ----

--- Raises unless there is a node of that name.
---@package
---@param name any
---@param caller string  "sim:crash"
---@param level? integer  whose line the error names; default 3, the caller's caller
function Sim:check_name(name, caller, level)
  if not self.nodes[name] then
    local names = next(self.nodes) and scenario_of.hint(tostring(name), self.nodes) or "none has been started"
    error(("%s: there is no node %s; %s"):format(caller, tostring(name), names), level or 3)
  end
end

local START_OPTIONS = {
  name = "string", role = "string", may_fail = "boolean", memory = true, network = "table", disk = "table",
  clock = "table", process = "table",
}

local function read_start(first, ...)
  if type(first) == "table" then
    return options_of.check(first, START_OPTIONS, "sim:start", 4), ...
  end
  return { name = first, role = (...) }, select(2, ...)
end

local function memory_bytes(memory)
  if type(memory) ~= "string" then
    return memory
  end
  local size, why = require("perilune.units").parse_size(memory)
  return size or error("sim:start: memory: " .. why, 4)
end

local function start(self, options, ...)
  local role = options.role
  if not self.scenario.nodes[role] then
    local hint = next(self.scenario.nodes) and scenario_of.hint(tostring(role), self.scenario.nodes)
    error(("sim:start: the scenario has no role %s; %s"):format(tostring(role), hint or "nodes is empty"), 3)
  elseif type(options.name) ~= "string" then
    error(("sim:start: the name of a node is a string, not a %s"):format(type(options.name)), 3)
  end
  local bytes = values.pack("sim:start", 3, 0, ...)
  insist(3, core.create(options.name, role, bytes, options.may_fail, memory_bytes(options.memory)))
  self.nodes[options.name] = { name = options.name, incarnation = 0, waiting = {} }
  for _, group in ipairs { "disk", "clock", "process" } do
    if options[group] then
      self[group](self, options.name, options[group])
    end
  end
  insist(3, core.start(options.name))
end

--- Adds a node and starts its program: sim:start("n1", "server", ...) or sim:start({ name =, role =,
--- may_fail =, memory =, disk =, clock =, process = }, ...).
---@param first string|table
---@param ... any  the role, and what the role's function gets after the node; data only
function Sim:start(first, ...)
  start(self, read_start(first, ...))
end

local function settle(node, ...)
  node.outcome = node.outcome or table.pack(...)
  for _, ticket in ipairs(node.waiting) do
    core.call(ticket)
  end
  node.waiting = {}
end

local function end_node(self, caller, fault, name)
  self:check_name(name, caller, 4)
  insist(3, core.fault(fault, name))
end

--- The machine loses power: the program ends at once and the disk forgets what was not synced.
---@param name string
function Sim:crash(name)
  end_node(self, "sim:crash", "crash", name)
end

--- The process ends at once, as by kill -9; the disk keeps what was written.
---@param name string
function Sim:kill(name)
  end_node(self, "sim:kill", "kill", name)
end

--- Replaces the disk of a node that is down by an empty one.
---@param name string
function Sim:wipe(name)
  end_node(self, "sim:wipe", "wipe", name)
end

--- The process stands still until sim:resume; the world sees silence.
---@param name string
function Sim:pause(name)
  end_node(self, "sim:pause", "pause", name)
end

--- Ends a pause.
---@param name string
function Sim:resume(name)
  end_node(self, "sim:resume", "resume", name)
end

--- Asks the program to end, as a SIGTERM does: its fibers are cancelled.
---@param name string
function Sim:stop(name)
  self:check_name(name, "sim:stop")
  core.stop(name)
end

--- Starts a node that is down again: with new values, or with those of before.
---@param name string
---@param ... any
function Sim:restart(name, ...)
  self:check_name(name, "sim:restart")
  insist(2, core.start(name, select("#", ...) > 0 and values.pack("sim:restart", 2, 0, ...) or nil))
  local node = self.nodes[name]
  node.outcome, node.incarnation = nil, node.incarnation + 1
end

--- True while the node's process exists, paused or not.
---@param name string
---@return boolean
function Sim:is_up(name)
  self:check_name(name, "sim:is_up")
  local state = core.state(name)
  return state == "running" or state == "paused"
end

--- The names of the nodes, of one role or all, in the order of their start.
---@param role? string
---@return string[]
function Sim:names(role) -- luacheck: ignore 212
  local names = {}
  for _, member in ipairs(core.members()) do
    if not role or member.role == role then
      names[#names + 1] = member.name
    end
  end
  return names
end

--- Waits until the function of the node's role has returned: true and what it returned. nil, message and
--- code when it failed (a node that may), when the node went down ("EDOWN") or after the timeout.
---@param name string
---@param timeout? number|string
---@return true|nil ok
---@return any ...
function Sim:join(name, timeout)
  self:check_name(name, "sim:join")
  local node = self.nodes[name]
  local limit = timeout and times.microseconds(timeout, "sim:join", 2)
  if not node.outcome then
    local ticket = core.ticket()
    table.insert(node.waiting, ticket)
    if not core.wait(ticket, "sim:join " .. name, limit) then
      return nil, ("node %s has not ended after %s"):format(name, timeout), "EDEADLINE"
    end
  end
  return table.unpack(node.outcome, 1, node.outcome.n)
end

-- ---- letters ----

local on_letter = {}

-- The function of a node's role has returned or failed.
on_letter.ended = function(self, from, incarnation, ok, ...)
  local node = self.nodes[from]
  if incarnation ~= node.incarnation then
    return -- of a life that is over
  elseif ok then
    settle(node, true, ...)
  else
    settle(node, nil, (...), "ELUA")
  end
end

-- A probe has an answer.
on_letter.answer = function(self, _, id, ok, ...)
  local question = self.answers[id]
  if question then
    question.answer = ok and table.pack(...) or table.pack(nil, (...), "ELUA")
    core.call(question.ticket)
  end
end

-- A node has gone down: nobody there answers any more.
local function on_down(self, from, incarnation)
  local node = self.nodes[from]
  if incarnation == node.incarnation then
    settle(node, nil, ("node %s is down"):format(from), "EDOWN")
  end
  for id = 1, self.question_count do
    local question = self.answers[id]
    if question and question.node == from then
      question.answer = table.pack(nil, ("node %s went down"):format(from), "EDOWN")
      core.call(question.ticket)
    end
  end
end

local function read_letters(self)
  while true do
    local from, bytes = core.receive "system"
    local ended = bytes:match "^!(%d+)$" -- the simulation's own letter
    if ended then
      on_down(self, from, math.tointeger(ended))
    else
      local kind = values.unpack(bytes)
      on_letter[kind](self, from, select(2, values.unpack(bytes)))
    end
  end
end

--- Tells a node something, outside of the network; node:receive gives it.
---@param name string
---@param ... any  data
---@return true|nil ok
---@return string? err
---@return string? code  "EDOWN"
function Sim:tell(name, ...)
  self:check_name(name, "sim:tell")
  return core.post("user", name, values.pack("sim:tell", 2, 0, ...))
end

local function received(from, bytes)
  if from then
    return from, values.unpack(bytes)
  end
end

--- Waits for what nodes tell: the node's name and the values.
---@param timeout? number|string
---@return string|nil from  or nil, message, "EDEADLINE"
---@return any ...
function Sim:receive(timeout) -- luacheck: ignore 212
  local limit = timeout and times.microseconds(timeout, "sim:receive", 2)
  local from, bytes = core.receive("user", limit)
  if not from then
    return nil, ("no node has told anything for %s"):format(timeout), "EDEADLINE"
  end
  return received(from, bytes)
end

--- Runs a function of the scenario's probes inside a node, outside of the network: what it returns.
--- nil, message, code when it raised, when the node is down, or paused for longer than 10 s.
---@param name string
---@param probe string
---@param ... any  data
---@return any ...
function Sim:probe(name, probe, ...)
  self:check_name(name, "sim:probe")
  local probes = self.scenario.probes or {}
  if not probes[probe] then
    error(("sim:probe: the scenario has no probe %s; %s"):format(tostring(probe),
      next(probes) and scenario_of.hint(tostring(probe), probes) or "probes is empty"), 2)
  end
  local id = self.question_count + 1
  self.question_count = id
  local question = { node = name, ticket = core.ticket() }
  local ok, err, code = core.post("system", name, values.pack("sim:probe", 2, 2, id, probe, ...))
  if not ok then
    return nil, err, code
  end
  self.answers[id] = question
  local in_time = core.wait(question.ticket, ("sim:probe %s %s"):format(name, probe), PROBE_SECONDS * 1000000)
  self.answers[id] = nil
  if not in_time then
    return nil, ("node %s has not answered the probe %s for %d s"):format(name, probe, PROBE_SECONDS),
      "EDEADLINE"
  end
  return table.unpack(question.answer, 1, question.answer.n)
end

--- The controller of a scenario; applies the scenario's settings.
---@param scenario table
---@return perilune.sim.Controller
function M.new(scenario)
  local info = core.info()
  local self = setmetatable({
    seed = info.seed, scenario = scenario, nodes = {}, answers = {}, question_count = 0,
  }, Sim)
  core.declare(scenario.expect or "")
  if scenario.time and not info.has_time then
    local time_us = times.microseconds(scenario.time, info.chunk .. ": time")
    if time_us == 0 then
      error(info.chunk .. ": time: a run needs some time", 0)
    end
    core.set_time(time_us)
  end
  self:apply_defaults(scenario, info.chunk)
  perilune.spawn({ name = "simulation: letters", detached = true }, read_letters, self)
  M.current = self
  return self
end

require("perilune.sim.methods").guard(Sim, "sim")

return M
