--- The stores that are measured: how the processes of each start, and who of them is asked.
---
--- A store is { name, protocol, needs, open(context) -> opened }; what is opened has the processes, the port
--- of the one that clients ask, and its id among them.
local fiber = require "perilune.fiber"
local kv = require "perilune.kv"
local process = require "perilune.process"
local rpc = require "perilune.rpc"

local M = {}

local READY_SECONDS = 20

-- ---- processes ----

local next_port = 10000 + process.pid() * 13 % 20000 -- below those that connections take by themselves

--- A port where nobody listens.
---@return integer
function M.free_port()
  for _ = 1, 100 do
    next_port = next_port + 1
    local server = rpc.serve({}, { listen = "127.0.0.1:" .. next_port })
    if server then
      server:close()
      return next_port
    end
  end
  error("100 ports in a row are taken", 0)
end

local function free_ports(count)
  local ports = {}
  for i = 1, count do
    ports[i] = M.free_port()
  end
  return ports
end

--- Is there a program of this name?
---@param program string
---@return boolean
function M.has(program)
  return os.execute("command -v '" .. program .. "' >/dev/null 2>&1") == true
end

--- A new directory of a name.
---@param context table
---@param name string
---@return string path
function M.directory(context, name)
  local path = context.directory .. "/" .. name
  assert(os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(path, path)))
  return path
end

--- Starts a program whose words go to a log beside its data.
---@param path string
---@param command (string|integer)[]
---@return table child
function M.spawn(path, command)
  local words = {}
  for i, word in ipairs(command) do
    words[i] = tostring(word)
  end
  local shell = ("exec \"$@\" >'%s.log' 2>&1"):format(path)
  return assert(process.spawn { dies_with_parent = true, "sh", "-c", shell, "sh", table.unpack(words) })
end

--- Tries again until it gives something else than false and nil; raises after a while.
---@param what string
---@param try fun(): any
function M.await(what, try)
  local give_up = fiber.now() + READY_SECONDS
  repeat
    local result = try()
    if result then
      return result
    end
    fiber.sleep(0.02)
  until fiber.now() > give_up
  error(("waited %d s, and not %s"):format(READY_SECONDS, what), 0)
end

local function log_has(path, pattern)
  local file = io.open(path .. ".log")
  local text = file and file:read "a" or ""
  if file then
    file:close()
  end
  return text:match(pattern)
end

--- Kills all processes at once, as kill -9 does.
local function close(opened)
  for _, child in pairs(opened.children) do
    child:kill(9)
    child:wait()
    child:close()
  end
end

local function opened_of(children, ports, at)
  return { children = children, ports = ports, at = at, port = ports[at], pid = children[at]:pid(),
    close = close }
end

-- ---- Perilune ----

local function addresses(ports)
  return "127.0.0.1:" .. table.concat(ports, ",127.0.0.1:")
end

-- Has clients ask the leader, which answers a put. On a machine that stands still for long another may be
-- elected, so this is looked at before each load.
local function turn_to_leader(opened)
  local list = {}
  for id, port in ipairs(opened.ports) do
    list[id] = "127.0.0.1:" .. port
  end
  local store <close> = kv.connect(list, { deadline = READY_SECONDS })
  assert(store:put("ready", "yes"))
  opened.at = store.at
  opened.port, opened.pid = opened.ports[store.at], opened.children[store.at]:pid()
  opened.resp_port = opened.resp_ports and opened.resp_ports[store.at]
end

--- Three nodes of our own.
---@param context table
---@param has_resp? boolean  Redis' clients are served, too
function M.open_perilune(context, has_resp)
  local directory = M.directory(context, "perilune")
  local peers, clients, children = free_ports(3), free_ports(3), {}
  local resp_ports = has_resp and free_ports(3) or nil
  for id, port in ipairs(clients) do
    local path = directory .. "/" .. id
    local resp = has_resp and { "--resp", tostring(resp_ports[id]) } or {}
    children[id] = M.spawn(path, { context.perilune, "kv", "serve", path, "--id", tostring(id), "--members",
      addresses(peers), "--listen", "127.0.0.1:" .. port, table.unpack(resp) })
  end
  for id in ipairs(clients) do
    M.await("a node serves", function() return log_has(directory .. "/" .. id, "serves clients") end)
  end
  local opened = opened_of(children, clients, 1)
  opened.turn, opened.resp_ports = turn_to_leader, resp_ports
  opened:turn()
  return opened
end

-- ---- the bare loop ----

local function open_bare(context)
  local directory, children, ports = M.directory(context, "bare"), {}, {}
  local function start(id, ...)
    local path = ("%s/%d"):format(directory, id)
    children[id] = M.spawn(path, { context.programs .. "bench_kv_bare", path, ... })
    ports[id] = math.tointeger(M.await("the bare loop listens", function()
      return log_has(path, "listening at [%d.]+:(%d+)")
    end))
  end
  start(2)
  start(3)
  start(1, tostring(ports[2]), tostring(ports[3]))
  return opened_of(children, ports, 1)
