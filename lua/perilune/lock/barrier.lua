--- Barriers: who comes stands in the line of a round; when enough do, one of them begins the next round,
--- which all see. Who is gone before that counts no more once its lease has ended.
local fiber = require "perilune.fiber"
local lock = require "perilune.lock"
local place = require "perilune.lock.place"

local M = {}

---@class perilune.lock.Barrier
---@field count integer
local Barrier = {}
Barrier.__index = Barrier

-- The round that stands now, how many are there, and the revision of both.
local function look(self)
  local line, revision, code = place.line(self.store, self.prefix)
  if not line then
    return nil, revision, code
  end
  local round, number = 1, #line
  for _, item in ipairs(line) do
    if item.key == self.key then
      round, number = math.tointeger(tonumber(item.value)), number - 1
    end
  end
  return round, number, revision
end

-- A compare: this round stands.
local function stands(self, round)
  return round == 1 and { "version", self.key, "=", 0 } or { "value", self.key, "=", tostring(round) }
end

-- Waits until one more has come, or gone, or the round is over.
local function await_change(self, revision, due)
  local watch <close> = self.store:watch { prefix = self.prefix, revision = revision + 1 }
  if watch then
    fiber.deadline(math.max(math.min(due - fiber.now(), self.ttl), 0), watch.recv, watch)
  end
end

-- Waits in a round for its end.
local function stay(self, held, round, due)
  while true do
    local now, number, revision = look(self)
    if now and now > round then
      return round
    elseif now and number >= self.count then
      self.store:transact({ stands(self, round) }, { { "put", self.key, tostring(round + 1), 0 } })
    elseif not held:is_held() then
      return nil, "the lease has ended", "ELOST"
    elseif fiber.now() >= due or not now and revision ~= "EDEADLINE" then
      return nil, now and ("%d of %d have come"):format(number, self.count) or number,
        now and "EBUSY" or revision
    elseif now then
      await_change(self, revision, due)
    end
  end
end

--- Waits until so many have come, and gives the number of the round. Then the barrier is closed again.
---@param options? { wait?: number|string }
---@return integer|nil round
---@return string? err
---@return string? code  EBUSY: not enough have come
function Barrier:wait(options)
  local due = fiber.now() + lock.wait_of("barrier:wait", options)
  while true do
    local round, err, code = look(self)
    local held
    if round then
      held, err, code = place.take(self.store, {
        prefix = self.prefix, ttl = self.ttl, compares = { stands(self, round) },
      })
    end
    if held then
      local guarded <close> = held
      round, err, code = stay(self, guarded, round, due)
      if round or code ~= "ELOST" then
        return round, err, code
      end
    elseif code ~= "EEXIST" then
      return nil, err, code
    end
    if fiber.now() >= due then
      return nil, err, code
    end
  end
end

--- A barrier for so many.
---@param line table
---@param count integer
---@return perilune.lock.Barrier
function M.create(line, count)
  line.count, line.key = count, line.prefix .. "round"
  return setmetatable(line, Barrier)
end

return M
