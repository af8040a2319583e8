--- Calls between nodes.
---
--- rpc.serve{ echo = function(x) return x end } on one node, rpc.connect("host:7100"):call("echo", 1)
--- on another. Every call has a deadline and ends by it; it runs once at most; what the world does wrong
--- is nil, message, code, details. The same code runs over TCP and Unix sockets and in the simulator.
local core = require "perilune.core.rpc"
local fiber = require "perilune.fiber"
local options_of = require "perilune.options"

local M = {}

local KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

---@class perilune.rpc.Common
---@field secret? string  both sides know it, at least 16 bytes; default PERILUNE_SECRET; without one only
---                        peers of this machine are let in
---@field cluster? string  both sides are of it; default "default"
---@field node? string  our name for people; default PERILUNE_NODE
---@field inflight_max? integer  calls of a connection at a time; default 1024
---@field body_max? integer  bytes of the longest message taken; default 16 MiB, at most 1 GiB

---@class perilune.rpc.ServeOptions: perilune.rpc.Common
---@field listen? string  "host:port", ":port", "unix:/path"; default ":7100"
---@field detached? boolean  the server does not end with the fiber that serves

---@class perilune.rpc.PeerOptions: perilune.rpc.Common
---@field deadline? number|string  until a call ends: seconds, or a text such as "50ms"; default 5
---@field wait? boolean  calls wait for a connection (default), or fail with EUNREACHABLE
---@field ping? number|string  silence after which the server is asked whether it lives; default 2 seconds

---@class perilune.rpc.CallOptions
---@field deadline? number|string  seconds, or a text such as "50ms"
---@field wait? boolean

---@class perilune.rpc.Server
---@field address fun(self: perilune.rpc.Server): string  where it listens, with the real port
---@field stats fun(self: perilune.rpc.Server): table<string, integer>
---@field close fun(self: perilune.rpc.Server)  ends the calls under way with ECLOSED

---@class perilune.rpc.Peer
---@field call fun(self: perilune.rpc.Peer, name: string, ...: any): any  or nil, err, code, details
---@field cast fun(self: perilune.rpc.Peer, name: string, ...: any): true|nil, string?, string?
---@field stream fun(self: perilune.rpc.Peer, name: string, ...: any): perilune.rpc.Stream
---@field with fun(self: perilune.rpc.Peer, options: perilune.rpc.CallOptions): perilune.rpc.Peer
---@field is_up fun(self: perilune.rpc.Peer): boolean
---@field info fun(self: perilune.rpc.Peer): table  address, up, since, heard, node, why, ...
---@field close fun(self: perilune.rpc.Peer)

---@class perilune.rpc.Stream
---@field recv fun(self: perilune.rpc.Stream): any  an item's values; nil at the end; nil, err, code, details
---@field close fun(self: perilune.rpc.Stream)

local COMMON = {
  secret = "string", cluster = "string", node = "string", inflight_max = "number", body_max = "number",
}
local SERVE = { listen = "string", detached = "boolean" }
local CONNECT = { deadline = true, wait = "boolean", ping = true }
local WITH = { deadline = true, wait = "boolean" }
for name, kind in pairs(COMMON) do
  SERVE[name], CONNECT[name] = kind, kind
end

local SECRET_MIN, NAME_MAX, INFLIGHT_MAX = 16, 255, 65535
local DEADLINE_MAX = 86400 * 365

-- The checks below blame the line that called the function that called identity.
local LEVEL = 4

local function check_integer(caller, name, value, low, high)
  local integer = math.tointeger(value)
  if not integer then
    error(("%s: option %s must be an integer, not %s"):format(caller, name, value), LEVEL)
  elseif integer < low or integer > high then
    error(("%s: option %s must be from %d to %d, not %d"):format(caller, name, low, high, integer), LEVEL)
  end
  return integer
end

local function check_text(caller, name, value)
  if #value > NAME_MAX or value:find("\0", 1, true) then
    error(("%s: option %s is longer than %d bytes"):format(caller, name, NAME_MAX), LEVEL)
  end
  return value
