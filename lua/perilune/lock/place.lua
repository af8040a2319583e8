--- A place in a line: a key of a store, with a lease, under the prefix of the line. Who came first is told
--- by the revision at which the key was made, which is the fencing token as well: it grows from holder to
--- holder, and a write that names it (the option fence) happens only as long as the key is there. So what a
--- holder writes that stood still for too long is refused by the store, whatever the holder believes.
local arguments = require "perilune.kv.arguments"
local fiber = require "perilune.fiber"

local M = {}

local KEEPS = 3 -- how often a lease is kept in its time
local BEFORE = "not its turn yet: %d before it in the line"

---@class perilune.lock.Place
---@field token integer  grows from holder to holder
---@field fence string  for the option fence of writes
---@field key string
local Place = {}
Place.__index = Place

-- ---- the lease ----

local function finish(place, how, why)
  if not place.ended then
    place.ended, place.why = how, why or "the lease has ended"
    place.done:close()
  end
end

-- Keeps the lease. By the holder's own clock it lasts from when a keep was sent, so the holder thinks that it
-- has ended before the store does.
local function keep(place)
  while not place.ended do
    fiber.sleep(math.min(place.lease.ttl / KEEPS, math.max(place.expires - fiber.now(), 0)))
    local asked = fiber.now()
    local left, ok, err, code = place.expires - asked, false, nil, nil
    if left > 0 and not place.ended then
      ok, err, code = fiber.deadline(left, place.lease.keep, place.lease)
    end
    if ok then
      place.expires = asked + place.lease.ttl
    elseif left <= 0 or code == "ELEASE" then
      finish(place, "lost", err)
    end
  end
end

local releasing = {} -- fibers that end leases

-- Ends a lease that nobody waits for any more.
local function abandon(lease)
  local releaser
  releaser = fiber.spawn({ name = "lock release", detached = true }, function()
    lease:revoke()
    releasing[releaser] = nil
  end)
  releasing[releaser] = true
end

--- Waits until what was given back without waiting is back: for programs that are about to end.
function M.settle()
  while next(releasing) do
    next(releasing):join()
  end
end

-- Closes a place, or abandons a lease, unless it is to stay.
local guard = { __close = function(self)
  if self.place then
    self.place:close()
  elseif self.lease then
    abandon(self.lease)
  end
end }

--- True until it is released, or its lease has ended by this program's clock. A holder that was stopped since
--- it asked does not know: only a write with its fence does.
---@return boolean
function Place:is_held()
  return not self.ended and fiber.now() < self.expires
end

--- Waits until it is released, which is true, or lost.
---@return true|nil
---@return string? err
---@return string? code  ELOST
function Place:join()
  self.done:recv()
  if self.ended == "lost" then
    return nil, self.why, "ELOST"
  end
  return true
end

--- Gives it back, so that the next one has its turn.
---@return true|nil
---@return string? err
---@return string? code  ELOST: it had ended before
function Place:release()
  if self.ended == "released" then
    return true
  end
  finish(self, "released")
  local count, err, code = self.lease:revoke()
  if count then
    return true
  elseif code == "ELEASE" then
    return nil, "the lease had ended before", "ELOST"
  end
  return nil, err, code
end

--- Gives it back without waiting, for fibers that are cancelled and for errors.
function Place:close()
  if not self.ended then
    finish(self, "released")
    abandon(self.lease)
  end
end

Place.__close = Place.close

-- ---- the line ----

local function by_token(one, other)
  return one.created < other.created
end

