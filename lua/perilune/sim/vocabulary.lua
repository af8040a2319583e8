--- Everything that can go wrong in a simulation, as a table for people: runtime/env/fault.def.
local core = require "perilune.core.sim"

local M = {}

-- What to write in a scenario.
local function usage_of(name, info)
  local group, short = name:match "^(%a+)_(%a[%a_]*)$"
  if info.unit == "nothing" then
    return ("sim:%s(node)"):format(name)
  elseif info.unit == "a flag" then
    return ("sim:%s(from, to)"):format(name)
  elseif info.target == "link" then
    return ("sim:network { %s = }"):format(name)
  elseif group == "disk" or group == "clock" then
    return ("sim:%s(node, { %s = })"):format(group, short)
  end
  return ("sim:process(node, { %s = })"):format(name)
end

--- Lists the vocabulary, sorted by what to write.
---@return { name: string, usage: string, unit: string, text: string }[]
function M.list()
  local rows = {}
  for name, info in pairs(core.faults()) do
    rows[#rows + 1] = { name = name, usage = usage_of(name, info), unit = info.unit, text = info.text }
  end
  table.sort(rows, function(a, b)
    return a.usage < b.usage
  end)
  return rows
end

return M
