--- MessagePack. Integers keep all 64 bits, floats stay floats, strings may hold any bytes, map keys
--- are written in one order, so equal values give equal bytes.
---
--- A table with the keys 1..n is an array, and so is an empty one; any other is a map. nil items do
--- not survive: { 1, nil, 3 } is the map { [1] = 1, [3] = 3 }, and comes back as such.
local core = require "perilune.core.msgpack"

local M = {}

---@class perilune.msgpack.Options
---@field name? string  what messages call the value; default "t", as in "t.a[3] is a function"
---@field size_max? integer  most bytes that the encoding may have; default 256 MiB

--- Encodes a value.
---@param value any
---@param options? perilune.msgpack.Options
---@return string|nil bytes
---@return string? err  names the place and what is wrong with it
---@return string? code  "EFORMAT", "ETOOBIG"
function M.encode(value, options)
  return core.encode(value, options and options.name, options and options.size_max)
end

--- Decodes the value at a position.
---@param bytes string
---@param position? integer  default 1
---@return any value
---@return integer|string next_position_or_err  where the next value starts
---@return string? code  "EFORMAT", "ETOOBIG"
function M.decode(bytes, position)
  return core.decode(bytes, position)
end

---@class perilune.msgpack.Unpacker
---@field feed fun(self, bytes: string): true|nil, string?, string?  adds a piece of the stream
---@field next fun(self): boolean|nil, any, string?  true and a value; false: feed more; nil, err, code

--- Creates an unpacker for a stream of values that arrives in pieces.
---@param options? { size_max: integer? }  most bytes of one value; default 256 MiB
---@return perilune.msgpack.Unpacker
function M.unpacker(options)
  return core.unpacker(options and options.size_max)
end

return M
