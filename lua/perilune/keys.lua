--- The keys of a table in an order that is the same in every run, which that of pairs is not.
local M = {}

--- The keys, sorted: all numbers, or all strings.
---@param map table
---@return any[]
function M.sorted(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- The keys as texts, sorted: whatever they are.
---@param map table
---@return string[]
function M.names(map)
  local names = {}
  for key in pairs(map) do
    names[#names + 1] = tostring(key)
  end
  table.sort(names)
  return names
end

return M
