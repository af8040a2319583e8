--- The server's side of a store: commands and queries of clients for a group, log time, and what has to be
--- done now and then.
---
--- Log time is what leases and sessions end by (runtime/kv/clock.h). It comes with every command of a leader.
---
--- Commands and queries are answered in C (runtime/kv/service.h), and here as well: for clients of the same
--- process, and where caches have to hear of writes before they are proposed.
local caches = require "perilune.kv.caches"
local fiber = require "perilune.fiber"
local rpc = require "perilune.rpc"

local M = {}

local VERSION = 1
local ROUND = 0.05 -- seconds between two looks at what is due
local PAGE = 256 -- events of a message

---@class perilune.kv.Served
---@field group perilune.raft.Group
local Served = {}
Served.__index = Served

-- ---- log time ----

--- Log time, as far as this server knows; what is far too early as long as it knows nothing of this term.
function Served:now_ms()
  return self.group.core:log_time()
end

-- ---- requests ----

--- What this replica knows of the leader, for clients that look for it.
function Served:leader()
  local status = self.group:status()
  return status and status.leader
end

--- The id of this replica's node.
function Served:id()
  return self.group.node.id
end

--- Proposes a command at the log time of now: its result, or as group:propose.
function Served:propose(session, sequence, kind, ...)
  return self.group:propose { VERSION, self:now_ms(), session, sequence, kind, ... }
end

--- Carries out a client's command: the replica's id, true, and the result; or its id, false, message, code,
--- certainty and who leads.
function Served:command(session, sequence, kind, ...)
  local result, err, code, details
  if self.caches and kind == "do" then
    local given = table.pack(...)
    result, err, code, details = self.caches:write(function()
      return self:propose(session, sequence, kind, table.unpack(given, 1, given.n))
    end, given[2], given[3])
  else
    result, err, code, details = self:propose(session, sequence, kind, ...)
  end
  if result then
    return self:id(), true, result
  end
  local certainty = code == "ETOOBIG" and "ok" or details and details.certainty -- it is too big everywhere
  return self:id(), false, err, code, certainty, self:leader()
end

--- For how many seconds this replica has not heard of its leader; 0 when it leads; nil when it knows of none.
function Served:age()
  local status = self.group:status()
  if not status or not status.leader then
    return nil
  elseif status.role == "leader" then
    return 0
  end
  local member = status.members[status.leader]
  return member and member.heard
end

--- Answers a client's query: as command does, with the age of a stale answer.
function Served:query(consistency, kind, ...)
  local age = consistency == "stale" and self:age() or nil
  local answer, err, code = self.group:read({ VERSION, kind, ... }, { consistency = consistency })
  if answer == nil then
    local is_ok = code == "ECOMPACTED" or code == "EINVAL" or code == "ETOOBIG" or code == "EVERSION"
    return self:id(), false, err, code, is_ok and "ok" or "never", self:leader()
  end
  return self:id(), true, answer, age
end

--- Who has the store, and how far: as the leader sees it, or as far as any server knows.
function Served:members(is_any)
  local status = self.group:status()
  if not status or status.role ~= "leader" and not is_any then
    return self:id(), false, "this node is not the leader", "ENOTLEADER", "never", status and status.leader
  end
  local members = {}
  for id, member in pairs(status.members) do
    members[#members + 1] = {
      id = id, address = member.address, is = member.is, silent = member.answered,
      behind = member.match_index and math.max(status.last_index - member.match_index, 0),
    }
  end
  table.sort(members, function(a, b) return a.id < b.id end)
  return self:id(), true, { leader = status.leader, term = status.term, members = members }
end

local NO_CACHES = "the server has no caches: kv.serve { caches = true }"

--- A client's cache asks for a lease: perilune.kv.caches.
function Served:hold(id, term, acked)
  if not self.caches then
    return self:id(), false, NO_CACHES, "ENOFUNCTION", "ok"
  end
  local told, err, code = self.caches:hold(id, term, acked, function()
    return self.group:read({ VERSION, "status" }, { consistency = "linearizable" }) ~= nil
  end)
  if not told then
    return self:id(), false, err, code, code == "ESESSION" and "ok" or "never", self:leader()
  end
  return self:id(), true, told
end

--- A client's cache reads a key.
function Served:fetch(id, term, key)
  if not self.caches then
    return self:id(), false, NO_CACHES, "ENOFUNCTION", "ok"
  end
  local may_keep, me, ok, answer, err, certainty, leader = self.caches:fetch(id, term, key, function()
    return self:query("linearizable", "get", key, 0)
  end)
  return me, ok, ok and { may_keep, answer } or answer, err, certainty, leader
end

--- Hands over the events of a range of keys from (revision, number) on, as they happen:
--- emit(events, next_revision, next_number). Raises with a code at the end.
function Served:watch(emit, from, to, revision, number)
  while true do
    local count = self.group:changed()
    local answer, err, code = self.group:read({ VERSION, "events", from, to, PAGE, revision, number },
      { consistency = "stale" })
    if answer == nil then
      error { code = code, message = err }
    end
    local events, next_revision, next_number = answer[3], answer[4], answer[5]
    if next_revision ~= revision or next_number ~= number then
      revision, number = next_revision, next_number
      if emit(events, revision, number) == false then
        return
      end
    end
    if revision > answer[1] then
      local closed
      count, err, closed = self.group:changed(count)
      if not count then
        error { code = closed, message = err }
      end
    end
  end
