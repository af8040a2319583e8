--- The client's side of a store: finds a server that answers, sends writes again until they are answered, and
--- has each happen once.
---
--- A write belongs to a session and has a number in it; the store keeps the last number of each session with
--- its result. A session has one write at a time, so writes of several fibers take several sessions.
local arguments = require "perilune.kv.arguments"
local fiber = require "perilune.fiber"
local lease = require "perilune.kv.lease"
local options_of = require "perilune.options"
local reads = require "perilune.kv.reads"

local M = {}

local PAUSE = 0.01 -- seconds, after nobody could be asked; grows
local PAUSE_MAX = 0.2
local HINTS_MAX = 2

local PUT = { lease = true, revision = true, version = true, fence = true }
local DELETE = { revision = true, version = true, fence = true }
local FENCE = { fence = true }

---@class perilune.kv.Details
---@field certainty "ok"|"never"|"unknown"  ok: the store refused it
---@field token? perilune.kv.Token  of an unknown one, for store:outcome

---@class perilune.kv.PutOptions
---@field lease? integer|perilune.kv.Lease|true
---@field revision? integer
---@field version? integer
---@field fence? string|perilune.lock.Place

---@class perilune.kv.FenceOptions
---@field fence? string|perilune.lock.Place  that must be held

---@class perilune.kv.Token
---@field session integer
---@field sequence integer

---@class perilune.kv.Store
local Store = {}
Store.__index = Store
for name, fn in pairs(reads) do
  Store[name] = fn
end

-- ---- asking servers ----

--- Who is asked next, after one that was asked in vain: the leader that it knows of, or the next one in turn;
--- or whom another fiber has chosen meanwhile. Servers with old news may send clients to each other: what
--- they say is followed HINTS_MAX times in a row, and the turn is its own, so that everybody is asked.
function Store:turn_from(asked, leader)
  if self.at ~= asked then
    return
  end
  local at = leader and self.by_id[leader]
  if at and at ~= asked and self.hints < HINTS_MAX then
    self.at, self.hints = at, self.hints + 1
    return
  end
  self.hints = 0
  repeat
    self.next = self.next % #self.peers + 1
  until self.next ~= asked or #self.peers == 1
  self.at = self.next
end

--- One attempt: true and the results; or false, whether it may have happened, and why not, where is_final
--- says that it would be so again, and has_answered that a server said so.
function Store:attempt(seconds, name, ...)
  local asked = self.at
  local peer = self.peers[asked]
  local id, is_ok, first, second, third, leader = peer:with({ deadline = seconds }):call(name, ...)
  if id == nil then
    local err, code = is_ok, first
    self:turn_from(asked)
    return false, code ~= "EUNREACHABLE" and code ~= "ENOFUNCTION", err, code, false, false
  end
  self.by_id[id] = asked
  if is_ok then
    self.hints = 0
    return true, first, second
  elseif third == "ok" then
    return false, false, first, second, true, true
  end
  self:turn_from(asked, leader)
  return false, third ~= "never", first, second, false, true
end

--- Attempts until one has an answer, or the time is over. The result and what comes with it; or nil, message,
--- code, and whether it may have happened.
function Store:ask(name, ...)
  local due, pause, may_have = fiber.now() + self.settings.deadline, PAUSE, false
  local reason, is_said
  while not self.closed do
    local left = due - fiber.now()
    if left <= 0 then
      return nil, ("no answer within %g s; the last reason: %s"):format(self.settings.deadline,
        reason or "none"), "EDEADLINE", may_have
    end
    local ok, first, second, code, is_final, has_answered = self:attempt(
      math.min(left, self.settings.attempt), name, ...)
    if ok then
      return first, second
    elseif is_final then
      return nil, second, code, may_have, true
    end
    may_have = may_have or first
    if has_answered or not is_said then -- a server knows better than the network what is wrong
      reason, is_said = second, has_answered
    end
    if code ~= "ENOTLEADER" or pause > PAUSE then
      fiber.sleep(math.min(pause * (0.5 + fiber.random()), math.max(due - fiber.now(), 0)))
    end
    pause = math.min(2 * pause, PAUSE_MAX)
  end
  return nil, "the store was closed", "ECLOSED", may_have
end

-- ---- writes ----