end

-- What the core reads: every option, with its default where none was given.
local function identity(caller, options)
  local secret = options.secret or os.getenv "PERILUNE_SECRET" or ""
  if #secret > 0 and #secret < SECRET_MIN then
    error(("%s: option secret needs at least %d bytes; make one with: openssl rand -hex 32")
      :format(caller, SECRET_MIN), 3)
  end
  return {
    secret = secret,
    cluster = check_text(caller, "cluster", options.cluster or "default"),
    node = check_text(caller, "node", options.node or core.node()),
    inflight_max = check_integer(caller, "inflight_max", options.inflight_max or 1024, 1, INFLIGHT_MAX),
    body_max = check_integer(caller, "body_max", options.body_max or 16 * MIB, 4 * KIB, GIB),
    ping_ms = math.ceil(options_of.seconds(caller, "ping", options.ping or 2, 0.05, 60, LEVEL) * 1000),
  }
end

--- Completes the options that say who a node is, for modules that open connections of their own. Raises for
--- those that cannot be.
---@param caller string  "raft.open"
---@param options table  checked for names and types
---@return table identity
function M.identity(caller, options)
  return identity(caller, options)
end

-- The server's fiber: whoever cancels it, or the fiber that it belongs to, closes the server.
local function keep(server)
  local _ <close> = server
  core.await(server)
end

--- Raises unless it is a table of functions by their names, for modules that serve in their own way.
---@param caller string  "node:serve"
---@param functions any
---@return table<string, function> functions
function M.check_functions(caller, functions)
  if type(functions) ~= "table" then
    error(("%s: a table of functions, as in %s{ echo = fn }, not a %s"):format(caller, caller,
      type(functions)), 3)
  end
  for name, fn in pairs(functions) do
    if type(name) ~= "string" or type(fn) ~= "function" then
      error(("%s: %s is a %s; names are strings and values functions"):format(caller, tostring(name),
        type(fn)), 3)
    elseif name:find("\0", 1, true) then
      error(("%s: the name %q has a zero byte"):format(caller, name), 3)
    end
  end
  return functions
end

--- Serves functions to whoever connects: serve({ name = fn, ... }, options). Each call runs fn(...) in a
--- fiber of its own; what it returns is the answer, what it raises is the caller's nil, message, code.
--- The server belongs to the fiber that called, unless options.detached.
---@param functions table<string, function>
---@param options? perilune.rpc.ServeOptions
---@return perilune.rpc.Server|nil server
---@return string? err
---@return string? code
function M.serve(functions, options)
  M.check_functions("serve", functions)
  options = options_of.check(options, SERVE, "serve")
  local address = options.listen or ":7100"
  local server, err, code = core.serve(address, functions, identity("serve", options))
  if not server then
    return nil, err, code
  end
  fiber.spawn({ name = "rpc server " .. server:address(), detached = options.detached }, keep, server)
  return server
end

--- Makes a peer that connects to an address in the background, and again when the connection breaks.
--- Peers of one address whose secret, cluster, node and limits are equal share one connection, which
--- closes with the last of them.
---@param address string  "host:port", ":port", "unix:/path", or a node's name in the simulator
---@param options? perilune.rpc.PeerOptions
---@return perilune.rpc.Peer
function M.connect(address, options)
  if type(address) ~= "string" or address:find("\0", 1, true) then
    error(("connect: an address, as in connect(\"host:7100\"), not a %s"):format(type(address) == "string"
      and "string with a zero byte" or type(address)), 2)
  end
  options = options_of.check(options, CONNECT, "connect")
  local read = identity("connect", options)
  read.deadline = options_of.seconds("connect", "deadline", options.deadline or 5, 0, DEADLINE_MAX, 3)
  read.wait = options.wait ~= false
  read.key = string.pack("s4s4s4s4jjj", address, read.secret, read.cluster, read.node, read.inflight_max,
    read.body_max, read.ping_ms)
  local peer, err, code = core.connect(address, read)
  if not peer and code == "EINVAL" then
    error("connect: " .. err, 2)
  end
  return peer, err, code
