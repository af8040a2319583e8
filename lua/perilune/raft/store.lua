--- What ctx.store is for a machine with store = true.
local M = {}

--- The state of a machine with store = true: ordered keys on disk, for its functions while they run. Keys (up
--- to 4 KiB) and values (up to 8 MiB) are strings; perilune.msgpack makes strings of other data. A command
--- sees what it has written, and when it raises, nothing of that has happened.
---@class perilune.raft.Store
local Store = {}
Store.__index = Store

--- The value of a key, or nil.
---@param key string
---@return string|nil value
function Store:get(key)
  return self.core:get(key)
end

--- Sets a key. Only in apply. Raises for what is too large: all replicas alike.
---@param key string
---@param value string
function Store:put(key, value)
  self.core:put(key, value)
end

--- Removes a key, if it is there. Only in apply.
---@param key string
function Store:delete(key)
  self.core:delete(key)
end

--- Walks the keys in order, from the first that is not below from up to, and without, to:
---   for key, value in ctx.store:range("user/", "user0") do ... end
--- Keys that the loop writes in front of itself may or may not be met.
---@param from? string  default: the first key
---@param to? string  default: to the end
---@return fun(): string|nil, string|nil
function Store:range(from, to)
  local box, at, page = self.core, 1, nil
  local next_from = from or ""
  return function()
    while page == nil or at > #page do
      if next_from == nil then
        return nil
      end
      page, next_from = box:range(next_from, to)
      at = 1
    end
    at = at + 2
    return page[at - 2], page[at - 1]
  end
end

--- The view of what the core keeps for a replica.
---@param box userdata
---@return perilune.raft.Store
function M.view(box)
  return setmetatable({ core = box }, Store)
end

return M
