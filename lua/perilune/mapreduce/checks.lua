-- The checks that a job file's fields go through. Pure.
local suggest = require "perilune.suggest"

local M = {}

--- Refuses the job: the one way out of nested checks, caught by checks.catch.
---@param format string
function M.refuse(format, ...)
  error({ message = format:format(...) }, 0)
end

--- The type of a plain copy's value; a function is { ["function"] = "file:line" } there.
---@param value any
---@return string
function M.kind_of(value)
  if type(value) == "table" and value["function"] then
    return "function"
  elseif type(value) == "table" and value["unknown"] then
    return value["unknown"]
  end
  return type(value)
end

--- How a message names a value.
---@param value any
---@return string
function M.shown(value)
  local kind = M.kind_of(value)
  if kind == "string" then
    return ("%q"):format(value)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  end
  return "a " .. kind
end

---@param list table
---@return any[] keys
function M.sorted_keys(list)
  local keys = {}
  for key in pairs(list) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return keys
end

--- Refuses fields that are not among the known ones.
---@param list table
---@param known table<string, boolean>
---@param where string  what messages begin with, here and below
function M.known(list, known, where)
  local names = M.sorted_keys(known)
  for _, key in ipairs(M.sorted_keys(list)) do
    if not known[key] then
      local near = type(key) == "string" and suggest.nearest(key, names)
      M.refuse("%sunknown field %s%s", where, M.shown(key),
        near and ("; did you mean %q?"):format(near)
        or "; known are " .. table.concat(names, ", "))
    end
  end
end

--- Whether the field is a function; refuses what is neither that nor nil.
---@param list table
---@param field string
---@param where string
---@return boolean
function M.is_function(list, field, where)
  local kind = M.kind_of(list[field])
  if kind ~= "nil" and kind ~= "function" then
    M.refuse("%s%s must be a function, not %s", where, field, M.shown(list[field]))
  end
  return kind == "function"
end

--- One of the words; the first when there is none, "lua" for a function.
---@param list table
---@param field string
---@param where string
---@param words string[]
---@param also_function boolean|nil
---@return string
function M.word(list, field, where, words, also_function)
  local value = list[field]
  if value == nil then
    return words[1]
  elseif also_function and M.kind_of(value) == "function" then
    return "lua"
  end
  for _, word in ipairs(words) do
    if value == word then
      return word
    end
  end
  local near = type(value) == "string" and suggest.nearest(value, words)
  M.refuse("%s%s must be %s%s, not %s%s", where, field, '"' .. table.concat(words, '", "') .. '"',
    also_function and " or a function" or "", M.shown(value),
    near and ("; did you mean %q?"):format(near) or "")
end

--- A whole number in a range, or nil.
---@param list table
---@param field string
---@param where string
---@param least integer
---@param most integer
---@return integer|nil
function M.count(list, field, where, least, most)
  local value = list[field]
  if value == nil then
    return nil
  end
  local whole = type(value) == "number" and math.tointeger(value)
  if not whole or whole < least or whole > most then
    M.refuse("%s%s must be a whole number from %d to %d, not %s", where, field, least, most,
      M.shown(value))
  end
  return whole
end

--- What parse makes of a string or number, or nil.
---@param list table
---@param field string
---@param where string
---@param parse fun(value: string|number): any, string|nil
---@return any
function M.parsed(list, field, where, parse)
  if list[field] == nil then
    return nil
  end
  local kind = M.kind_of(list[field])
  if kind ~= "string" and kind ~= "number" then
    M.refuse("%s%s must be a string like \"64M\" or \"30s\", not %s", where, field, M.shown(list[field]))
  end
  local value, err = parse(list[field])
  if not value then
    M.refuse("%s%s: %s", where, field, err)
  end
  return value
end

--- Calls a function that may refuse.
---@param fn function
---@return any result       nil when it refused
---@return string|nil err   what is wrong, and where
---@return string|nil code
function M.catch(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return result
  elseif type(result) == "table" and result.message then
    return nil, result.message, "EINVAL"
  end
  error(result, 0)
end

return M
