--- Prints what a benchmark found: tables for people, JSON for programs.
local M = {}

local MEBIBYTE = 1024 * 1024

--- Prints a section's table.
---@param section { title: string, rows: { name: string, result: benches.Result|nil, problem: string|nil }[] }
function M.section(section)
  print(("\n%s\n  %-44s %9s %8s %8s %11s %8s"):format(section.title, "", "seconds", "cpu s", "MB/s", "memory",
    "spread"))
  for _, row in ipairs(section.rows) do
    local result = row.result
    if result then
      local rate = result.rate and ("%.1f"):format(result.rate) or ""
      print(("  %-44s %9.3f %8.3f %8s %7.1f MiB %6.0f %%"):format(row.name, result.seconds, result.cpu, rate,
        result.memory / MEBIBYTE, result.spread * 100))
    else
      print(("  %-44s %s"):format(row.name, row.problem or "not run"))
    end
  end
  io.stdout:flush()
end

--- Prints what was promised beside what was found.
---@param goals { what: string, value: string, wanted: string|nil, met: boolean|nil, by_cpu: string|nil }[]
function M.goals(goals)
  if #goals == 0 then
    return
  end
  print(("\n%-58s %11s %11s  %-6s %11s"):format("Goals", "found", "goal", "", "by cpu s"))
  for _, goal in ipairs(goals) do
    local verdict = goal.wanted and (goal.met and "met" or "MISSED") or ""
    print(("  %-56s %11s %11s  %-6s %11s"):format(goal.what, goal.value, goal.wanted or "", verdict,
      goal.by_cpu or ""))
  end
end

local function encode(value)
  if type(value) == "string" then
    return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  if value[1] ~= nil or next(value) == nil then
    for i, item in ipairs(value) do
      parts[i] = encode(item)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = encode(key) .. ":" .. encode(value[key])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- Prints a value as one line of JSON. An empty table is an empty list.
function M.json(value)
  print(encode(value))
end

return M
