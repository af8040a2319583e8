--- What the function of a role gets as its first argument: the node that it runs on.
local core = require "perilune.core.sim"
local perilune = require "perilune"
local times = require "perilune.sim.times"
local values = require "perilune.sim.values"

---@class perilune.sim.Node
---@field name string
---@field role string
---@field incarnation integer  0 at first, one more after each restart
---@field seed integer         of the run
local Node = {}
Node.__index = Node

local M = {}

--- The node object of this state.
---@param info table  what the core says
---@return perilune.sim.Node
function M.new(info)
  M.current = setmetatable({
    name = info.name, role = info.role, incarnation = info.incarnation, seed = info.seed,
  }, Node)
  return M.current
end

--- The values that the controller gave with start.
---@param info table
---@return any ...
function M.arguments(info)
  return values.unpack(info.arguments)
end

--- Tells the controller something, outside of the network: it always arrives, in order, at once.
---@param ... any  data
function Node:tell(...) -- luacheck: ignore 212
  assert(core.post("user", nil, values.pack("node:tell", 2, 0, ...)))
end

--- Waits for what the controller tells this node.
---@param timeout? number|string
---@return any ...  or nil, message, "EDEADLINE"
function Node:receive(timeout)
  local limit = timeout and times.microseconds(timeout, "node:receive", 2)
  local from, bytes = core.receive("user", limit)
  if not from then
    return nil, ("node %s: the controller has told nothing for %s"):format(self.name, timeout), "EDEADLINE"
  end
  return values.unpack(bytes)
end

--- Ends the run as failed.
---@param message string
function Node:fail(message) -- luacheck: ignore 212
  core.fail("node", tostring(message))
end

--- Writes a line into the trace.
---@param message string
---@param fields? table
function Node:log(message, fields) -- luacheck: ignore 212
  core.note(values.line(message, fields))
end

--- Says how the role's function ended; an error ends the run unless the node may fail.
---@package
---@param outcome table  what pcall gave, packed
function Node:ended(outcome)
  if not outcome[1] and not core.info().may_fail then
    core.fail("node", outcome[2])
  end
  local bytes
  if outcome[1] then
    bytes = values.pack("results of node " .. self.name, 2, 3, "ended", self.incarnation, true,
      table.unpack(outcome, 2, outcome.n))
  else
    bytes = values.pack("", 2, 3, "ended", self.incarnation, false, outcome[2])
  end
  assert(core.post("system", nil, bytes))
end

local function answer(node, probes, id, name, ...)
  local outcome = table.pack(pcall(probes[name], node, ...))
  local bytes = values.pack("results of probe " .. name, 2, 3, "answer", id,
    table.unpack(outcome, 1, outcome.n))
  assert(core.post("system", nil, bytes))
end

--- Serves sim:probe; runs until the node ends.
---@param node perilune.sim.Node
---@param probes table<string, function>
function M.answer_probes(node, probes)
  while true do
    local _, bytes = core.receive "system"
    perilune.spawn({ name = "simulation: probe", detached = true }, answer, node, probes,
      values.unpack(bytes))
  end
end

require("perilune.sim.methods").guard(Node, "node")

return M
