--- Elections: the first in the line leads. What it says of itself is the value of its place.
local fiber = require "perilune.fiber"
local lock = require "perilune.lock"
local place = require "perilune.lock.place"

local M = {}

---@class perilune.lock.Leader
---@field value string  what it says of itself
---@field token integer  its term: grows from leader to leader
---@field fence string

---@class perilune.lock.Election
local Election = {}
Election.__index = Election

--- Waits until this one leads. value is what the others see of the leader. What it gives is a lock that is
--- held: its fence is for writes that only the leader may do, and release resigns.
---@param value string
---@param options? { wait?: number|string }
---@return perilune.lock.Place|nil held
---@return string? err
---@return string? code  EBUSY: others led all the time
function Election:campaign(value, options)
  if type(value) ~= "string" then
    error(("campaign: the first argument is a string, not a %s"):format(type(value)), 2)
  end
  local seconds = lock.wait_of("campaign", options)
  return place.acquire(self.store, { prefix = self.prefix, ttl = self.ttl, value = value }, 1, seconds)
end

--- Changes what the others see of the leader.
---@param held perilune.lock.Place  of campaign
---@param value string
---@return true|nil
---@return string? err
---@return string? code  ELOST: it leads no more
function Election:proclaim(held, value)
  local revision, err, code = self.store:put(held.key, value, { lease = true, fence = held })
  if not revision then
    return nil, err, code
  end
  return true
end

local function leader_of(self)
  local line, revision, code = place.line(self.store, self.prefix)
  if not line then
    return nil, revision, code
  end
  local first = line[1]
  return first and { value = first.value, token = first.created, fence = ("%d:%s"):format(first.created,
    first.key) } or false, revision
end

--- Who leads; nil alone: nobody.
---@return perilune.lock.Leader|nil leader
---@return string? err
---@return string? code
function Election:leader()
  local leader, err, code = leader_of(self)
  if leader == nil then
    return nil, err, code
  end
  return leader or nil
end

-- The next leader, or value of it, that is not the one seen last.
local function next_of(self, seen)
  while true do
    local leader, revision, code = leader_of(self)
    if leader == nil and code ~= "EDEADLINE" then
      error(("observe: %s (%s)"):format(revision, code), 2)
    elseif leader and (leader.token ~= seen.token or leader.value ~= seen.value) then
      return leader
    elseif leader ~= nil then
      local watch <close> = self.store:watch { prefix = self.prefix, revision = revision + 1 }
      local _, err, closed = watch:recv()
      if closed == "ECLOSED" then
        error(("observe: %s (%s)"):format(err, closed), 2)
      end
    else
      fiber.sleep(self.ttl / 10)
    end
  end
end

--- for leader in election:observe() do: who leads, then each that leads after, and each value that it
--- proclaims; of many in a short time only the last. A failure raises.
---@return fun(): perilune.lock.Leader
function Election:observe()
  local seen = {}
  return function()
    seen = next_of(self, seen)
    return seen
  end
end

--- An election.
---@param line table
---@return perilune.lock.Election
function M.create(line)
  return setmetatable(line, Election)
end

return M
