--- What finding a small part that is wrong is made of: lists that get shorter while something stays true.
local describe = require "perilune.check.describe"
local fiber = require "perilune.fiber"

local M = {}

local YIELD_EVERY = 2048 -- operations; others run in between

--- A list of different values, and a function that adds those of another list.
---@return any[] list
---@return fun(values: any[]) add
function M.collection()
  local list, seen = {}, {}
  return list, function(values)
    for _, value in ipairs(values) do
      local id = describe.identity(value)
      if not seen[id] then
        seen[id] = true
        list[#list + 1] = value
      end
    end
  end
end

--- The operations of a key, in the order of its part.
---@param key perilune.check.KeyVerdict
---@return table[]
function M.operations(key)
  local operations = {}
  for index = 1, key.part:item() do
    operations[index] = key.history:operation((key.part:item(index)))
    if index % YIELD_EVERY == 0 then
      fiber.yield()
    end
  end
  return operations
end

--- Takes out of a list all that is not needed, chunks first.
---@param list any[]
---@param budget perilune.check.Budget  when its time is over, what is left then is given
---@param try fun(rest: any[]): any  whether the rest is enough
---@return any[] list
function M.fewest(list, budget, try)
  local size = (#list + 1) // 2
  while #list > 0 do
    local at, has_shrunk = 1, false
    while at <= #list and fiber.now() < budget.deadline do
      local rest = table.move(list, 1, at - 1, 1, {})
      table.move(list, at + size, #list, at, rest)
      if try(rest) then
        list, has_shrunk = rest, true
      else
        at = at + size
      end
    end
    if size == 1 and not has_shrunk or fiber.now() >= budget.deadline then
      break
    end
    size = math.max(1, math.min(size // 2, #list))
  end
  return list
end

return M
