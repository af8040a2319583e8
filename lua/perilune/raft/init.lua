--- Replicated state machines: groups of replicas that agree on one order of commands (Raft).
---
---   local raft = require "perilune.raft"
---   raft.open { id = 1, path = "data", listen = ":7200" }
---   local group = raft.group {
---     id = 1,
---     members = { [1] = "n1:7200", [2] = "n2:7200", [3] = "n3:7200" },
---     machine = {
---       init = function() return { count = 0 } end,
---       apply = function(state, command) state.count = state.count + command; return state.count end,
---       query = function(state) return state.count end,
---     },
---   }
---   local count, err, code, details = group:propose(5)
---
--- A machine is a table of functions. What apply does to the state may depend on nothing but the state and
--- the commands: no clock, no random numbers, no files, and no order of pairs over tables. Commands, results
--- and snapshots are data (perilune.msgpack).
---
--- With store = true the state is not in Lua but in ctx.store: ordered keys on disk, strings both keys and
--- values. The state may be larger than memory, and its snapshots are sent without holding up commands:
---
---   machine = {
---     store = true,
---     apply = function(_, command, ctx)
---       local count = tonumber(ctx.store:get "count" or 0) + command
---       ctx.store:put("count", tostring(count))
---       return count
---     end,
---   }
---
--- A proposal ends as ok: its result; or as nil, message, code, details, where details.certainty is
---   "never"    proved not to have happened: propose again, somewhere else perhaps
---   "unknown"  it may have happened or still may: details.token resolves it later (group:outcome)
local checks = require "perilune.raft.checks"
local core = require "perilune.core.raft"
local fiber = require "perilune.fiber"
local group_of = require "perilune.raft.group"
local machine_of = require "perilune.raft.machine"
local node_of = require "perilune.raft.node"
local options_of = require "perilune.options"

local M = {}

---@class perilune.raft.GroupOptions
---@field id integer  the same on all nodes
---@field members table<integer, string>  voters of a group that begins, with their addresses; a node that
---                                       joins later names those that are there, not itself
---@field machine perilune.machine.Program|perilune.raft.Machine|"kv"  of machine.load; "kv": the key/value
---                           store, for perilune.kv
---@field node? perilune.raft.Node  default: the one that raft.open made last
---@field priority? integer  how soon this replica campaigns: 4 (default) before 3 before 2 before 1, each by
---                           an election timeout; 0: never, it only votes
---@field detached? boolean  the replica does not end with the fiber that opens it

local GROUP = {
  id = "number", members = "table", machine = true, node = true, detached = "boolean", priority = "number",
}
local RECOVER = { path = "string", group = "number", members = "table", last = "table" }

local current -- what raft.open made last

--- Opens this node: reads its disk and listens for the others. It belongs to the program, which ends it
--- with node:close(). Misuse raises; a directory of another cluster or node is nil, message, "ECLUSTER".
---@param options perilune.raft.NodeOptions
---@return perilune.raft.Node|nil node
---@return string? err
---@return string? code
function M.open(options)
  local box, err, code = core.open(node_of.options(options))
  if not box then
    return nil, err, code
  end
  current = node_of.handle(box, options.id)
  return current
end

--- Opens this node's replica of a group: as its disk has it, or new. It belongs to the fiber that called,
--- unless options.detached. nil, message, code when the disk has
--- something else: EVERSION for a snapshot of a newer format, EEXIST for a group that is open.
---@param options perilune.raft.GroupOptions
---@return perilune.raft.Group|nil group
---@return string? err
---@return string? code
function M.group(options)
  options = options_of.check(options, GROUP, "raft.group")
  local priority = checks.priority("raft.group", options.priority or checks.PRIORITY_MAX)
  local node = options.node or current
  if not node then
    error("raft.group: open this node first, with raft.open{ id = 1, path = \"data\" }", 2)
  end
  local machine = machine_of.check(options.machine)
  local id = checks.integer("raft.group", "id", options.id, 1)
  local members = checks.members("raft.group", options.members)
  local kind, is_native = machine_of.kind(machine)
  local box, err, code = node.core:group(id, members, kind)
  if not box then
    return nil, err, code
  end
  if priority ~= checks.PRIORITY_MAX then
    box:set_priority(priority)
  end
  local group = group_of.handle(box, id, node, is_native and kind ~= machine_of.KV)
  fiber.spawn({ name = "raft machine " .. id, detached = options.detached, cpu_deadline = false },
    is_native and machine_of.attend or machine_of.run, box, is_native and group or machine)
  return group
end

--- Steps a core again through what a flight recorder holds (group:record(), or the file that a node wrote
--- when a replica could not go on), and compares it with what happened then. Each step is
--- { event, message, from, code, role, term, last_index, commit_index }: code is what the core answered when
--- it refused, the rest is how it stood afterwards.
---@param bytes string
---@return table[]|nil steps
---@return string? err  what differs, and where
---@return string? code  ECORRUPT, EFORMAT
---@return table[]? steps  up to there
function M.replay(bytes)
  return core.replay(bytes)
end

--- Looks at the data of a node that does not run: { node, groups = { { group, replica, health, why, term,
--- vote, first_index, last_index, last_term, snapshot_index, members = { { id, is }, ... } }, ... } }.
---@param path string
---@return table|nil found
---@return string? err
---@return string? code  ENOENT, EBUSY while the node runs, ECORRUPT
function M.inspect(path)
  return core.recover(path, 0, {})
end

--- Forces members upon a group that has lost its majority for good, in the data of a node that does not run
--- and is one of them. What others acknowledged without it is lost, and they must never start again with
--- their data. The configuration becomes an entry of the log. An address that is false stays as it is known.
--- Several members have to hold the same log, which is forced in the data of each: last, { term, index },
--- is the entry that all of them end with, and a log that ends elsewhere is refused (EINVAL).
---@param options { path: string, group: integer, members: table<integer, string|false>, last: table? }
---@return table|nil found  as it was before, with index and term of the entry
---@return string? err
---@return string? code  ENOENT, EBUSY while the node runs, EINVAL
function M.recover(options)
  options = options_of.check(options, RECOVER, "raft.recover")
  local members = checks.members("raft.recover", options.members, true)
  local path = options.path or error("raft.recover: path, the directory of the node's data, is missing", 2)
  local last = options.last or {}
  return core.recover(path, checks.integer("raft.recover", "group", options.group, 1), members,
    options.last and checks.integer("raft.recover", "last.term", last.term, 1),
    options.last and checks.integer("raft.recover", "last.index", last.index, 1))
end

return M