--- Who stands in a line, first come first: key, created, value of each.
---@param store perilune.kv.Store
---@param prefix string
---@param revision? integer  as it was then
---@return table[]|nil items
---@return integer|string revision  of the store
---@return string? code
function M.line(store, prefix, revision)
  local line = {}
  local from, to = arguments.bounds("lock", { prefix = prefix })
  repeat
    local items, next_key, at = store:range { from = from, to = to, revision = revision }
    if not items then
      return nil, next_key, at
    end
    table.move(items, 1, #items, #line + 1, line)
    from, revision = next_key, revision or at
  until not from
  table.sort(line, by_token)
  return line, revision
end

-- Those before this place: nil, message, "ELOST" when it is not there any more.
local function ahead_of(place)
  local line, revision, code = M.line(place.store, place.prefix)
  if not line then
    return nil, revision, code
  end
  for i, item in ipairs(line) do
    if item.created == place.token then
      return table.move(line, 1, i - 1, 1, {}), revision
    end
  end
  finish(place, "lost")
  return nil, "the lease has ended", "ELOST"
end

-- Waits until one key of those is deleted, but not much longer than a lease: it may be the own place's.
local function await_delete(place, where, due)
  local watch <close> = place.store:watch(where)
  local function recv()
    local event
    repeat
      event = watch and watch:recv()
    until not event or event.type == "delete"
  end
  fiber.deadline(math.max(math.min(due - fiber.now(), place.lease.ttl), 0), recv)
end

--- Waits until less than so many are before this place.
---@param permits integer
---@param due number  of fiber.now
---@return true|nil
---@return string? err
---@return string? code  EBUSY: not in time
function Place:wait(permits, due)
  while true do
    local ahead, revision, code = ahead_of(self)
    if ahead and #ahead < permits then
      return true
    elseif not ahead and code ~= "EDEADLINE" then
      return nil, revision, code
    elseif fiber.now() >= due then
      return nil, ahead and BEFORE:format(#ahead) or revision, ahead and "EBUSY" or code
    elseif ahead then
      await_delete(self, { -- of one that waits for one only that one, so that not all wake up
        key = permits == 1 and ahead[#ahead].key or nil, prefix = permits > 1 and self.prefix or nil,
        revision = revision + 1,
      }, due)
    end
  end
end

---@class perilune.lock.Wanted
---@field prefix string  of the line
---@field ttl number  seconds
---@field value? string  that others see
---@field key? string  default: one of its own at the end of the line
---@field compares? table[]  that have to hold

-- What holds a key that was just made, at the revision token.
local function hold(store, lease, place)
  place.store, place.lease, place.done = store, lease, fiber.channel()
  place.fence = ("%d:%s"):format(place.token, place.key)
  setmetatable(place, Place)
  fiber.spawn({ name = "lock keeper", detached = true, cpu_deadline = false }, keep, place)
  return place
end

--- Takes a place in a line. It has to be closed or released.
---@param store perilune.kv.Store
---@param wanted perilune.lock.Wanted
---@return perilune.lock.Place|nil place
---@return string? err
---@return string? code  EEXIST: the compares do not hold
function M.take(store, wanted)
  local asked = fiber.now()
  local lease, err, code = store:lease(wanted.ttl)
  if not lease then
    return nil, err, code
  end
  local guarded <close> = setmetatable({ lease = lease }, guard)
  local key = wanted.key or wanted.prefix .. ("%016x"):format(lease.id)
  local holds, results, revision = store:transact(wanted.compares or {},
    { { "put", key, wanted.value or "", lease.id } })
  if not holds then
    return nil, holds == nil and results or "others were faster", holds == nil and revision or "EEXIST"
  end
  guarded.lease = nil
  return hold(store, lease, {
    key = key, prefix = wanted.prefix, token = revision, expires = asked + wanted.ttl,
  })
end

--- Takes a place and waits until less than permits are before it, again when the place is lost meanwhile.
---@param store perilune.kv.Store
---@param wanted perilune.lock.Wanted
---@param permits integer
---@param seconds number  how long to wait
---@return perilune.lock.Place|nil place
---@return string? err
---@return string? code  EBUSY: it had no turn in time
function M.acquire(store, wanted, permits, seconds)
  local due = fiber.now() + seconds
  while true do
    local place, err, code = M.take(store, wanted)
    if not place then
      return nil, err, code
    end
    local guarded <close> = setmetatable({ place = place }, guard)
    local has_turn
    has_turn, err, code = place:wait(permits, due)
    if has_turn then
      guarded.place = nil
      return place
    elseif code ~= "ELOST" or fiber.now() >= due then
      if code == "EBUSY" then
        place:release() -- at once, for a program that ends now would leave it in the line
      end
      return nil, err, code
    end
  end
end

return M
