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
local core = require "perilune.core.raft"
local fiber = require "perilune.fiber"
local msgpack = require "perilune.msgpack"
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

---@class perilune.raft.Machine
---@field init? fun(): any  the first state; default an empty table
---@field apply fun(state: any, command: any, ctx: perilune.raft.Context): any
---@field query? fun(state: any, query: any, ctx: perilune.raft.Context): any
---@field store? boolean  the state is in ctx.store, on disk: state is nil; no init, snapshot, restore
---@field snapshot? fun(state: any): any  data that holds the state; default the state itself
---@field restore? fun(data: any): any  the state; default the data itself

---@class perilune.raft.Context
---@field index integer  of the command; of a query, the last that was applied
---@field term integer
---@field store? perilune.raft.Store  of a machine with store = true

---@class perilune.raft.GroupOptions
---@field id integer  the same on all nodes
---@field members table<integer, string>  voters of a group that begins, with their addresses; a node that
---                                       joins later names those that are there, not itself
---@field machine perilune.raft.Machine
---@field node? perilune.raft.Node  default: the one that raft.open made last
---@field priority? integer  how soon this replica campaigns: 4 (default) before 3 before 2 before 1, each by
---                           an election timeout; 0: never, it only votes
---@field detached? boolean  the replica does not end with the fiber that opens it

---@class perilune.raft.RequestOptions
---@field deadline? number|string  seconds or "500ms"; default 5
---@field wait? boolean  false: propose returns a token as soon as the command stands in the leader's log

---@class perilune.raft.ReadOptions
---@field deadline? number|string  seconds or "500ms"; default 5
---@field consistency? "linearizable"|"lease"|"stale"

---@class perilune.raft.Token
---@field index integer
---@field term integer

---@class perilune.raft.Details
---@field certainty "never"|"unknown"|"ok"  ok: it was applied, and apply raised
---@field token? perilune.raft.Token

local DEADLINE = 5
local PRIORITY_MAX = 4
local NODE = {
  id = "number", path = "string", listen = "string", heartbeat = true, election = true,
  leases = "boolean", sleep_after = true, requests_max = "number", snapshot_entries = "number",
  trailing_entries = "number", recorder = "number", secret = "string", cluster = "string", node = "string",
  inflight_max = "number", body_max = "number", ping = true,
}
local GROUP = {
  id = "number", members = "table", machine = "table", node = true, detached = "boolean", priority = "number",
}
local MACHINE = {
  init = "function", apply = "function", query = "function", snapshot = "function", restore = "function",
  store = "boolean",
}
local REQUEST = { deadline = true, wait = "boolean" }
local READ = { deadline = true, consistency = "string" }
local RECOVER = { path = "string", group = "number", members = "table" }
local CONSISTENCY = { linearizable = true, lease = true, stale = true }

local function check_integer(caller, name, value, low)
  local integer = math.tointeger(value)
  if not integer or integer < low then
    error(("%s: %s must be an integer from %d, not %s"):format(caller, name, low, tostring(value)), 3)
  end
  return integer
end

local function check_priority(caller, value)
  local integer = math.tointeger(value)
  if not integer or integer < 0 or integer > PRIORITY_MAX then
    error(("%s: priority is an integer from 0, which never leads, to %d, not %s"):format(caller, PRIORITY_MAX,
      tostring(value)), 3)
  end
  return integer
end

local function deadline_of(caller, options)
  return options_of.seconds(caller, "deadline", options.deadline or DEADLINE, 0, 1e6, 4)
end

local function to_us(seconds)
  return math.floor(seconds * 1e6 + 0.5)
end

-- ---- nodes ----

---@class perilune.raft.Node
local Node = {}
Node.__index = Node

local current -- what raft.open made last

-- What the core reads: every option, with its default where none was given.
local function node_options(options)
  local read = rpc.identity("raft.open", options)
  local heartbeat = options_of.seconds("raft.open", "heartbeat", options.heartbeat or 0.05, 0.001, 60, 4)
  local election = options_of.seconds("raft.open", "election", options.election or 3 * heartbeat,
    0.002, 600, 4)
  if election <= heartbeat then
    error("raft.open: election must be longer than heartbeat; three times is usual", 3)
  end
  read.id = check_integer("raft.open", "id", options.id, 1)
  read.path = options.path or error("raft.open: path, the directory of the node's data, is missing", 3)
  read.listen = options.listen or ":7200"
  read.heartbeat_us, read.election_min_us = to_us(heartbeat), to_us(election)
  read.election_max_us = 2 * read.election_min_us
  read.leases = options.leases or false
  read.sleep_after_us = to_us(options_of.seconds("raft.open", "sleep_after", options.sleep_after or 0,
    0, 1e6, 4))
  read.requests_max = check_integer("raft.open", "requests_max", options.requests_max or 4096, 1)
  read.snapshot_entries = check_integer("raft.open", "snapshot_entries", options.snapshot_entries or 10000, 0)
  read.trailing_entries = check_integer("raft.open", "trailing_entries", options.trailing_entries or 1000, 0)
  read.recorder_bytes = check_integer("raft.open", "recorder", options.recorder or 65536, 0)
  return read
