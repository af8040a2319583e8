--- What a controller does to the network, disks, clocks and processes: part of perilune.sim.Controller.
local core = require "perilune.core.sim"
local keys = require "perilune.keys"
local options_of = require "perilune.options"
local scenario_of = require "perilune.sim.scenario"
local shapes = require "perilune.sim.shapes"

---@class perilune.sim.Faults
local Faults = {}

local KNOWN = core.faults()

-- The faults that a scenario sets in one group, by the names that it uses there.
local function group_of(prefix, target, names)
  local group = {}
  for name, info in pairs(KNOWN) do
    if info.target == target and info.unit ~= "none" and (not names or names[name]) then
      local short = name:match("^" .. prefix .. "(.+)$")
      if short then
        group[short] = name
      end
    end
  end
  return group
end

local GROUPS = {
  network = group_of("", "link"),
  disk = group_of("disk_", "node"),
  clock = group_of("clock_", "node"),
  process = group_of("", "node", { turn_delay = true, work_delay = true }),
}

local function apply(caller, level, fault, from, to, value)
  local ok, err = core.fault(fault, from, to, value)
  if not ok then
    error(("%s: %s: %s"):format(caller, fault, err), level + 1)
  end
end

local function apply_group(group, caller, level, settings, from, to)
  if type(settings) ~= "table" then
    error(("%s: settings are a table, not a %s"):format(caller, type(settings)), level + 1)
  end
  for _, name in ipairs(keys.names(settings)) do
    local fault = GROUPS[group][name]
    if not fault then
      error(("%s: there is no setting %s; %s"):format(caller, name, scenario_of.hint(name, GROUPS[group])),
        level + 1)
    end
    apply(caller, level + 1, fault, from, to, settings[name])
  end
end

local LABS = { unreliable = "boolean", long_reordering = "boolean", long_delays = "boolean" }

local function set_network(settings, caller, level)
  local rest = {}
  for name, value in pairs(settings) do
    rest[name] = value
  end
  if rest.labs ~= nil then
    if rest.labs then
      options_of.check(rest.labs, LABS, caller .. ": labs", level + 2)
    end
    core.labs(rest.labs)
    rest.labs = nil
  end
  apply_group("network", caller, level + 1, rest)
end

--- Sets the network between all nodes: latency, loss, duplicate, reorder, corrupt, reset, bandwidth; what
--- is not named stays. labs = { unreliable =, long_reordering =, long_delays = } is the network of the MIT
--- labs instead.
---@param settings table
function Faults:network(settings) -- luacheck: ignore 212
  set_network(settings, "sim:network", 2)
end

--- Sets what passes from one node to another, in that direction only.
---@param from string
---@param to string
---@param settings table
function Faults:link(from, to, settings)
  self:check_name(from, "sim:link")
  self:check_name(to, "sim:link")
  apply_group("network", "sim:link", 2, settings, from, to)
end

local function target(self, caller, name)
  if name ~= nil then
    self:check_name(name, caller, 4)
  end
  return name
end

--- Sets the disk of a node, or with nil of all: delay, sync_delay, stall, read_error, write_error,
--- sync_error, sync_lie, capacity, flip, keep, tear, garble.
---@param name string|nil
---@param settings table
function Faults:disk(name, settings)
  apply_group("disk", "sim:disk", 2, settings, target(self, "sim:disk", name))
end

--- Sets the clock of a node, or with nil of all: skew, drift, jump.
---@param name string|nil
---@param settings table
function Faults:clock(name, settings)
  apply_group("clock", "sim:clock", 2, settings, target(self, "sim:clock", name))
end

--- Sets how fast a node, or with nil every node, computes: turn_delay, work_delay.
---@param name string|nil
---@param settings table
function Faults:process(name, settings)
  apply_group("process", "sim:process", 2, settings, target(self, "sim:process", name))
end

--- Puts a file on a node's disk, durable.
---@param name string
---@param path string
---@param bytes string
function Faults:put_file(name, path, bytes)
  self:check_name(name, "sim:put_file")
  assert(core.put(name, path, bytes))
end

--- What the node would read from a file.
---@param name string
---@param path string
---@return string|nil bytes
---@return string? err
---@return string? code
function Faults:read_file(name, path)
  self:check_name(name, "sim:read_file")
  return core.get(name, path)
end

local function flag_link(self, caller, fault, from, to, value)
  self:check_name(from, caller, 4)
  self:check_name(to, caller, 4)
  apply(caller, 3, fault, from, to, value)
end

--- Nothing passes from one node to another, in that direction only.
---@param from string
---@param to string
function Faults:cut(from, to)
  flag_link(self, "sim:cut", "cut", from, to, true)
end

--- Ends a cut.
---@param from string
---@param to string
function Faults:mend(from, to)
  flag_link(self, "sim:mend", "cut", from, to, false)
end

--- What one node sends another waits until sim:release.
---@param from string
---@param to string
function Faults:hold(from, to)
  flag_link(self, "sim:hold", "hold", from, to, true)
end

--- Delivers what was held.
---@param from string
---@param to string
function Faults:release(from, to)
  flag_link(self, "sim:release", "hold", from, to, false)
end

local function check_groups(groups)
  local group_of_name = {}
  for index, group in ipairs(groups) do
    if type(group) ~= "table" then
      error(("sim:partition: a group is a list of names, not a %s"):format(type(group)), 4)
    end
    for _, name in ipairs(group) do
      if group_of_name[name] then
        error(("sim:partition: node %s is in two groups"):format(tostring(name)), 4)
      end
      group_of_name[name] = index
    end
  end
  return groups
end

local function read_groups(self, first, ...)
  if type(first) == "table" then
    return shapes.groups(check_groups { first, ... })
  end
  local shape = shapes.named[first]
  if not shape then
    error(("sim:partition: groups of names, or a shape: %s"):format(
      scenario_of.hint(tostring(first), shapes.named)), 3)
  end
  return shape(self:shuffle((...) or self:names()))
end

--- Cuts links: between groups of nodes, as in sim:partition({ "n1" }, { "n2", "n3" }), or by a shape:
--- "halves", "isolated", "minority_third", "bridge", "ring", of all nodes or of those named, at random.
---@param first string[]|string
---@param ... string[]
function Faults:partition(first, ...)
  for _, pair in ipairs(read_groups(self, first, ...)) do
    self:check_name(pair[1], "sim:partition")
    self:check_name(pair[2], "sim:partition")
    apply("sim:partition", 2, "cut", pair[1], pair[2], true)
  end
end

--- Cuts a node from all others.
---@param name string
function Faults:isolate(name)
  self:check_name(name, "sim:isolate")
  local others = {}
  for _, other in ipairs(self:names()) do
    others[#others + 1] = other ~= name and other or nil
  end
  self:partition({ name }, others)
end

--- Ends every cut, partition and hold; what was held is delivered.
function Faults:heal() -- luacheck: ignore 212
  core.heal()
end

--- Sets what a scenario's own fields network, disk, clock and process say.
---@param scenario table
---@param chunk string  the file, for messages
function Faults:apply_defaults(scenario, chunk) -- luacheck: ignore 212
  set_network(scenario.network or {}, chunk .. ": network", 0)
  for _, group in ipairs { "disk", "clock", "process" } do
    apply_group(group, ("%s: %s"):format(chunk, group), 0, scenario[group] or {})
  end
end

return Faults
