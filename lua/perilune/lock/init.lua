--- Locks, elections, semaphores, barriers, counters and queues, on what perilune.kv gives to everybody.
---
---   local jobs = lock.mutex(store, "jobs", { ttl = 5 })
---   local held <close> = assert(jobs:acquire())
---   store:put("jobs/next", "7", { fence = held })
---
--- Holders have leases, so that a holder that is gone holds up nobody for longer than ttl. A holder that only
--- stood still may believe for a while that it still holds: what it writes with the fence is refused then
--- (nil, message, "ELOST"). What it writes without, nobody can stop.
local options_of = require "perilune.options"

local M = {}

local TTL = 10 -- seconds
local WAIT = 60

---@class perilune.lock.Options
---@field ttl? number|string  after which a holder that is gone holds no more; seconds, default 10

---@class perilune.lock.WaitOptions
---@field wait? number|string  how long at most; seconds, default 60; 0: not at all

local OPTIONS = { ttl = true }
local WAITS = { wait = true, value = "string" }

-- What all of them have: a store, the prefix of their keys, and a ttl.
local function base(caller, kind, store, name, options)
  if type(store) ~= "table" or not store.transact then
    error(("%s: the first argument is a store, as kv.connect gives"):format(caller), 3)
  elseif type(name) ~= "string" or name == "" or #name > 900 then
    error(("%s: the second argument is a name of 1 to 900 bytes"):format(caller), 3)
  end
  options = options_of.check(options, OPTIONS, caller, 4)
  local ttl = options_of.seconds(caller, "ttl", options.ttl or TTL, 0.1, 1e6, 4)
  return { store = store, name = name, prefix = ("%s/%s/"):format(kind, name), ttl = ttl }
end

local function count_of(caller, count)
  local number = math.tointeger(count)
  return number and number > 0 and number
    or error(("%s: the third argument is a whole number from 1 on"):format(caller), 3)
end

--- For the files of this folder: how long to wait, and what others see.
---@param caller string
---@param options? table
---@return number seconds
---@return string value
function M.wait_of(caller, options)
  options = options_of.check(options, WAITS, caller)
  return options_of.seconds(caller, "wait", options.wait or WAIT, 0, 1e9, 4), options.value or ""
end

--- Waits until what was closed, or given up by fibers that were cancelled, has been given back to the store.
function M.settle()
  require("perilune.lock.place").settle()
end

--- A lock: one holder at a time, first come first served.
---@param store perilune.kv.Store
---@param name string
---@param options? perilune.lock.Options
---@return perilune.lock.Semaphore
function M.mutex(store, name, options)
  return require("perilune.lock.semaphore").create(base("lock.mutex", "lock", store, name, options), 1)
end

--- A lock that so many may hold.
---@param store perilune.kv.Store
---@param name string
---@param permits integer
---@param options? perilune.lock.Options
---@return perilune.lock.Semaphore
function M.semaphore(store, name, permits, options)
  permits = count_of("lock.semaphore", permits)
  return require("perilune.lock.semaphore").create(base("lock.semaphore", "semaphore", store, name, options),
    permits)
end

--- An election: one leader at a time, and everybody can see who.
---@param store perilune.kv.Store
---@param name string
---@param options? perilune.lock.Options
---@return perilune.lock.Election
function M.election(store, name, options)
  return require("perilune.lock.election").create(base("lock.election", "election", store, name, options))
end

--- A barrier: nobody goes on before so many have come; then it closes again.
---@param store perilune.kv.Store
---@param name string
---@param count integer
---@param options? perilune.lock.Options
---@return perilune.lock.Barrier
function M.barrier(store, name, count, options)
  count = count_of("lock.barrier", count)
  return require("perilune.lock.barrier").create(base("lock.barrier", "barrier", store, name, options), count)
end

--- A counter, from 0 on.
---@param store perilune.kv.Store
---@param name string
---@return perilune.lock.Counter
function M.counter(store, name)
  return require("perilune.lock.counter").create(base("lock.counter", "counter", store, name))
end

--- A queue: first in, first out, each item to one.
---@param store perilune.kv.Store
---@param name string
---@param options? perilune.lock.Options  ttl: how long an item is taken by one that is gone
---@return perilune.lock.Queue
function M.queue(store, name, options)
  return require("perilune.lock.queue").create(base("lock.queue", "queue", store, name, options))
end

return M
