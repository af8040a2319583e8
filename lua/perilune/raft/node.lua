--- This node: its options, and the handle that raft.open gives.
local checks = require "perilune.raft.checks"
local options_of = require "perilune.options"
local rpc = require "perilune.rpc"

local M = {}

---@class perilune.raft.NodeOptions: perilune.rpc.Common
---@field id integer  of this node in all its groups; one that lost its disk comes back under another
---@field path string  directory of its data; made when it is not there
---@field listen? string  address for the other nodes; default ":7200"
---@field heartbeat? number|string  seconds or "50ms"; default 0.05
---@field election? number|string  least seconds of an election timeout, at most twice that; default 0.15
---@field leases? boolean  reads of a leader need no round of messages while its lease lasts
---@field sleep_after? number|string  seconds without requests after which groups send no heartbeats; 0: never
---@field requests_max? integer  open requests of a group; default 4096
---@field snapshot_entries? integer  a snapshot after so many commands; default 10000; 0: never
---@field trailing_entries? integer  kept before a snapshot for slow followers; default 1000
---@field recorder? integer  bytes of each group's flight recorder; default 65536; 0: none

local OPTIONS = {
  id = "number", path = "string", listen = "string", heartbeat = true, election = true,
  leases = "boolean", sleep_after = true, requests_max = "number", snapshot_entries = "number",
  trailing_entries = "number", recorder = "number", secret = "string", cluster = "string", node = "string",
  inflight_max = "number", body_max = "number", ping = true,
}

local function to_us(seconds)
  return math.floor(seconds * 1e6 + 0.5)
end

--- What the core reads: every option, with its default where none was given. Misuse raises, naming the line
--- that called raft.open, which calls this.
---@param options perilune.raft.NodeOptions
---@return table
function M.options(options)
  options = options_of.check(options, OPTIONS, "raft.open", 4)
  local read = rpc.identity("raft.open", options)
  local heartbeat = options_of.seconds("raft.open", "heartbeat", options.heartbeat or 0.05, 0.001, 60, 4)
  local election = options_of.seconds("raft.open", "election", options.election or 3 * heartbeat,
    0.002, 600, 4)
  if election <= heartbeat then
    error("raft.open: election must be longer than heartbeat; three times is usual", 3)
  end
  read.id = checks.integer("raft.open", "id", options.id, 1, 4)
  read.path = options.path or error("raft.open: path, the directory of the node's data, is missing", 3)
  read.listen = options.listen or ":7200"
  read.heartbeat_us, read.election_min_us = to_us(heartbeat), to_us(election)
  read.election_max_us = 2 * read.election_min_us
  read.leases = options.leases or false
  read.sleep_after_us = to_us(options_of.seconds("raft.open", "sleep_after", options.sleep_after or 0,
    0, 1e6, 4))
  read.requests_max = checks.integer("raft.open", "requests_max", options.requests_max or 4096, 1, 4)
  read.snapshot_entries = checks.integer("raft.open", "snapshot_entries", options.snapshot_entries or 10000,
    0, 4)
  read.trailing_entries = checks.integer("raft.open", "trailing_entries", options.trailing_entries or 1000,
    0, 4)
  read.recorder_bytes = checks.integer("raft.open", "recorder", options.recorder or 65536, 0, 4)
  return read
end

---@class perilune.raft.Node
---@field id integer
local Node = {}
Node.__index = Node

--- Where the node listens, with the real port.
---@return string|nil address
function Node:address()
  return self.core:address()
end

--- Serves functions where the node listens for the others, beside what those say: as rpc.serve, with the
--- node's secret and limits. They are served until the node ends. A name that is served already is nil,
--- message, "EINVAL".
---@param functions table<string, function>
---@return perilune.rpc.Server|nil server
---@return string? err
---@return string? code
function Node:serve(functions)
  return self.core:serve(rpc.check_functions("node:serve", functions))
end

--- Counts: groups, steps, envelopes_sent, envelopes_lost, messages_sent, messages_heard, messages_refused,
--- bytes_sent, entries_applied, snapshots_taken, snapshots_installed, snapshots_sent, events_lost.
---@return table<string, integer>|nil stats
function Node:stats()
  return self.core:stats()
end

--- Waits for the next event:
---   { type = "role", group, role, term, leader }, { type = "members", group, index },
---   { type = "snapshot_taken" | "snapshot_installed" | "repaired" | "rebuilt", group, index },
---   { type = "diverged", group, index, member }, { type = "fenced", code }
--- Of more than 256 that nobody took the oldest are lost (stats().events_lost). nil, message, "ECLOSED" at
--- the end.
---@return table|nil event
---@return string? err
---@return string? code
function Node:event()
  return self.core:event()
end

--- Ends the node with all its groups; their requests end with ECLOSED. The data stay. Waits until the disk
--- is at rest, so that the directory can be opened again.
function Node:close()
  self.core:close()
end

Node.__close = Node.close

--- The handle of a node that the core has opened.
---@param box userdata
---@param id integer
---@return perilune.raft.Node
function M.handle(box, id)
  return setmetatable({ core = box, id = id }, Node)
end

return M
