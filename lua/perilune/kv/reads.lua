--- What a store is asked: keys as they are and as they were, how many there are, and what happens to them.
local arguments = require "perilune.kv.arguments"
local options_of = require "perilune.options"
local watch = require "perilune.kv.watch"

local GET = { consistency = true, revision = "number" }
local COUNT = {
  key = true, prefix = true, from = true, to = true, revision = "number", consistency = true,
}
local RANGE = { limit = "number", keys_only = "boolean" }
for name, want in pairs(COUNT) do
  RANGE[name] = want
end
local STATUS = { consistency = true }
local WATCH = { key = true, prefix = true, from = true, to = true, revision = "number" }

---@class perilune.kv.Info
---@field revision integer  of the last change of the key
---@field created integer  of the first change since it was not there
---@field version integer  counts changes since then: the first is 1
---@field lease integer  or 0
---@field age? number  of a stale read: seconds since the replica heard of its leader; nil: it knows of none

---@class perilune.kv.RangeOptions
---@field key? string
---@field prefix? string
---@field from? string
---@field to? string
---@field limit? integer
---@field keys_only? boolean
---@field revision? integer
---@field consistency? string

---@class perilune.kv.Store
local Reads = {}

--- Reads a key. Options: consistency, "linearizable" (default: sees every write that was answered before),
--- "lease" (the same, cheaper, for groups with leases) or "stale" (what the server that is asked has;
--- info.age); revision, as it was then.
---@param key string
---@param options? { consistency?: string, revision?: integer }
---@return string|nil value  nil without a message: it is not there
---@return perilune.kv.Info|string|nil info
---@return string? code
function Reads:get(key, options)
  options = options_of.check(options, GET, "store:get")
  local consistency = arguments.consistency("store:get", options.consistency)
  local answer, age, code = self:ask("kv.query", consistency, "get", arguments.key("store:get", key),
    options.revision or 0)
  if not answer then
    return nil, age, code
  end
  return arguments.found(answer[3], age)
end

--- Reads keys in order: { { key, value, revision, created, version, lease }, ... }, by these names. Which:
--- key, or prefix, or from and to, which is not part of it; limit (default and most 1000), keys_only,
--- revision, consistency as for get.
---@param options? perilune.kv.RangeOptions
---@return table[]|nil items
---@return string|nil next  where it goes on; or the message of the failure
---@return integer|string revision  of the store; or the code of the failure
function Reads:range(options)
  options = options_of.check(options, RANGE, "store:range")
  local from, to = arguments.bounds("store:range", options)
  local consistency = arguments.consistency("store:range", options.consistency)
  local limit, flags = options.limit or arguments.RANGE_MAX, options.keys_only and 1 or 0
  local answer, err, code = self:ask("kv.query", consistency, "range", from, to, limit, flags,
    options.revision or 0)
  if not answer then
    return nil, err, code
  end
  local items = answer[3]
  for i, item in ipairs(items) do
    items[i] = {
      key = item[1], value = not options.keys_only and item[2] or nil, revision = item[3], created = item[4],
      version = item[5], lease = item[6],
    }
  end
  return items, answer[4], answer[1]
end

--- Walks keys in order, however many: for key, value, info in store:each { prefix = "user/" } do. All are as
--- they were at the revision of the first page. Options as of range (limit: at most so many, default all); a
--- failure raises.
---@param options? perilune.kv.RangeOptions
---@return fun(): string|nil, string|nil, perilune.kv.Info|nil
function Reads:each(options)
  local ask, items, at = {}, {}, 0
  for name, value in pairs(options_of.check(options, RANGE, "store:each")) do
    ask[name] = value
  end
  ask.from, ask.to = arguments.bounds("store:each", ask)
  ask.key, ask.prefix = nil, nil
  local left = ask.limit or math.huge
  return function()
    while at == #items do
      if left <= 0 or not ask.from then
        return nil
      end
      ask.limit = math.min(left, arguments.RANGE_MAX)
      local found, next_from, revision = self:range(ask)
      if not found then
        error(("store:each: %s (%s)"):format(next_from, revision), 2)
      end
      items, at, left = found, 0, left - #found
      ask.from, ask.revision = next_from, ask.revision or revision
    end
    at = at + 1
    return items[at].key, items[at].value, items[at]
  end
end

--- Counts keys: options as of range, but limit and keys_only.
---@param options? table
---@return integer|nil count
---@return string? err
---@return string? code
function Reads:count(options)
  options = options_of.check(options, COUNT, "store:count")
  local from, to = arguments.bounds("store:count", options)
  local count, revision = 0, options.revision or 0
  local consistency = arguments.consistency("store:count", options.consistency)
  repeat
    local answer, err, code = self:ask("kv.query", consistency, "range", from, to, arguments.RANGE_MAX, 2,
      revision)
    if not answer then
      return nil, err, code
    end
    count, from = count + answer[5], answer[4]
    revision = revision ~= 0 and revision or answer[1]
  until not from
  return count
end

--- How the store stands: { revision, compacted, keys, leases, sessions, clock_ms, leader, term, members }.
--- Of each member { id, address, is, behind, silent }: "voter" or what else it is, how many entries it lacks,
--- and for how many seconds it has not answered; the leader knows the last two, stale answers may lack them.
---@param options? { consistency?: string }
---@return table|nil status
---@return string? err
---@return string? code
function Reads:status(options)
  options = options_of.check(options, STATUS, "store:status")
  local consistency = arguments.consistency("store:status", options.consistency)
  local answer, err, code = self:ask("kv.query", consistency, "status")
  local who
  if answer then
    who, err, code = self:ask("kv.members", consistency == "stale")
  end
  if not who then
    return nil, err, code
  end
  return {
    revision = answer[1], clock_ms = answer[2], compacted = answer[3], keys = answer[4], leases = answer[5],
    sessions = answer[6], leader = who.leader, term = who.term, members = who.members,
  }
end

--- Lets go of history before a revision: reads of it, and watches from it on, are ECOMPACTED.
---@param revision integer
---@return true|nil
---@return string? err
---@return string? code
function Reads:compact(revision)
  while true do
    local result, err, code = self:ask("kv.command", 0, 0, "compact", revision)
    if not result then
      return nil, err, code
    elseif not result[3] then
      return true
    end
  end
end

--- Watches keys: key, or prefix, or from and to, or all; from a revision on (default: from now on).
---   for event in store:watch({ prefix = "user/" }):events() do
---@param options? { key?: string, prefix?: string, from?: string, to?: string, revision?: integer }
---@return perilune.kv.Watch|nil watch
---@return string? err
---@return string? code
function Reads:watch(options)
  options = options_of.check(options, WATCH, "store:watch")
  local from, to = arguments.bounds("store:watch", options)
  local revision = options.revision
  if not revision then
    local status, err, code = self:status()
    if not status then
      return nil, err, code
    end
    revision = status.revision + 1
  end
  return watch.create(self, from, to, revision)
end

--- A cache of this store's keys, for servers with caches = true: cache:get(key) is linearizable and mostly
--- asks nobody. nil, message, code when no server can be asked.
---@return perilune.kv.Cache|nil cache
---@return string? err
---@return string? code
function Reads:cache()
  return require("perilune.kv.cache").create(self)
end

return Reads
