--- The key/value store: one linearizable map of ordered keys on every group.
---
---   local store = kv.connect { "n1:7300", "n2:7300", "n3:7300" }
---   store:put("greeting", "hello")
---   local value, info = store:get "greeting"
---
--- A server is a group of perilune.raft whose machine is "kv", and kv.serve:
---
---   raft.open { id = 1, path = "data", listen = ":7200" }
---   local group = raft.group { id = 1, members = { "n1:7200", "n2:7200", "n3:7200" }, machine = "kv" }
---   kv.serve { group = group, listen = ":7300" }
---
--- A store of one node inside of the process has the same functions: kv.open "data".
---
--- Writes are sent again until they are answered and happen once (they belong to a session of the store).
--- What fails is nil, message, code, details; details.certainty of a write is "never" when it is proved that
--- it did not and will not happen, "ok" when the store refused it, and "unknown" when it may have happened:
--- store:outcome(details.token) says later which.
local client = require "perilune.kv.client"
local fiber = require "perilune.fiber"
local options_of = require "perilune.options"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"
local server_of = require "perilune.kv.server"

local M = {}

---@class perilune.kv.ServeOptions: perilune.rpc.ServeOptions
---@field group perilune.raft.Group  opened with machine = "kv"
---@field listen? string  default ":7300"
---@field at_node? boolean  clients are served where the node listens for the others, instead of at listen
---@field resp? string  where Redis' clients are served, as ":6379"; default: nowhere
---@field history? integer  revisions that can be read and watched, about; default 10000; 0: all, for ever
---@field caches? boolean  clients may have caches (store:cache); then all servers of the group have to say so

---@class perilune.kv.ConnectOptions: perilune.rpc.PeerOptions
---@field deadline? number|string  until an operation ends: seconds, or a text such as "500ms"; default 5
---@field attempt? number|string  after which another server is asked; default 1 second
---@field session? number|string  how long a session lasts that is not used; default 10 minutes

---@class perilune.kv.OpenOptions
---@field deadline? number|string
---@field history? integer

local SERVE = {
  group = "table", history = "number", caches = "boolean", listen = "string", resp = "string",
  at_node = "boolean", detached = "boolean", secret = "string", cluster = "string", node = "string",
  inflight_max = "number", body_max = "number",
}
local CONNECT = {
  deadline = true, attempt = true, session = true, ping = true, secret = "string", cluster = "string",
  node = "string", inflight_max = "number", body_max = "number",
}
local OPEN = { deadline = true, history = "number" }
local HISTORY = 10000

local function history_of(caller, options)
  local history = math.tointeger(options.history or HISTORY)
  if not history or history < 0 then
    error(("%s: history is a number of revisions from 0 on, not %s"):format(caller,
      tostring(options.history)), 3)
  end
  return history
end

--- Serves a group's store to clients. It belongs to the fiber that called, unless options.detached.
---@param options perilune.kv.ServeOptions
---@return perilune.rpc.Server|nil server
---@return string? err  without failure: where Redis' clients are served, if they are
---@return string? code
function M.serve(options)
  options = options_of.check(options, SERVE, "kv.serve")
  if not options.group then
    error("kv.serve: group is missing, one of raft.group{ machine = \"kv\" }", 2)
  end
  if options.resp and options.caches then
    error("kv.serve: resp and caches exclude each other: writes of Redis' clients invalidate no caches", 2)
  end
  if options.at_node and options.listen then
    error("kv.serve: at_node and listen exclude each other", 2)
  end
  local served = server_of.create(options.group, history_of("kv.serve", options), options.caches)
  local passed = {}
  for name in pairs(SERVE) do
    passed[name] = options[name]
  end
  passed.group, passed.history, passed.caches, passed.resp, passed.at_node = nil, nil, nil, nil, nil
  passed.listen = options.listen or ":7300"
  local server, err, code = served:serve(not options.at_node and passed or nil)
  if not server then
    return nil, err, code
  end
  local resp
  if options.resp then
    resp, err, code = options.group.core:resp(options.resp,
      options.secret or os.getenv "PERILUNE_SECRET" or "")
    if not resp then
      server:close()
      return nil, err, code
    end
  end
  fiber.spawn({ name = "kv keeper", detached = options.detached, cpu_deadline = false }, served.keep, served)
  return server, resp
end

local function connect_options(caller, options)
  return {
    deadline = options_of.seconds(caller, "deadline", options.deadline or 5, 0.001, 1e6, 4),
    attempt = options_of.seconds(caller, "attempt", options.attempt or 1, 0.001, 1e6, 4),
    session = options_of.seconds(caller, "session", options.session or 600, 1, 2000000, 4),
  }
end

--- Connects to the servers of a store; at once, for connections are made when they are used.
---@param addresses string|string[]
---@param options? perilune.kv.ConnectOptions
---@return perilune.kv.Store store
function M.connect(addresses, options)
  options = options_of.check(options, CONNECT, "kv.connect")
  addresses = type(addresses) == "string" and { addresses } or addresses
  if type(addresses) ~= "table" or #addresses == 0 then
    error("kv.connect: addresses of servers, as in kv.connect{ \"n1:7300\", \"n2:7300\" }", 2)
  end
  local settings = connect_options("kv.connect", options)
  local passed, peers = { deadline = settings.attempt, wait = false }, {}
  for name in pairs(CONNECT) do
    passed[name] = passed[name] or options[name]
  end
  passed.deadline, passed.attempt, passed.session = settings.attempt, nil, nil
  for i, address in ipairs(addresses) do
    peers[i] = rpc.connect(address, passed)
  end
  return client.create(peers, settings)
end

--- Opens a store of one node in this process. It ends with store:close().
---@param path string  directory of its data; made when it is not there
---@param options? perilune.kv.OpenOptions
---@return perilune.kv.Store|nil store
---@return string? err
---@return string? code
function M.open(path, options)
  options = options_of.check(options, OPEN, "kv.open")
  if type(path) ~= "string" then
    error("kv.open: the first argument is the directory of the store's data", 2)
  end
  local settings = connect_options("kv.open", options)
  local history = history_of("kv.open", options)
  local address = "127.0.0.1:0"
  local node, err, code = raft.open {
    id = 1, path = path, listen = address, heartbeat = "5ms", election = "15ms",
  }
  if not node then
    return nil, err, code
  end
  local group
  group, err, code = raft.group {
    id = 1, node = node, members = { address }, machine = "kv", detached = true,
  }
  if not group then
    node:close()
    return nil, err, code
  end
  local served = server_of.create(group, history)
  fiber.spawn({ name = "kv keeper", detached = true, cpu_deadline = false }, served.keep, served)
  return client.create({ served:peer() }, settings, node)
end

return M
