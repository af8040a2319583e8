--- Counters: a number that many add to, each sum given to one.
local M = {}

---@class perilune.lock.Counter
local Counter = {}
Counter.__index = Counter

--- Adds to it: the sum, which nobody else gets for the same addition.
---@param delta? integer  default 1
---@param options? perilune.kv.FenceOptions
---@return integer|nil sum
---@return string? err
---@return string? code
---@return perilune.kv.Details? details
function Counter:add(delta, options)
  return self.store:increment(self.key, delta, options)
end

--- What it stands at.
---@return integer|nil sum
---@return string? err
---@return string? code
function Counter:read()
  local value, err, code = self.store:get(self.key)
  if code then
    return nil, err, code
  end
  return math.tointeger(tonumber(value or 0))
end

--- A counter.
---@param base table
---@return perilune.lock.Counter
function M.create(base)
  return setmetatable({ store = base.store, key = "counter/" .. base.name }, Counter)
end

return M
