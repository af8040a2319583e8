--- A cache of a client: keys that were read are read again without asking anybody, as long as the leader
--- promises to tell of changes before they take effect (perilune.kv.caches has the other side). What it
--- answers is linearizable.
local arguments = require "perilune.kv.arguments"
local fiber = require "perilune.fiber"

local M = {}

local SHARE = 0.9 -- of a lease that is used: clocks are not equally fast
local PAUSE = 0.05 -- seconds, after nobody could be asked

---@class perilune.kv.Cache
---@field hits integer  reads that were answered here
---@field misses integer  reads for which a server was asked
local Cache = {}
Cache.__index = Cache

-- Forgets a key, or everything (true), and what is on its way.
local function forget(self, key)
  for name, pending in pairs(key == true and self.pending or { [key] = self.pending[key] }) do
    pending.is_old = true
    self.pending[name] = nil
  end
  if key == true then
    self.entries = {}
  else
    self.entries[key] = nil
  end
end

local function start_anew(self)
  self.id, self.term, self.acked, self.lease_until = 0, 0, 0, 0
  forget(self, true)
end

-- Asks for a lease, and for what has to be forgotten. true; or nil, message, code.
local function renew(self)
  local asked = fiber.now()
  local ok, told, err, code = self.store:attempt(self.store.settings.attempt, "kv.cache", self.id, self.term,
    self.acked)
  if self.closed then
    return true
  elseif not ok then
    if code == "ESESSION" then
      start_anew(self)
    end
    return nil, err, code
  end
  local id, term, is_renewed, last, keys, ttl = table.unpack(told, 1, 6)
  if id ~= self.id or term ~= self.term then
    start_anew(self)
    self.id, self.term = id, term
  end
  for _, key in ipairs(keys) do
    forget(self, key)
  end
  self.acked = math.max(self.acked, last)
  self.lease_until = is_renewed and math.max(self.lease_until, asked + SHARE * ttl) or self.lease_until
  return true
end

local function keep(self)
  while not self.closed and not self.store.closed do
    if not renew(self) then
      fiber.sleep(PAUSE)
    end
  end
end

-- Asks the leader for a key, and keeps it if that may be.
local function fetch(self, key)
  local id, pending = self.id, self.pending[key] or {}
  self.pending[key] = pending
  local ok, given = self.store:attempt(self.store.settings.attempt, "kv.fetch", id, self.term, key)
  if self.pending[key] == pending then
    self.pending[key] = nil
  end
  if not ok then
    return self.store:get(key)
  end
  local may_keep, found = given[1], given[2][3]
  local value, info = arguments.found(found)
  if may_keep and not pending.is_old and id == self.id and (not info or info.lease == 0) then
    self.entries[key] = { value, info }
  end
  return value, info
end

--- Reads a key: as store:get, linearizable, and mostly without asking a server.
---@param key string
---@return string|nil value
---@return perilune.kv.Info|string|nil info
---@return string? code
function Cache:get(key)
  arguments.key("cache:get", key)
  local is_leased = fiber.now() < self.lease_until
  local entry = is_leased and self.entries[key]
  if entry then
    self.hits = self.hits + 1
    return entry[1], entry[2]
  end
  self.misses = self.misses + 1
  if is_leased then
    return fetch(self, key)
  end
  return self.store:get(key)
end

--- Ends it; the servers forget it by themselves.
function Cache:close()
  self.closed = true
  start_anew(self)
end

Cache.__close = Cache.close

--- A cache of a store.
---@param store perilune.kv.Store
---@return perilune.kv.Cache|nil cache
---@return string? err
---@return string? code
function M.create(store)
  local cache = setmetatable({ store = store, entries = {}, pending = {}, hits = 0, misses = 0 }, Cache)
  start_anew(cache)
  local due = fiber.now() + store.settings.deadline
  local ok, err, code = renew(cache)
  while not ok and code ~= "ENOFUNCTION" and fiber.now() < due do
    fiber.sleep(PAUSE)
    ok, err, code = renew(cache)
  end
  if not ok then
    return nil, err, code
  end
  fiber.spawn({ name = "kv cache", detached = true, cpu_deadline = false }, keep, cache)
  return cache
end

return M
