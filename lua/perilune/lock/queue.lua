--- Queues: items have numbers in the order in which they came. Who takes one marks it with a key of its own,
--- under a lease, so that it comes back when that one is gone before the item was done.
local arguments = require "perilune.kv.arguments"
local fiber = require "perilune.fiber"
local lock = require "perilune.lock"
local place = require "perilune.lock.place"

local M = {}

local PAGE = 64 -- items that are looked at together

---@class perilune.lock.Queue
local Queue = {}
Queue.__index = Queue

---@class perilune.lock.Item
---@field value string
---@field key string
---@field fence string  for writes that only who has the item may do
local Item = {}
Item.__index = Item

--- Adds an item at the end.
---@param value string
---@param options? perilune.kv.FenceOptions
---@return integer|nil number  of the item
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Queue:push(value, options)
  local last, info, code = self.store:get(self.counter)
  while not code do
    local number = (math.tointeger(tonumber(last or 0))) + 1
    local compare = last and { "value", self.counter, "=", last } or { "version", self.counter, "=", 0 }
    local holds, results, revision, details = self.store:transact({ compare }, {
      { "put", self.items .. ("%016x"):format(number), arguments.value("queue:push", value), 0 },
      { "put", self.counter, tostring(number), 0 },
    }, { { "get", self.counter } }, options)
    if holds == nil then
      return nil, results, revision, details
    elseif holds then
      return number
    end
    last = results[1] and results[1][1]
  end
  return nil, info, code
end

-- The numbers of items that somebody had taken at a revision, as a set.
local function taken_of(self, revision)
  local line, err, code = place.line(self.store, self.takers, revision)
  if not line then
    return nil, err, code
  end
  local taken = {}
  for _, item in ipairs(line) do
    taken[item.key:sub(#self.takers + 1)] = true
  end
  return taken
end

-- The first item that nobody had, and its number: false when there was none; and when that was.
local function first_of(self)
  local from, to = arguments.bounds("queue", { prefix = self.items })
  local taken, revision
  repeat
    local items, next_key, at = self.store:range { from = from, to = to, limit = PAGE, revision = revision }
    if not items then
      return nil, next_key, at
    end
    from, revision = next_key, revision or at
    if #items > 0 and not taken then
      local err, code
      taken, err, code = taken_of(self, revision)
      if not taken then
        return nil, err, code
      end
    end
    for _, item in ipairs(items) do
      if not taken[item.key:sub(#self.items + 1)] then
        return item, revision
      end
    end
  until not from
  return false, revision
end

-- Gives the first item to use(item, compares), which says EEXIST when others had it before; waits for one.
local function with_first(self, seconds, use)
  local due = fiber.now() + seconds
  while true do
    local item, revision, code = first_of(self)
    if item then
      local taker = self.takers .. item.key:sub(#self.items + 1)
      local given = table.pack(use(item, taker, {
        { "revision", item.key, "=", item.revision }, { "version", taker, "=", 0 },
      }))
      if given[1] ~= nil or given[3] ~= "EEXIST" then
        return table.unpack(given, 1, given.n)
      end
    elseif fiber.now() >= due or item == nil and code ~= "EDEADLINE" and code ~= "ECOMPACTED" then
      return nil, item == false and "the queue is empty" or revision, item == false and "EBUSY" or code
    elseif item == false then
      local watch <close> = self.store:watch { prefix = self.prefix, revision = revision + 1 }
      if watch then
        fiber.deadline(math.max(due - fiber.now(), 0), watch.recv, watch)
      end
    end
  end
end

--- Removes the first item, waiting for one. When its outcome is unknown, details.item says which it was.
---@param options? { wait?: number|string }
---@return string|nil value
---@return string? err
---@return string? code  EBUSY: there was none
---@return perilune.kv.Details? details
function Queue:pop(options)
  return with_first(self, lock.wait_of("queue:pop", options), function(item, _, compares)
    local holds, results, code, details = self.store:transact(compares, { { "delete", item.key } })
    if holds then
      return item.value
    elseif holds == false then
      return nil, "others were faster", "EEXIST"
    end
    if details then
      details.item = item.value
    end
    return nil, results, code, details
  end)
end

--- Takes the first item, waiting for one: it is there again for others when its taker gives it back, or is
--- gone for ttl, and has to be ended with item:done().
---@param options? { wait?: number|string }
---@return perilune.lock.Item|nil item
---@return string? err
---@return string? code  EBUSY: there was none
function Queue:take(options)
  return with_first(self, lock.wait_of("queue:take", options), function(item, taker, compares)
    local held, err, code = place.take(self.store, {
      prefix = self.takers, key = taker, ttl = self.ttl, compares = compares,
    })
    if not held then
      return nil, err, code
    end
    return setmetatable({
      store = self.store, held = held, key = item.key, value = item.value, fence = held.fence,
    }, Item)
  end)
end

--- How many items there are, with those that are taken.
---@return integer|nil count
---@return string? err
---@return string? code
function Queue:count()
  return self.store:count { prefix = self.items }
end

--- The work is done: the item goes for good.
---@return true|nil
---@return string? err
---@return string? code  ELOST: it went back before, and others may have it
function Item:done()
  local holds, err, code = self.store:transact({}, { { "delete", self.key } }, nil, { fence = self })
  if not holds then
    return nil, err, code
  end
  self.held:close()
  return true
end

--- Gives the item back.
---@return true|nil
---@return string? err
---@return string? code
function Item:back()
  return self.held:release()
end

--- Gives the item back without waiting, unless it is done.
function Item:close()
  self.held:close()
end

Item.__close = Item.close

--- A queue.
---@param base table
---@return perilune.lock.Queue
function M.create(base)
  base.items, base.takers = base.prefix .. "items/", base.prefix .. "takers/"
  base.counter = base.prefix .. "last"
  return setmetatable(base, Queue)
end

return M
