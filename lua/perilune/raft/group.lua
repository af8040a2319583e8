--- A replica of a group: the handle that raft.group gives.
local checks = require "perilune.raft.checks"
local entry = require "perilune.machine.entry"
local fiber = require "perilune.fiber"
local msgpack = require "perilune.msgpack"
local options_of = require "perilune.options"
local upgrade = require "perilune.raft.upgrade"

local M = {}

---@class perilune.raft.RequestOptions
---@field deadline? number|string  seconds or "500ms"; default 5
---@field wait? boolean  false: propose returns a token as soon as the command stands in the leader's log
---@field session? integer  of a machine in a file: the client (group:open_session), and
---@field sequence? integer  the number of the command in it, from 1: the same again only gives its result

---@class perilune.raft.ReadOptions
---@field deadline? number|string  seconds or "500ms"; default 5
---@field consistency? "linearizable"|"lease"|"stale"

---@class perilune.raft.Token
---@field index integer
---@field term integer

---@class perilune.raft.Details
---@field certainty "never"|"unknown"|"ok"  ok: it was applied, and apply raised
---@field token? perilune.raft.Token

local REQUEST = { deadline = true, wait = "boolean" }
local PROPOSE = { deadline = true, wait = "boolean", session = "number", sequence = "number" }
local READ = { deadline = true, consistency = "string" }
local CONSISTENCY = { linearizable = true, lease = true, stale = true }

---@class perilune.raft.Group
---@field id integer
---@field node perilune.raft.Node
local Group = {}
Group.__index = Group

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
  options = options_of.check(options, PROPOSE, "group:propose")
  local bytes = entry.argument("group:propose", "command", command)
  if self.has_entries then
    bytes = entry.encode(entry.COMMAND, bytes, options)
  elseif options.session then
    error("group:propose: only machines in files (perilune.machine) have sessions", 2)
  end
  local deadline = checks.deadline("group:propose", options)
  return outcome_of(self.core:propose(bytes, deadline, options.wait == false))
end

-- Proposes an entry that is no command.
local function propose_entry(self, caller, kind, body, options, given)
  options = options_of.check(options, REQUEST, caller)
  if not self.has_entries then
    error(caller .. ": only groups of machines in files (perilune.machine) have that", 3)
  end
  return outcome_of(self.core:propose(entry.encode(kind, body, given), checks.deadline(caller, options)))
end

--- Opens a session, for a machine in a file: its number, which is ctx.client of its commands. It ends when it
--- was not used for so long. machine.session stands in front.
---@param ttl number  seconds, by the time of the log
---@param options? perilune.raft.RequestOptions
---@return integer|nil session
---@return string? err
---@return string? code
---@return perilune.raft.Details? details
function Group:open_session(ttl, options)
  return propose_entry(self, "group:open_session", entry.OPEN, entry.ttl(ttl), options)
end

--- Ends a session.
---@param session integer
---@param options? perilune.raft.RequestOptions
---@return true|nil, string? err, string? code, perilune.raft.Details? details
function Group:shut_session(session, options)
  return propose_entry(self, "group:shut_session", entry.SHUT, "", options, { session = session })
end

--- Changes the code of a machine in a file, on all replicas at one entry: upgrade.lua says how. Where
--- migrate(state, old_version, ctx) of the new file raises, or comes to something else on one of the voters,
--- all replicas go on with the old code and state. With try = true it is undone in any case: what it would
--- have done is part of the hash (group:hash_at).
---@param program perilune.machine.Program
---@param options? { deadline: number|string, try: boolean }
---@return integer|nil version  of the new file
---@return string? err
---@return string? code  as propose; "EDIVERGED" when the replicas came to different states
---@return perilune.raft.Details? details
function Group:upgrade(program, options)
  options = options or {}
  if not self.has_entries then
    error("group:upgrade: only groups of machines in files (perilune.machine) have that", 2)
  end
  local deadline = checks.deadline("group:upgrade", options)
  local function propose(kind, body, seconds)
    return propose_entry(self, "group:upgrade", kind, body, { deadline = seconds })
  end
  if options.try then
    return propose(entry.TRY, entry.program(program), deadline)
  end
  return upgrade.run(self, propose, program, deadline)