end

-- ---- etcd ----

--- What etcdctl says; nil when it fails.
---@param ports integer[]
---@return string|nil
function M.etcdctl(ports, ...)
  local endpoints = "--endpoints=" .. addresses(ports)
  local result = process.run { env = { ETCDCTL_API = "3" }, "etcdctl", endpoints, ... }
  return result.status == 0 and result.stdout or nil
end

-- Its election timeout is between this one and its double, as ours is.
local HEARTBEAT_MS, ELECTION_MS = 30, 150

local function open_etcd(context)
  local directory, peers, clients, children, members = M.directory(context, "etcd"), free_ports(3),
    free_ports(3), {}, {}
  for id, port in ipairs(peers) do
    members[id] = ("n%d=http://127.0.0.1:%d"):format(id, port)
  end
  for id = 1, 3 do
    local path, peer = directory .. "/" .. id, "http://127.0.0.1:" .. peers[id]
    local client = "http://127.0.0.1:" .. clients[id]
    children[id] = M.spawn(path, { "etcd", "--name", "n" .. id, "--data-dir", path,
      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
      "--listen-client-urls", client, "--advertise-client-urls", client,
      "--initial-cluster", table.concat(members, ","), "--initial-cluster-token", "bench",
      "--log-level", "error", "--heartbeat-interval", HEARTBEAT_MS, "--election-timeout", ELECTION_MS })
  end
  M.await("etcd takes a put", function() return M.etcdctl(clients, "put", "ready", "yes") end)
  local leader = M.await("etcd's leader is known", function()
    for id, port in ipairs(clients) do
      local status = M.etcdctl({ port }, "endpoint", "status", "-w", "simple") or ""
      if status:match "^[^,]*,[^,]*,[^,]*,[^,]*, (%a+)" == "true" then
        return id
      end
    end
  end)
  return opened_of(children, clients, leader)
end

-- ---- Tarantool ----

local function open_tarantool(context)
  local directory, ports, children = M.directory(context, "tarantool"), free_ports(3), {}
  for id = 1, 3 do
    local path = ("%s/%d"):format(directory, id)
    assert(os.execute(("mkdir -p '%s'"):format(path)))
    children[id] = M.spawn(path, { "tarantool", context.here .. "/tarantool_node.lua", path, tostring(id),
      table.unpack(ports) })
  end
  M.await("Tarantool serves", function() return log_has(directory .. "/1", "space is ready") end)
  return opened_of(children, ports, 1)
end

-- ---- Redis ----

local function start_redis(context, name, port, ...)
  local path = context.directory .. "/" .. name
  assert(os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(path, path)))
  local child = M.spawn(path, { "redis-server", "--port", tostring(port), "--dir", path, "--save", "",
    "--appendonly", "yes", "--appendfsync", "always", ... })
  M.await("Redis is ready", function() return log_has(path, "Ready to accept") end)
  return child
end

--- One Redis that syncs each answer.
---@param context table
function M.open_redis(context)
  local port = M.free_port()
  return opened_of({ start_redis(context, "redis-alone", port) }, { port }, 1)
end

--- The same, with two replicas.
---@param context table
function M.open_redis_replicas(context)
  local ports, children = free_ports(3), {}
  for id, port in ipairs(ports) do
    local replica = id > 1 and { "--replicaof", "127.0.0.1", tostring(ports[1]) } or {}
    children[id] = start_redis(context, "redis-" .. id, port, table.unpack(replica))
  end
  M.await("Redis has its replicas", function()
    local info = process.run { "redis-cli", "-p", tostring(ports[1]), "info", "replication" }.stdout
    return info:find "slave0:[^\r]*state=online" and info:find "slave1:[^\r]*state=online"
  end)
  return opened_of(children, ports, 1)
end

M.PERILUNE, M.BARE, M.ETCD = "perilune, 3 nodes", "bare loop, 3 processes", "etcd, 3 nodes"
M.TARANTOOL, M.REDIS_3 = "tarantool, 3 nodes, quorum", "redis, 2 replicas, WAIT 1"
M.REDIS = "redis alone"

--- All stores, in the order of the tables.
M.list = {
  { name = M.PERILUNE, protocol = "perilune", open = M.open_perilune },
  { name = M.BARE, protocol = "bare", open = open_bare },
  { name = M.ETCD, protocol = "etcd", open = open_etcd, needs = { "etcd", "etcdctl" } },
  { name = M.TARANTOOL, protocol = "iproto", open = open_tarantool, needs = { "tarantool" } },
  { name = M.REDIS_3, protocol = "resp-wait", open = M.open_redis_replicas,
    needs = { "redis-server", "redis-cli" } },
  { name = M.REDIS, protocol = "resp", open = M.open_redis, needs = { "redis-server" } },
}

return M
