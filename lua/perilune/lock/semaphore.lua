--- Semaphores, and locks, which are those of one permit: whoever has less than so many before it in the line
--- holds one.
local lock = require "perilune.lock"
local place = require "perilune.lock.place"

local M = {}

---@class perilune.lock.Semaphore
---@field permits integer
local Semaphore = {}
Semaphore.__index = Semaphore

--- Waits for a permit. Options: wait, how long at most (default 60 s; 0: not at all); value, what others see.
--- What it gives is to be released, or closed.
---   local held <close> = assert(semaphore:acquire { wait = "5s" })
---@param options? { wait?: number|string, value?: string }
---@return perilune.lock.Place|nil held  its field fence is for writes that only its holder may do
---@return string? err
---@return string? code  EBUSY: others held it all the time
function Semaphore:acquire(options)
  local seconds, value = lock.wait_of("acquire", options)
  return place.acquire(self.store, { prefix = self.prefix, ttl = self.ttl, value = value }, self.permits,
    seconds)
end

--- Who holds it, and who waits, first come first: token, value, key of each.
---@return table[]|nil holders
---@return table[]|string waiters
---@return string? code
function Semaphore:line()
  local line, revision, code = place.line(self.store, self.prefix)
  if not line then
    return nil, revision, code
  end
  local holders, waiters = {}, {}
  for i, item in ipairs(line) do
    local list = i <= self.permits and holders or waiters
    list[#list + 1] = { token = item.created, value = item.value, key = item.key }
  end
  return holders, waiters
end

--- A semaphore of so many permits.
---@param line table
---@param permits integer
---@return perilune.lock.Semaphore
function M.create(line, permits)
  line.permits = permits
  return setmetatable(line, Semaphore)
end

return M