end

--- The hash of a machine in a file behind the entry with that index, on this replica; nil when it is not
--- among the last 32768 entries.
---@param index integer
---@return integer|nil hash
function Group:hash_at(index)
  return self.core:hash_at(index)
end

--- Has the hashes of a machine in a file compared with those of the other replicas now, not within the next
--- quarter of a second; status().members says what came of it.
function Group:compare()
  self.core:compare()
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
  local bytes = entry.argument("group:read", "query", query)
  return outcome_of(self.core:read(bytes, checks.deadline("group:read", options), consistency))
end

--- How this replica stands: id, group, role, term, leader, first_index, last_index, commit_index,
--- applied_index, snapshot_index, requests, priority, fenced, asleep; health, clean or else suspect or
--- damaged, with why: it gives no votes until it is repaired; quorum_missing, for how many seconds the group
--- has had no quorum as far as this replica knows, while it has none; diverged, while its machine is known to
--- have another state than a majority since that entry: it answers nothing until it is rebuilt; and members:
--- { [id] = member } with
---   is         voter, learner, joining (a learner that will vote), incoming or outgoing
---   address
--- and of the others
---   answers    a leader: lately; a candidate: in this campaign; a follower: true for its leader, nil for
---              others, which it does not ask
---   heard      seconds since this node last heard that one; nil: never
---   equal_index, differs_index   of machines in files: the last index at which its machine had the hash that
---              this one had, and the first at which it had another one
---   awaited    true: this replica, which is not clean, takes no part before it has heard of that one
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

-- A tail call of the methods below: the error of a wrong argument names the line of who called them.
local function change(self, caller, kind, id, address, options)
  options = options_of.check(options, REQUEST, caller)
  id = checks.integer(caller, "id", id, 1)
  return outcome_of(self.core:change(kind, id, address, checks.deadline(caller, options)))
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
  return self.core:set_priority(checks.priority("group:set_priority", priority))
end

--- How the machine of this replica stands, of a group whose machine is a file: hash, of all that has happened
--- in it, equal on replicas that have applied as much; version, of the file; memory, the bytes of its Lua
--- state; used, the instructions that the last call was charged.
---@return table<string, integer>|nil
---@return string? err
---@return string? code
function Group:machine()
  return self.core:machine()
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

--- Waits until commands or snapshots have taken effect on this replica beyond count, and gives how many have
--- by then; without count gives that at once. For groups whose machine is "kv".
---@param count? integer
---@return integer|nil count  nil, message, "ECLOSED" at the end
---@return string? err
---@return string? code
function Group:changed(count)
  while not self.closed and count == self.count do
    self.news:recv()
  end
  if self.closed then
    return nil, "the group is closed", "ECLOSED"
  end
  return self.count
end

--- For the group's fiber (machine.lua): so much has taken effect; nil: it is closed.
---@param count integer|nil
function Group:tell(count)
  local news = self.news
  self.count, self.closed, self.news = count or self.count, count == nil, fiber.channel()
  news:close()
end

--- Ends this node's replica; its data stay, and it can be opened again once the node was closed.
function Group:close()
  self.core:close()
end

Group.__close = Group.close

--- The handle of a group that the core has opened.
---@param box userdata
---@param id integer
---@param node perilune.raft.Node
---@param has_entries boolean  its machine is a file: commands stand in the log as entries
---@return perilune.raft.Group
function M.handle(box, id, node, has_entries)
  return setmetatable({
    core = box, id = id, node = node, has_entries = has_entries, count = 0, news = fiber.channel(),
  }, Group)
end

return M
