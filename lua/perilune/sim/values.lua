--- Lists of values, with nils among them, as bytes that pass from one Lua state to another; lines.
local msgpack = require "perilune.msgpack"

local M = {}

--- Encodes values. Raises for what cannot pass: functions, userdata, coroutines, cycles.
---@param what string  for messages: "sim:start"
---@param level integer  whose line the error names, as for error
---@param own integer    how many of the first values are ours; messages count the others
---@param ... any
---@return string bytes
function M.pack(what, level, own, ...)
  local bytes, err = msgpack.encode(table.pack(...))
  if bytes then
    return bytes
  end
  local why = err:gsub("^t%[(%d+)%]", function(number)
    return ("value %d"):format(number - own)
  end)
  error(("%s: what passes to another node must be data: %s"):format(what, why), level + 1)
end

--- Decodes what pack gave.
---@param bytes string
---@return any ...
function M.unpack(bytes)
  if bytes == "" then
    return
  end
  local list = assert(msgpack.decode(bytes))
  return table.unpack(list, 1, list.n)
end

--- Decodes values that stand one behind the other.
---@param bytes string
---@return any[]
function M.unpack_list(bytes)
  local list, position = {}, 1
  while position <= #bytes do
    list[#list + 1], position = msgpack.decode(bytes, position)
  end
  return list
end

--- A line of the trace: a message, and fields as JSON.
---@param message any
---@param fields? table
---@return string
function M.line(message, fields)
  return fields and ("%s %s"):format(message, require("perilune.json").encode(fields)) or tostring(message)
end

return M
