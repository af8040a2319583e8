--- What the functions of perilune.raft require of their arguments. Misuse raises; level says whose line the
--- error names, as for error: by default that of the caller's caller.
local options_of = require "perilune.options"

local M = {}

local DEADLINE = 5

--- How soon a replica campaigns unless it is told otherwise: at once.
M.PRIORITY_MAX = 4

--- An integer from low on.
---@param caller string  "raft.open"
---@param name string  of the option
---@param value any
---@param low integer
---@param level? integer
---@return integer
function M.integer(caller, name, value, low, level)
  local integer = math.tointeger(value)
  if not integer or integer < low then
    error(("%s: %s must be an integer from %d, not %s"):format(caller, name, low, tostring(value)),
      level or 3)
  end
  return integer
end

--- A replica's priority.
---@param caller string
---@param value any
---@return integer
function M.priority(caller, value)
  local integer = math.tointeger(value)
  if not integer or integer < 0 or integer > M.PRIORITY_MAX then
    error(("%s: priority is an integer from 0, which never leads, to %d, not %s"):format(caller,
      M.PRIORITY_MAX, tostring(value)), 3)
  end
  return integer
end

--- How long a request may take.
---@param caller string
---@param options { deadline?: number|string }
---@return number seconds
function M.deadline(caller, options)
  local seconds = options_of.seconds(caller, "deadline", options.deadline or DEADLINE, 0, 1e6, 4)
  return seconds -- no tail call, which would take a level away
end

--- Members with their addresses, in the order of their ids.
---@param caller string
---@param members any  { [id] = "address" }
---@param is_known? boolean  an address may also be false: it stays as it is known
---@return { [1]: integer, [2]: string|false }[]
function M.members(caller, members, is_known)
  local list = {}
  for id, address in pairs(members or {}) do
    local is_address = type(address) == "string" or is_known and address == false
    if not math.tointeger(id) or id < 1 or not is_address then
      error(("%s: members are { [id] = \"address\"%s }, not [%s] = %s"):format(caller,
        is_known and " or false" or "", tostring(id), tostring(address)), 3)
    end
    list[#list + 1] = { id, address }
  end
  if #list == 0 then
    error(caller .. ": members is empty", 3)
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

return M