end

--- Opens this node: reads its disk and listens for the others. It belongs to the program, which ends it
--- with node:close(). Misuse raises; a directory of another cluster or node is nil, message, "ECLUSTER".
---@param options perilune.raft.NodeOptions
---@return perilune.raft.Node|nil node
---@return string? err
---@return string? code
function M.open(options)
  options = options_of.check(options, NODE, "raft.open")
  local box, err, code = core.open(node_options(options))
  if not box then
    return nil, err, code
  end
  current = setmetatable({ core = box, id = options.id }, Node)
  return current
end

--- Where the node listens, with the real port.
---@return string|nil address
function Node:address()
  return self.core:address()
end

--- Counts: groups, steps, envelopes_sent, envelopes_lost, messages_sent, messages_heard, messages_refused,
--- bytes_sent, entries_applied, snapshots_taken, snapshots_installed, snapshots_sent, events_lost.
---@return table<string, integer>|nil stats
function Node:stats()
  return self.core:stats()
end

--- Waits for the next event:
---   { type = "role", group, role, term, leader }, { type = "members", group, index },
---   { type = "snapshot_taken" | "snapshot_installed" | "repaired", group, index }, { type = "fenced", code }
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

local function recover_members(members)
  local list = {}
  for id, address in pairs(members) do
    if not math.tointeger(id) or id < 1 or (type(address) ~= "string" and address ~= false) then
      error(("raft.recover: members are { [id] = \"address\" or false }, not [%s] = %s"):format(tostring(id),
        tostring(address)), 3)
    end
    list[#list + 1] = { id, address }
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

--- Looks at the data of a node that does not run: { node, groups = { { group, replica, health, why, term,
--- vote, first_index, last_index, snapshot_index, members = { { id, is }, ... } }, ... } }.
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
---@param options { path: string, group: integer, members: table<integer, string|false> }
---@return table|nil found  as it was before, with index and term of the entry
---@return string? err
---@return string? code  ENOENT, EBUSY while the node runs, EINVAL
function M.recover(options)
  options = options_of.check(options, RECOVER, "raft.recover")
  local members = recover_members(options.members or {})
  if #members == 0 then
    error("raft.recover: members is empty", 2)
  end
  local path = options.path or error("raft.recover: path, the directory of the node's data, is missing", 2)
  return core.recover(path, check_integer("raft.recover", "group", options.group, 1), members)
end

-- ---- machines ----

local function same(value)
  return value
end

local function encode(what, value)
  local bytes, err = msgpack.encode(value, { name = what })
  if not bytes then
    error(err, 0)
  end
  return bytes
end

--- The state of a machine with store = true: ordered keys on disk, for its functions while they run. Keys (up
--- to 4 KiB) and values (up to 8 MiB) are strings; perilune.msgpack makes strings of other data. A command
--- sees what it has written, and when it raises, nothing of that has happened.
---@class perilune.raft.Store
local Store = {}
Store.__index = Store

--- The value of a key, or nil.
---@param key string
---@return string|nil value
function Store:get(key)
  return self.core:get(key)
end

--- Sets a key. Only in apply. Raises for what is too large: all replicas alike.
---@param key string
---@param value string
function Store:put(key, value)
  self.core:put(key, value)
end

--- Removes a key, if it is there. Only in apply.
---@param key string
function Store:delete(key)
  self.core:delete(key)
end

--- Walks the keys in order, from the first that is not below from up to, and without, to:
---   for key, value in ctx.store:range("user/", "user0") do ... end
--- Keys that the loop writes in front of itself may or may not be met.
---@param from? string  default: the first key
---@param to? string  default: to the end
---@return fun(): string|nil, string|nil
function Store:range(from, to)
  local box, at, page = self.core, 1, nil
  local next_from = from or ""
  return function()
    while page == nil or at > #page do
      if next_from == nil then
        return nil
      end
      page, next_from = box:range(next_from, to)
      at = 1
    end
    at = at + 2
    return page[at - 2], page[at - 1]
  end
end

local tasks = {
  apply = function(machine, state, input, index, term)
    local context = { index = index, term = term, store = state.store }
    return encode("result", machine.apply(state.value, (msgpack.decode(input)), context))
  end,
  query = function(machine, state, input, index, term)
    if not machine.query then
      error("the machine answers no queries: it has no function query", 0)
    end
    local context = { index = index, term = term, store = state.store }
    return encode("answer", machine.query(state.value, (msgpack.decode(input)), context))
  end,
  snapshot = function(machine, state)
    return encode("snapshot", (machine.snapshot or same)(state.value))
  end,
  restore = function(machine, state, input)
    state.value = (machine.restore or same)((msgpack.decode(input)))
    return ""
  end,
}

-- The machine's fiber: its errors are results, which every replica has alike. The group ends with it.
local function run_machine(box, machine)
  local _ <close> = box
  local state = {}
  if machine.store then
    state.store = setmetatable({ core = box }, Store)
  elseif machine.init then
    state.value = machine.init()
  else
    state.value = {}
  end
  while true do
    local kind, input, index, term = box:task()
    if not kind then
      return
    end
    local ok, output = pcall(tasks[kind], machine, state, input, index, term)
    if ok then
      box:done(output)
    else
      box:done(nil, tostring(output))
    end
  end
end

-- ---- groups ----

---@class perilune.raft.Group
local Group = {}
Group.__index = Group

local function sorted_members(members)
  local list = {}
  for id, address in pairs(members) do
    if not math.tointeger(id) or id < 1 or type(address) ~= "string" then
      error(("raft.group: members are { [id] = \"address\" }, not [%s] = %s"):format(tostring(id),
        tostring(address)), 3)
    end
    list[#list + 1] = { id, address }
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  if #list == 0 then
    error("raft.group: members is empty", 3)
  end
  return list
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
  local priority = check_priority("raft.group", options.priority or PRIORITY_MAX)
  local node = options.node or current
  if not node then
    error("raft.group: open this node first, with raft.open{ id = 1, path = \"data\" }", 2)
  end
  local machine = options_of.check(options.machine, MACHINE, "raft.group: machine")
  if not machine.apply then
    error("raft.group: the machine has no function apply", 2)
  end
  for _, name in ipairs { "init", "snapshot", "restore" } do
    if machine.store and machine[name] then
      error(("raft.group: a machine with store = true has no function %s: its state is in ctx.store")
        :format(name), 2)
    end
  end
  local id = check_integer("raft.group", "id", options.id, 1)
  local box, err, code = node.core:group(id, sorted_members(options.members or {}), machine.store or false)
  if not box then
    return nil, err, code
  end
  if priority ~= PRIORITY_MAX then
    box:set_priority(priority)
  end
  local name = "raft machine " .. id
  fiber.spawn({ name = name, detached = options.detached, cpu_deadline = false }, run_machine, box, machine)
  return setmetatable({ core = box, id = id, node = node }, Group)
end

-- What the core says of a request, as Lua's callers get it.
local function outcome_of(certainty, bytes, err, code, index, term)
  local token = index and index > 0 and { index = index, term = term } or nil
  if certainty == "placed" then
    return token
  elseif not bytes then
    return nil, err, code, { certainty = certainty, token = token }
  end
  if bytes == "" then
    return true
  end
  return (msgpack.decode(bytes))
end

local function encode_argument(caller, what, value)
  local bytes, err = msgpack.encode(value, { name = what })
  if not bytes then
    error(("%s: %s"):format(caller, err), 3)
  end
  return bytes
end

--- Proposes a command, and waits for its result, and before that for an election when no leader is known.
--- Only the leader takes commands: elsewhere the error is ENOTLEADER and names it. What apply raised is nil,
--- message, "ELUA" with certainty "ok".
---@param command any  data
---@param options? perilune.raft.RequestOptions
---@return any result  of apply; with wait = false a token
---@return string? err
---@return string? code  ENOTLEADER, EBUSY, EFULL, EDEADLINE, EFENCED, ECLOSED, ETOOBIG, ELUA
---@return perilune.raft.Details? details
function Group:propose(command, options)
  options = options_of.check(options, REQUEST, "group:propose")
  local bytes = encode_argument("group:propose", "command", command)
  return outcome_of(self.core:propose(bytes, deadline_of("group:propose", options), options.wait == false))
end

--- Says what became of a command: "ok" when it was applied, "never" when another stands in its place,
--- "unknown" while this replica cannot tell.
---@param token perilune.raft.Token
---@return "ok"|"never"|"unknown"
function Group:outcome(token)
  return self.core:certainty(token.index, token.term)
end

--- Asks the machine. Linearizable reads (the default) see every command that was acknowledged before, on
--- any replica; "lease" is the same for groups with leases; "stale" asks this replica, as it is.
---@param query? any  data
---@param options? perilune.raft.ReadOptions
---@return any answer
---@return string? err
---@return string? code
function Group:read(query, options)
  options = options_of.check(options, READ, "group:read")
  local consistency = options.consistency or "linearizable"
  if not CONSISTENCY[consistency] then
    error(("group:read: consistency is \"linearizable\", \"lease\" or \"stale\", not %q")
      :format(consistency), 2)
  end
  local bytes = encode_argument("group:read", "query", query)
  return outcome_of(self.core:read(bytes, deadline_of("group:read", options), consistency))
end

--- How this replica stands: id, group, role, term, leader, first_index, last_index, commit_index,
--- applied_index, snapshot_index, requests, priority, fenced, asleep; health, clean or else suspect or
--- damaged, with why: it gives no votes until it is repaired; quorum_missing, for how many seconds the group
--- has had no quorum as far as this replica knows, while it has none; and members: { [id] = member } with
---   is         voter, learner, joining (a learner that will vote), incoming or outgoing
---   address
--- and of the others
---   answers    a leader: lately; a candidate: in this campaign; else it is the leader
---   heard      seconds since this node last heard that one; nil: never
--- and where this replica leads
---   progress   probe (where the logs agree is being found out), replicate or snapshot (it is sent that of
---              snapshot_index)
---   match_index, next_index   it holds the log up to match; next is what it will be sent
---   in_flight, in_flight_bytes   messages with entries that it has not acknowledged
---   answered   seconds since what it answered last was sent; nil: it did not answer this leader yet
---@return table|nil status
---@return string? err
---@return string? code
function Group:status()
  return self.core:status()
end

local function change(self, caller, kind, id, address, options)
  options = options_of.check(options, REQUEST, caller, 4)
  id = check_integer(caller, "id", id, 1)
  return outcome_of(self.core:change(kind, id, address, deadline_of(caller, options)))
end

--- Adds a member: it gets the log first, and votes once it has caught up.
---@param id integer
---@param address string
---@param options? perilune.raft.RequestOptions
---@return true|nil, string? err, string? code, perilune.raft.Details? details
function Group:add(id, address, options)
  if type(address) ~= "string" then
    error("group:add: the second argument is the member's address", 2)
  end
  return change(self, "group:add", "add", id, address, options)
end

--- Adds a member that gets the log and never votes.
---@param id integer
---@param address string
---@param options? perilune.raft.RequestOptions
---@return true|nil, string? err, string? code, perilune.raft.Details? details
function Group:add_learner(id, address, options)
  if type(address) ~= "string" then
    error("group:add_learner: the second argument is the member's address", 2)
  end
  return change(self, "group:add_learner", "learner", id, address, options)
end

--- Makes a learner a voter at once.
---@param id integer
---@param options? perilune.raft.RequestOptions
---@return true|nil, string? err, string? code, perilune.raft.Details? details
function Group:promote(id, options)
  return change(self, "group:promote", "voter", id, nil, options)
end

--- Removes a member; its id never comes back.
---@param id integer
---@param options? perilune.raft.RequestOptions
---@return true|nil, string? err, string? code, perilune.raft.Details? details
function Group:remove(id, options)
  return change(self, "group:remove", "remove", id, nil, options)
end

--- Hands leadership over, to a member or to whoever is furthest. Returns when the transfer has begun; the
--- status says when it is done.
---@param to? integer
---@return true|nil, string? err, string? code
function Group:transfer(to)
  return self.core:transfer(to)
end

--- Changes how soon this replica campaigns, until it is closed: priority of raft.group. A leader that gets 0
--- hands over; else who leads leads on.
---@param priority integer  0 to 4
---@return true|nil, string? err, string? code
function Group:set_priority(priority)
  return self.core:set_priority(check_priority("group:set_priority", priority))
end

--- Has a snapshot taken as soon as the machine is free; the log before it goes.
---@return true|nil, string? err, string? code
function Group:snapshot()
  return self.core:snapshot()
end

--- The last events of this replica's core, which can be stepped again to the same states.
---@return string|nil bytes
---@return string? err
---@return string? code
function Group:record()
  return self.core:record()
end

--- Ends this node's replica; its data stay, and it can be opened again once the node was closed.
function Group:close()
  self.core:close()
end

Group.__close = Group.close

return M
