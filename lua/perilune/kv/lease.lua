--- Leases: keys that end with them, unless somebody keeps them.
local M = {}

---@class perilune.kv.Lease
---@field id integer
---@field ttl number  seconds
local Lease = {}
Lease.__index = Lease

--- Prolongs it by its ttl.
---@return true|nil
---@return string? err
---@return string? code  ELEASE: it has ended
function Lease:keep()
  local result, err, code = self.store:command("keep", self.id)
  if not result then
    return nil, err, code
  end
  return true
end

--- Ends it, and its keys.
---@return integer|nil count  of keys
---@return string? err
---@return string? code
function Lease:revoke()
  local result, err, code = self.store:command("revoke", self.id)
  if not result then
    return nil, err, code
  end
  return result[3]
end

--- What is known of it: { ttl, left, keys } in seconds, or nil when it has ended.
---@return table|nil status
---@return string? err
---@return string? code
function Lease:status()
  local answer, err, code = self.store:ask("kv.query", "linearizable", "lease", self.id)
  if not answer then
    return nil, err, code
  elseif answer[3] then
    return { ttl = answer[3][1] / 1000, left = answer[3][2] / 1000, keys = answer[3][3] }
  end
  return nil
end

--- The handle of a lease.
---@param store perilune.kv.Store
---@param id integer
---@param ttl number
---@return perilune.kv.Lease
function M.create(store, id, ttl)
  return setmetatable({ id = id, ttl = ttl, store = store }, Lease)
end

return M
