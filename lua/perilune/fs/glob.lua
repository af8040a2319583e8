--- The patterns of perilune.fs.glob.
local core = require "perilune.core.fs"

local M = {}

--- A path below a directory.
---@param directory string
---@param name string
---@return string path
function M.join(directory, name)
  return directory:sub(-1) == "/" and directory .. name or directory .. "/" .. name
end

-- A Lua pattern for one component of a glob. A class that does not end stands for itself.
local function component_pattern(glob)
  local pattern, at = { "^" }, 1
  while at <= #glob do
    local char = glob:sub(at, at)
    local negation, class, after = glob:match("^%[([!^]?)(%]?[^%]]*)%]()", at)
    if char == "*" then
      pattern[#pattern + 1] = ".*"
    elseif char == "?" then
      pattern[#pattern + 1] = "."
    elseif class then
      pattern[#pattern + 1] = "[" .. (negation ~= "" and "^" or "") .. class:gsub("[%%%]%^]", "%%%0") .. "]"
      at = after - 1
    elseif char == "\\" and at < #glob then
      at = at + 1
      pattern[#pattern + 1] = glob:sub(at, at):gsub("%W", "%%%0")
    else
      pattern[#pattern + 1] = char:gsub("%W", "%%%0")
    end
    at = at + 1
  end
  return table.concat(pattern) .. "$"
end

-- The entries of directory ("" is here) that match; "." at the front must be asked for.
local function matching(directory, component)
  local names = core.list(directory == "" and "." or directory)
  local pattern = component_pattern(component)
  local found = {}
  for _, name in ipairs(names or {}) do
    if name:find(pattern) and (name:sub(1, 1) ~= "." or component:sub(1, 1) == ".") then
      found[#found + 1] = directory == "" and name or M.join(directory, name)
    end
  end
  return found
end

local function descend(directory, components, index, found)
  local component = components[index]
  if component == nil then
    found[#found + 1] = directory
    return
  end
  local paths
  if component:find "[*?%[\\]" then
    paths = matching(directory, component)
  else
    local path = directory == "" and component or M.join(directory, component)
    paths = core.lstat(path) and { path } or {}
  end
  for _, path in ipairs(paths) do
    descend(path, components, index + 1, found)
  end
end

--- The paths that match a pattern; perilune.fs.glob says what it may contain.
---@param pattern string
---@return string[] paths
function M.expand(pattern)
  local components, found = {}, {}
  for component in pattern:gmatch "[^/]+" do
    components[#components + 1] = component
  end
  if #components > 0 then
    descend(pattern:sub(1, 1) == "/" and "/" or "", components, 1, found)
  end
  table.sort(found)
  return found
end

return M