end

--- Are clients' queries answered in C, and as long as no caches have to hear of them, commands?
function Served.is_in_c()
  return true
end

--- Serves clients: a server of perilune.rpc, or as rpc.serve; without options where the node listens.
---@param options? perilune.rpc.ServeOptions
---@return perilune.rpc.Server|nil server
---@return string? err
---@return string? code
function Served:serve(options)
  local is_in_c = self:is_in_c()
  local functions = {
    ["kv.command"] = (self.caches or not is_in_c) and function(...) return self:command(...) end or nil,
    ["kv.query"] = not is_in_c and function(...) return self:query(...) end or nil,
    ["kv.members"] = function(...) return self:members(...) end,
    ["kv.cache"] = function(...) return self:hold(...) end,
    ["kv.fetch"] = function(...) return self:fetch(...) end,
    ["kv.watch"] = function(...) self:watch(rpc.yield, ...) end,
  }
  local server, err, code
  if options then
    server, err, code = rpc.serve(functions, options)
  else
    server, err, code = self.group.node:serve(functions)
  end
  local ok = server
  if server and is_in_c then
    ok, err, code = self.group.core:serve(server, not self.caches)
  end
  if server and not ok then
    server:close()
  end
  return ok and server, err, code
end

-- ---- what has to be done now and then ----

--- Proposes a command again and again as long as it says that there is more.
function Served:finish(kind, ...)
  local result
  repeat
    result = self:propose(0, 0, kind, ...)
  until not result or not result[3]
end

--- One look at what is due, and at how much history there is; none while neither can have changed, for the
--- disk is asked.
function Served:look(applied)
  if applied == self.looked_at and not (self.due_ms and self.due_ms <= self:now_ms()) then
    return
  end
  local answer = self.group:read({ VERSION, "status" }, { consistency = "stale" })
  if not answer then
    return
  end
  local revision, compacted, due_ms = answer[1], answer[3], answer[7]
  self.looked_at, self.due_ms = applied, due_ms
  if due_ms and due_ms <= self:now_ms() then
    self:finish "tick"
  end
  if self.history > 0 and revision - compacted > self.history + self.history // 8 then
    self:finish("compact", revision - self.history)
  end
end

--- As long as the group is open, and where it leads: has ended what is due, and old history let go of.
function Served:keep()
  while true do
    local status = self.group:status()
    if not status then
      return
    elseif status.role == "leader" then
      if self.caches then
        self.caches:leads() -- so that the first write of a term does not begin to wait only then
      end
      self:look(status.applied_index)
    end
    fiber.sleep(ROUND)
  end
end

-- ---- in the same process ----

---@class perilune.kv.LocalStream
local LocalStream = {}
LocalStream.__index = LocalStream

--- As a stream of perilune.rpc.
function LocalStream:recv()
  local item, ok = self.channel:recv()
  if ok == false or item == nil then
    return nil, self.err, self.code
  end
  return table.unpack(item, 1, 3)
end

--- Ends the fiber that watches.
function LocalStream:close()
  self.worker:cancel()
end

---@class perilune.kv.LocalPeer
local LocalPeer = {}
LocalPeer.__index = LocalPeer

local METHODS = {
  ["kv.command"] = Served.command, ["kv.query"] = Served.query, ["kv.members"] = Served.members,
  ["kv.cache"] = Served.hold, ["kv.fetch"] = Served.fetch,
}

--- As a peer of perilune.rpc, as are the others.
function LocalPeer:with(options)
  return setmetatable({ served = self.served, deadline = options.deadline }, LocalPeer)
end

--- Calls one of the functions, for so long.
function LocalPeer:call(name, ...)
  return fiber.deadline(self.deadline, METHODS[name], self.served, ...)
end

--- Watches in a fiber of its own.
function LocalPeer:stream(_, ...)
  local stream = setmetatable({ channel = fiber.channel() }, LocalStream)
  stream.worker = fiber.spawn({ name = "kv watch", detached = true, cpu_deadline = false }, function(...)
    local function emit(...)
      return stream.channel:send { ... } and true
    end
    local _, err = pcall(self.served.watch, self.served, emit, ...)
    stream.err, stream.code = err.message, err.code
    stream.channel:close()
  end, ...)
  return stream
end

--- Ends the group.
function LocalPeer:close()
  self.served.group:close()
end

--- The server as clients see a peer, without a connection.
---@return perilune.kv.LocalPeer
function Served:peer()
  return setmetatable({ served = self, deadline = 1 }, LocalPeer)
end

--- The server's side of a group.
---@param group perilune.raft.Group
---@param history integer
---@param has_caches? boolean  clients may have caches
---@return perilune.kv.Served
function M.create(group, history, has_caches)
  return setmetatable({
    group = group, history = history,
    caches = has_caches and caches.create(group) or nil,
  }, Served)
end

return M
