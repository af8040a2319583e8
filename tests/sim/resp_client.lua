-- A client of Redis' protocol, version 2, for kv_resp.lua: commands go out at once, replies come in their
-- order.
local perilune = require "perilune"
local tcp = require "perilune.tcp"

local M = {}

--- A reply that is nil, so that lists of replies have no holes.
M.NIL = setmetatable({}, { __tostring = function() return "nil" end })

--- What servers want to hear from clients of other machines.
M.SECRET = "a secret of 16 bytes and more"

local PATIENCE = 8 -- seconds; servers give up sooner

local function encode(command)
  local parts = { ("*%d\r\n"):format(#command) }
  for i, word in ipairs(command) do
    word = tostring(word)
    parts[i + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
  end
  return table.concat(parts)
end

local read_reply

local readers = {
  ["+"] = function(_, text) return text end,
  ["-"] = function(_, text) return { err = text } end,
  [":"] = function(_, text) return assert(math.tointeger(tonumber(text)), text) end,
  ["$"] = function(conn, text)
    local size = tonumber(text)
    if size < 0 then
      return M.NIL
    end
    local bytes, err = conn:recv_exact(size + 2)
    return bytes and bytes:sub(1, size), err
  end,
  ["*"] = function(conn, text)
    local list = {}
    for i = 1, tonumber(text) do
      local value, err = read_reply(conn)
      if value == nil then
        return nil, err
      end
      list[i] = value
    end
    return tonumber(text) < 0 and M.NIL or list
  end,
}

-- A string, a number, a list, M.NIL or { err = text }; nil and why when the connection has ended.
function read_reply(conn)
  local line, err = conn:recv_line()
  if not line then
    return nil, err
  end
  local read = assert(readers[line:sub(1, 1)], "a reply that is none: " .. line)
  return read(conn, line:sub(2))
end

---@class Resp
local Resp = {}
Resp.__index = Resp

--- A client that asks one of the addresses, another one whenever its connection breaks.
---@param addresses string[]
---@return Resp
function M.client(addresses)
  return setmetatable({ addresses = addresses }, Resp)
end

--- Ends the connection, if there is one.
function Resp:close()
  if self.conn then
    self.conn:close()
    self.conn = nil
  end
end

--- Connects unless it is connected: true, or nil.
function Resp:connect()
  if self.conn then
    return true
  end
  self.conn = perilune.deadline(1, tcp.connect, self.addresses[perilune.random(#self.addresses)])
  return self.conn and self.conn:send(encode { "AUTH", M.SECRET }) and self:recv() == "OK" or nil
end

--- The next reply; nil when the connection has ended, or nothing comes for long.
function Resp:recv(patience)
  if not self.conn then
    return nil
  end
  local reply = perilune.deadline(patience or PATIENCE, read_reply, self.conn)
  if reply == nil then
    self:close()
    return nil
  end
  return reply
end

--- Sends commands at once and waits for their replies: a list of them, short when the connection has ended;
--- nil when nothing was sent.
---@param commands any[][]
---@return any[]|nil replies
function Resp:run(commands)
  local bytes, replies = {}, {}
  for i, command in ipairs(commands) do
    bytes[i] = encode(command)
  end
  if not self:connect() or not self.conn:send(table.concat(bytes)) then
    self:close()
    return nil
  end
  for i = 1, #commands do
    replies[i] = self:recv()
    if replies[i] == nil then
      break
    end
  end
  return replies
end

--- How a command ended: "ok"; "never" happened; "unknown".
---@param reply any
---@return string
function M.outcome(reply)
  if reply == nil or type(reply) == "table" and reply.err and reply.err:find "^UNKNOWN" then
    return "unknown"
  end
  local is_refused = type(reply) == "table" and reply.err
    and (reply.err:find "^CLUSTERDOWN" or reply.err:find "^OOM")
  return is_refused and "never" or "ok"
end

return M
