--- Addresses as people write them, for nodes: HOST:PORT, :PORT (this machine alone), unix:/path.
local M = {}

local PORT_MAX = 65535

--- An address with its host, or nil and what is wrong with the text. PORT alone and :PORT are of the loopback
--- interface.
---@param text string
---@return string|nil address
---@return string? why
function M.read(text)
  if text:find "^unix:/." then
    return text
  end
  local host, port = text:match "^([^%s,]*):(%d+)$"
  if not host then
    host, port = "", text:match "^%d+$"
  end
  if not port or tonumber(port) > PORT_MAX then
    return nil, ("'%s' is no address: PORT, HOST:PORT or unix:/path"):format(text)
  end
  return (host == "" and "127.0.0.1" or host) .. ":" .. port
end

--- Addresses with commas between, or nil and what is wrong: none may stand there twice.
---@param text string
---@return string[]|nil addresses
---@return string? why
function M.read_list(text)
  local list, seen = {}, {}
  for item in (text .. ","):gmatch "([^,]*)," do
    local address, why = M.read(item)
    if not address then
      return nil, why
    elseif seen[address] and not address:find ":0$" then
      return nil, ("'%s' stands there twice"):format(item)
    end
    list[#list + 1], seen[address] = address, true
  end
  return list
end

--- True when nobody but programs of this machine can reach it.
---@param address string
---@return boolean
function M.is_loopback(address)
  local host = address:match "^(.*):%d+$" or ""
  return address:find "^unix:" ~= nil or host:find "^127%." ~= nil or host == "localhost" or host == "[::1]"
end

--- True when it stands for all interfaces, so that others cannot be told to connect to it.
---@param address string
---@return boolean
function M.is_any(address)
  return address:find "^0%.0%.0%.0:" ~= nil or address:find "^%[::%]:" ~= nil
end

return M
