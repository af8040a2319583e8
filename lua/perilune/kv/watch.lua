--- Watches: events of keys in order, from a revision on, without gaps. One that a server has let go of is an
--- explicit ECOMPACTED, never silence.
local fiber = require "perilune.fiber"

local M = {}

local PAUSE = 0.05 -- seconds before another server is asked

---@class perilune.kv.Event
---@field type "put"|"delete"
---@field key string
---@field value? string  of a put
---@field revision integer
---@field created? integer  of a put, as is version
---@field version? integer
---@field lease? integer

---@class perilune.kv.Watch
---@field revision integer  where it goes on
local Watch = {}
Watch.__index = Watch

local function event_of(item)
  if item[2] then
    return { type = "delete", key = item[3], revision = item[1] }
  end
  return {
    type = "put", key = item[3], value = item[4], revision = item[1], created = item[6], version = item[7],
    lease = item[8],
  }
end

--- The next message of the stream, from whatever server. nil, message, code at the end.
function Watch:fetch()
  while not self.closed and not self.store.closed do
    local store = self.store
    if not self.stream then
      self.asked = store.at
      self.stream = store.peers[self.asked]:stream("kv.watch", self.from, self.to, self.revision, self.number)
    end
    local events, revision, number = self.stream:recv()
    if events then
      self.revision, self.number = revision, number
      return events
    end
    local err, code = revision, number
    self.stream:close()
    self.stream = nil
    if code == "ECOMPACTED" or code == "EINVAL" then
      return nil, err, code
    end
    store:turn_from(self.asked)
    fiber.sleep(PAUSE)
  end
  return nil, "the watch was closed", "ECLOSED"
end

--- Waits for the next event. nil, message, "ECOMPACTED" when what comes next was let go of: read anew, and
--- watch from there; "ECLOSED" at the end.
---@return perilune.kv.Event|nil event
---@return string? err
---@return string? code
function Watch:recv()
  while self.at == #self.items do
    local items, err, code = self:fetch()
    if not items then
      return nil, err, code
    end
    self.items, self.at = items, 0
  end
  self.at = self.at + 1
  return event_of(self.items[self.at])
end

--- for event in watch:events() do: until it is closed; any other end raises.
---@return fun(): perilune.kv.Event|nil
function Watch:events()
  return function()
    local event, err, code = self:recv()
    if not event and code ~= "ECLOSED" then
      error(("watch:events: %s (%s)"):format(err, code), 2)
    end
    return event
  end
end

--- Ends it.
function Watch:close()
  self.closed = true
  if self.stream then
    self.stream:close()
  end
end

Watch.__close = Watch.close

--- A watch of keys from from up to to.
---@param store perilune.kv.Store
---@param from string
---@param to string
---@param revision integer
---@return perilune.kv.Watch
function M.create(store, from, to, revision)
  return setmetatable({
    store = store, from = from, to = to, revision = revision, number = 0, items = {}, at = 0,
  }, Watch)
end

return M