end

--- The same peer with other options for its calls: peer:with{ deadline = "50ms" }:call("echo").
---@param self perilune.rpc.Peer
---@param options perilune.rpc.CallOptions
---@return perilune.rpc.Peer
function core.peer.with(self, options)
  options = options_of.check(options, WITH, "with")
  local deadline = options.deadline
  deadline = deadline and options_of.seconds("with", "deadline", deadline, 0, DEADLINE_MAX, 3)
  return core.with(self, deadline, options.wait)
end

local Failure = {}
Failure.__index = Failure

--- What a loop over a stream raises reads as its message.
---@return string
function Failure:__tostring()
  return self.message
end

-- An item, or nothing at the end; a stream that breaks must not look like one that ends.
local function item_or_raise(...)
  local first, err, code, details = ...
  if first == nil and err ~= nil then
    local retryable = details and details.retryable
    error(setmetatable({ message = err, code = code, retryable = retryable, details = details }, Failure), 0)
  end
  return ...
end

--- The next item, for loops.
---@param stream perilune.rpc.Stream
---@return any
function core.stream_methods.__call(stream)
  return item_or_raise(stream:recv())
end

--- Calls a function that yields items: for item in peer:stream("count", 10) do. The loop raises a table of
--- code, message, retryable and details when the stream breaks. Without a loop: local s = peer:stream(...),
--- s:recv() gives an item's values, nil at the end, or nil, message, code, details; s:close() ends it.
---@param self perilune.rpc.Peer
---@param name string
---@param ... any
---@return perilune.rpc.Stream stream
function core.peer.stream(self, name, ...)
  local stream = assert(core.stream(self, name, ...))
  return stream, nil, nil, stream
end

-- A function's own nil, err, code counts as a failure like the library's.
local function outcome(...)
  local first, err, code, details = ...
  if first == nil and type(err) == "string" and type(code) == "string" then
    return { ok = false, err = err, code = code, details = details }
  end
  local values = table.pack(...)
  values.ok = true
  return values
end

--- Calls a function of several peers at the same time. The outcomes stand in the order of the peers:
--- { ok = true, n = count, values... } or { ok = false, err =, code =, details = }.
---@param peers perilune.rpc.Peer[]
---@param name string
---@param ... any
---@return table[] outcomes
function M.multicall(peers, name, ...)
  if type(peers) ~= "table" or type(name) ~= "string" then
    error(("multicall: a list of peers and a function's name, not a %s and a %s"):format(type(peers),
      type(name)), 2)
  end
  for index, peer in ipairs(peers) do
    if type(peer) ~= "userdata" then
      error(("multicall: peers[%d] is a %s, not a peer, as rpc.connect gives"):format(index, type(peer)), 2)
    end
  end
  local arguments = table.pack(...)
  local fibers, outcomes = {}, {}
  for index, peer in ipairs(peers) do
    fibers[index] = fiber.spawn({ name = "multicall " .. name }, function()
      outcomes[index] = outcome(peer:call(name, table.unpack(arguments, 1, arguments.n)))
    end)
  end
  local misuse
  for _, each in ipairs(fibers) do
    local ok, err, code = each:join()
    misuse = misuse or not ok and code == "ELUA" and { err } -- only what is no peer or no data raises
  end
  if misuse then
    error(misuse[1], 2)
  end
  return outcomes
end

--- Inside a function that is served: who calls, { address, node, cluster, incarnation, name, deadline };
--- nil elsewhere.
---@type fun(): table?
M.caller = core.caller

--- Inside a function that was called with peer:stream: sends an item, and waits while the caller is behind.
---@type fun(value: any, ...: any): true|nil, string?, string?
M.yield = core.yield

--- Prints each call, ours and those that we serve, on standard error when it ends; trace(false) stops that.
---@type fun(on: boolean)
M.trace = core.trace

return M
