--- Connections over TCP, or a Unix socket, that carry bytes as they are: for servers that speak a protocol of
--- their own. In simulation they go to other nodes, in order and whole, until the link is cut.
local core = require "perilune.core.tcp"

local M = {}

---@class perilune.tcp.Conn
---@field core userdata
---@field rest string  what has come and was not asked for
local Conn = {}
Conn.__index = Conn

--- Connects, and waits until that is done; ten seconds at most. The connection has to be closed.
---@param address string  "host:port" or "unix:/path"
---@return perilune.tcp.Conn|nil conn
---@return string? err
---@return string? code
function M.connect(address)
  local opened, err, code = core.connect(address)
  if not opened then
    return nil, err, code
  end
  return setmetatable({ core = opened, rest = "" }, Conn)
end

--- Sends bytes, behind those before; does not wait for the peer.
---@param bytes string
---@return true|nil
---@return string? err
---@return string? code  EBUSY: the peer does not read, and 16 MiB wait for it
function Conn:send(bytes)
  return self.core:send(bytes)
end

--- Waits for some bytes.
---@return string|nil bytes
---@return string? err
---@return string? code  ECLOSED: the peer has ended the connection
function Conn:recv()
  if self.rest ~= "" then
    local bytes = self.rest
    self.rest = ""
    return bytes
  end
  return self.core:recv()
end

-- Adds what comes next to what was not asked for.
local function wait_for_more(self)
  local bytes, err, code = self.core:recv()
  if not bytes then
    return nil, err, code
  end
  self.rest = self.rest .. bytes
  return true
end

--- Waits for a line, which is given without its end: \n, or \r\n.
---@return string|nil line
---@return string? err
---@return string? code
function Conn:recv_line()
  local from = 1
  while true do
    local at = self.rest:find("\n", from, true)
    if at then
      local line = self.rest:sub(1, at - 1):gsub("\r$", "")
      self.rest = self.rest:sub(at + 1)
      return line
    end
    from = #self.rest + 1
    local is_more, err, code = wait_for_more(self)
    if not is_more then
      return nil, err, code
    end
  end
end

--- Waits for so many bytes.
---@param count integer
---@return string|nil bytes
---@return string? err
---@return string? code
function Conn:recv_exact(count)
  while #self.rest < count do
    local is_more, err, code = wait_for_more(self)
    if not is_more then
      return nil, err, code
    end
  end
  local bytes = self.rest:sub(1, count)
  self.rest = self.rest:sub(count + 1)
  return bytes
end

--- Ends it. What was sent still leaves while the peer takes it.
function Conn:close()
  self.core:close()
end
Conn.__close = Conn.close

return M
