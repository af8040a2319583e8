--- JSON (RFC 8259, strict). Integers keep all 64 bits, floats stay floats (1.0 is written "1.0"),
--- object keys are written in byte order, so equal values give equal text.
---
--- A table with the keys 1..n is an array, any other an object; an empty one is an object unless it
--- was marked by json.array. Decoded arrays carry that mark. null is json.null, because a table
--- cannot hold nil.
local core = require "perilune.core.json"

local M = {}

--- What null becomes; encodes as null.
M.null = core.null

---@class perilune.json.Options
---@field pretty? boolean  indented, an item a line
---@field lossy? boolean  what has no JSON is no error: bytes that are not UTF-8 become U+FFFD, infinite
--- and NaN null, keys that are numbers or booleans text; for output that is only looked at
---@field name? string  what messages call the value; default "t", as in "t.a[3] is a function"

--- Writes a value as JSON.
---@param value any
---@param options? perilune.json.Options
---@return string|nil text
---@return string? err  names the place and what is wrong with it
---@return string? code  "EFORMAT", "ETOOBIG"
function M.encode(value, options)
  return core.encode(value, options and options.pretty, options and options.name, options and options.lossy)
end

--- Reads JSON text: one value and nothing else. Duplicate keys are refused.
---@param text string
---@return any value
---@return string? err  with line and column
---@return string? code  "EFORMAT", "ETOOBIG"
function M.decode(text)
  return core.decode(text)
end

--- Marks a table as an array, so that it is written as [] even when it is empty.
---@generic T: table
---@param t? T  default: a new table
---@return T t
function M.array(t)
  return core.array(t or {})
end

return M