--- A session that no other fiber writes in now: nil, message, code when none can be had.
function Store:take_session()
  local free = self.sessions
  while #free > 0 do
    local session = table.remove(free)
    if fiber.now() - session.used < self.settings.session / 2 then
      return session
    end
  end
  local result, err, code = self:ask("kv.command", 0, 0, "open", math.floor(self.settings.session * 1000))
  if not result then
    return nil, err, code
  end
  return { id = result[3], sequence = 0 }
end

-- Has a session carry out a command: as command does, and true when the session has ended before that.
local function command_in(self, session, ...)
  session.sequence = session.sequence + 1
  local result, err, code, may_have, is_final = self:ask("kv.command", session.id, session.sequence, ...)
  session.used = fiber.now()
  if result or is_final and code ~= "ESESSION" then
    self.sessions[#self.sessions + 1] = session
    return result, err, code, not result and { certainty = "ok" } or nil
  elseif not may_have then
    return nil, err, code, { certainty = "never" }, is_final
  end
  local token = { session = session.id, sequence = session.sequence }
  return nil, err, code, { certainty = "unknown", token = token }
end

--- Carries out a command: its result, or nil, message, code, details. A session that has ended is replaced,
--- and with it those that were used before it.
function Store:command(...)
  local session, result, err, code, details, has_ended
  for _ = 1, 2 do
    session, err, code = self:take_session()
    if not session then
      return nil, err, code, { certainty = "never" }
    end
    result, err, code, details, has_ended = command_in(self, session, ...)
    if not has_ended then
      break
    end
    self.sessions = {}
  end
  return result, err, code, details
end

-- Compares and an otherwise that say whether a fence holds, too.
local function with_fence(compares, otherwise, fence)
  compares, otherwise = table.move(compares, 1, #compares, 1, {}), table.move(otherwise, 1, #otherwise, 1, {})
  compares[#compares + 1], otherwise[#otherwise + 1] = fence, { "get", fence[2] }
  return compares, otherwise
end

local function is_lost(fence, found)
  return not found or found[3] ~= fence[4]
end

-- Store:transact with the compare of a fence, or nil.
local function transact(self, compares, operations, otherwise, fence)
  if fence then
    compares, otherwise = with_fence(compares, otherwise, fence)
  end
  local result, err, code, details = self:command("do", compares, operations, otherwise)
  if not result then
    return nil, err, code, details
  end
  local holds, results = result[3], result[4]
  if fence and not holds then
    if is_lost(fence, results[#otherwise]) then
      return nil, "the lock of the fence is held no more", "ELOST", { certainty = "ok" }
    end
    results[#otherwise] = nil
  end
  return holds, results, result[1]
end

-- One operation on one key, after a compare perhaps, and where a fence holds.
local function operate(self, compares, operation, fence)
  local holds, results, revision, details = transact(self, compares, { operation }, {}, fence)
  if holds == nil then
    return nil, results, revision, details
  end
  return holds, results[1], revision
end

--- Does several things at once, or none: compares, then, when all of them hold, the first list of operations,
--- else the second. runtime/kv/README.md has their forms. Options: fence, a lock that must be held: else
--- nothing is done, and it is nil, message, "ELOST"; the second list only reads then.
---   store:transact({ { "version", "key", "=", 0 } }, { { "put", "key", "value", 0 } }, { { "get", "key" } })
---@param compares table[]
---@param operations table[]
---@param otherwise? table[]
---@param options? perilune.kv.FenceOptions
---@return boolean|nil holds  whether all compares did; nil: it failed
---@return any[]|string results  of the operations, in their order
---@return integer|string revision  of the store
---@return perilune.kv.Details? details
function Store:transact(compares, operations, otherwise, options)
  local fence = arguments.fence("store:transact", options_of.check(options, FENCE, "store:transact"))
  for _, operation in ipairs(fence and otherwise or {}) do
    if operation[1] ~= "get" and operation[1] ~= "range" then
      error("store:transact: with a fence the second list only reads: get or range", 2)
    end
  end
  return transact(self, compares, operations, otherwise or {}, fence)
end

--- Sets a key. Options: lease (an id, or a lease; default none; true: the one that the key has); revision or
--- version, which the key must have now, 0 for one that is not there: else nil, message, "EEXIST"; fence, a
--- lock that must be held: else nil, message, "ELOST".
---@param key string
---@param value string
---@param options? perilune.kv.PutOptions
---@return integer|nil revision  of the store, and now of the key
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Store:put(key, value, options)
  options = options_of.check(options, PUT, "store:put")
  local operation = { "put", arguments.key("store:put", key), arguments.value("store:put", value),
    arguments.lease("store:put", options.lease) }
  local compares = arguments.compares("store:put", key, options)
  local fence = arguments.fence("store:put", options)
  local holds, err, revision, details = operate(self, compares, operation, fence)
  if holds == nil then
    return nil, err, revision, details
  elseif not holds then
    return nil, "the key has another revision or version by now", "EEXIST", { certainty = "ok" }
  end
  return revision
end

--- Removes a key. Options: revision, version, fence, as for put.
---@param key string
---@param options? { revision?: integer, version?: integer, fence?: string|perilune.lock.Place }
---@return boolean|nil was_there
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Store:delete(key, options)
  options = options_of.check(options, DELETE, "store:delete")
  local compares = arguments.compares("store:delete", key, options)
  local fence = arguments.fence("store:delete", options)
  local operation = { "delete", arguments.key("store:delete", key) }
  local holds, count, code, details = operate(self, compares, operation, fence)
  if holds == nil then
    return nil, count, code, details
  elseif not holds then
    return nil, "the key has another revision or version by now", "EEXIST", { certainty = "ok" }
  end
  return count == 1
end

--- Adds bytes at the end of a value; what is not there is empty.
---@param key string
---@param bytes string
---@param options? perilune.kv.FenceOptions
---@return integer|nil size  of the value then
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Store:append(key, bytes, options)
  local fence = arguments.fence("store:append", options_of.check(options, FENCE, "store:append"))
  local holds, size, code, details = operate(self, {},
    { "append", arguments.key("store:append", key), arguments.value("store:append", bytes) }, fence)
  if holds == nil then
    return nil, size, code, details
  end
  return size
end

--- Adds to a number; what is not there is 0. A value that is no integer is EINVAL.
---@param key string
---@param delta? integer  default 1
---@param options? perilune.kv.FenceOptions
---@return integer|nil sum
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Store:increment(key, delta, options)
  local number = math.tointeger(delta or 1) or error("store:increment: the second argument is an integer", 2)
  local fence = arguments.fence("store:increment", options_of.check(options, FENCE, "store:increment"))
  local holds, sum, code, details = operate(self, {},
    { "increment", arguments.key("store:increment", key), number }, fence)
  if holds == nil then
    return nil, sum, code, details
  end
  return sum
end

--- Says what became of a write whose outcome was unknown, and ends the doubt: when it has not happened by
--- now, it never will. "ended": the session has, or has done other writes; nobody knows any more.
---@param token perilune.kv.Token
---@return "ok"|"never"|"ended"|nil outcome
---@return string? err
---@return string? code
function Store:outcome(token)
  local result, err, code, _, is_final = self:ask("kv.command", token.session, token.sequence, "resolve")
  if result then
    return result[3] and "ok" or "never"
  elseif is_final and (code == "ESESSION" or code == "EINVAL") then
    return "ended"
  end
  return nil, err, code
end

--- Makes a lease: keys that are put with it end with it, all at once, when nobody has kept it for ttl.
---@param ttl number|string  seconds, or a text such as "5s"
---@return perilune.kv.Lease|nil lease
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Store:lease(ttl)
  local seconds = arguments.ttl("store:lease", ttl)
  local result, err, code, details = self:command("grant", math.floor(seconds * 1000))
  if not result then
    return nil, err, code, details
  end
  return lease.create(self, result[3], seconds)
end

-- ---- the end ----

--- Ends the sessions that the servers keep for this store, which would end by themselves in time, and closes
--- it. Waits for the answers; close does not.
function Store:leave()
  while #self.sessions > 0 do
    local session = table.remove(self.sessions)
    if not self:ask("kv.command", session.id, session.sequence + 1, "close") then
      break
    end
  end
  self:close()
end

--- Closes the connections; a store of this process ends.
function Store:close()
  self.closed = true
  for _, peer in ipairs(self.peers) do
    peer:close()
  end
  if self.node then
    self.node:close()
  end
end

Store.__close = Store.close

--- A store behind peers.
---@param peers table[]
---@param settings { deadline: number, attempt: number, session: number }
---@param node? perilune.raft.Node  that ends with it
---@return perilune.kv.Store
function M.create(peers, settings, node)
  local first = fiber.random(#peers)
  return setmetatable({
    peers = peers, settings = settings, node = node, sessions = {},
    at = first, next = first, hints = 0, by_id = {}, -- whom to ask: see turn_from
  }, Store)
end

return M
