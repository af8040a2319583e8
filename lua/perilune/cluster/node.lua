--- A node of a cluster: its replica of the group of the key/value store, what clients ask of it, and what
--- people want to know of it and change. perilune node and perilune kv serve run one.
---
--- Others ask it, where it listens, for cluster.status, cluster.change and cluster.transfer.
local address_of = require "perilune.cluster.address"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local json = require "perilune.json"
local kv = require "perilune.kv"
local log = require "perilune.log"
local process = require "perilune.process"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"

local M = {}

local GROUP = 1
local JOIN_PAUSE, JOIN_ATTEMPT = 0.2, 2 -- seconds
local CHANGE = 10 -- seconds that a change of the members may take
local HANDOVER = 1 -- seconds that a leader waits for its successor when it ends
local TRANSFER = 5 -- seconds until a transfer has come to an end
local POLL = 0.01

---@class perilune.cluster.NodeOptions
---@field id integer
---@field listen string  for other nodes, and for clients unless clients is given
---@field data string
---@field advertise? string  what others are told instead of listen
---@field members? string[]  of a cluster that begins; nil: this node alone
---@field join? string[]  nodes of a cluster that is there
---@field clients? string  where clients are served instead of at listen
---@field resp? string
---@field history? integer
---@field leases? boolean
---@field heartbeat? number
---@field secret? string
---@field cluster? string
---@field is_quiet? boolean  who leads is no line of the log

---@class perilune.cluster.Node
---@field id integer
---@field group perilune.raft.Group
---@field resp? string  where Redis' clients are served
local Node = {}
Node.__index = Node

-- ---- what it knows of itself ----

-- Bytes of all files below a directory.
local function size_of(path)
  local bytes = 0
  for _, name in ipairs(fs.list(path) or {}) do
    local at = path .. "/" .. name
    local stat = fs.stat(at, { links = true })
    if stat and stat.type == "directory" then
      bytes = bytes + size_of(at)
    elseif stat then
      bytes = bytes + stat.size
    end
  end
  return bytes
end

--- How this node and its replica stand: id, pid, address, resp, version, started and leader_since (seconds
--- since 1970; the latter as far as this node has seen it), disk (bytes), group (as group:status()), store
--- ({ revision }).
---@return table
function Node:status()
  local answer = self.group:read({ 1, "status" }, { consistency = "stale", deadline = 0.5 })
  return {
    id = self.id, pid = process.pid(), address = self.advertised, resp = self.resp, started = self.started,
    leader_since = self.leader_since, disk = size_of(self.options.data), group = self.group:status(),
    store = answer and { revision = answer[1] } or nil, version = require("perilune.build").version,
  }
end

--- True once this replica is a member and knows who leads.
---@return boolean
function Node:is_ready()
  local status = self.group:status()
  return status ~= nil and status.leader ~= nil and status.members[self.id] ~= nil
end

-- Notes since when whoever leads does, and tells people.
local function follow_events(self)
  local leader
  while true do
    local event = self.node:event()
    if not event then
      return
    elseif event.type == "role" and event.leader ~= leader then
      leader = event.leader
      self.leader_since = leader and fiber.wall() or nil
      if leader and not self.options.is_quiet then
        log.info(leader == self.id and "this node leads" or "another node leads",
          { leader = leader, term = event.term })
      end
    elseif event.type == "fenced" then
      log.error("the disk failed: this node takes part no more until it is started again",
        { code = event.code })
    elseif event.type == "diverged" then
      log.error("replicas differ", { member = event.member, index = event.index })
    end
  end
end

-- ---- what others ask of it ----

-- Raises what a call of the group returned as an error, for the caller.
local function raise(err, code)
  error { code = code, message = err }
end

local CHANGES = { add = true, add_learner = true, promote = true, remove = true }

local function change(self, kind, id, address)
  if not CHANGES[kind] or math.type(id) ~= "integer" or id < 1 then
    raise("a change is add, add_learner, promote or remove, of a node's number", "EINVAL")
  end
  local ok, err, code
  if address then
    ok, err, code = self.group[kind](self.group, id, address, { deadline = CHANGE })
  else
    ok, err, code = self.group[kind](self.group, id, { deadline = CHANGE })
  end
  return ok or raise(err, code)
end

-- The new leader, once there is one.
local function transfer(self, to)
  local ok, err, code = self.group:transfer(to)
  if not ok then
    raise(err, code)
  end
  local due = fiber.now() + TRANSFER
  while fiber.now() < due do
    local status = self.group:status()
    local leader = status and status.leader
    if leader and leader ~= self.id and (not to or leader == to) then
      return leader
    end
    fiber.sleep(POLL)
  end
  raise(("nobody else leads after %d s"):format(TRANSFER), "EDEADLINE")
end

local function functions_of(self)
  return {
    ["cluster.status"] = function() return self:status() end,
    ["cluster.change"] = function(...) return change(self, ...) end,
    ["cluster.transfer"] = function(to) return transfer(self, to) end,
  }
end

-- ---- joining ----

local function numbered(list)
  local members = {}
  for id, address in ipairs(list) do
    members[id] = address
  end
  return members
end

local function connect_options(options, deadline)
  return { deadline = deadline, secret = options.secret, cluster = options.cluster, wait = false }
end

-- The members that one of the nodes names, but for this one; asked until one answers.
local function ask_members(options)
  local told = { ENOFUNCTION = true } -- a node that has only just begun
  while true do
    for _, address in ipairs(options.join) do
      local peer = rpc.connect(address, connect_options(options, JOIN_ATTEMPT))
      local status, err, code = peer:with({ wait = true }):call "cluster.status"
      peer:close()
      local members = {}
      for id, member in pairs(status and status.group.members or {}) do
        members[id] = id ~= options.id and member.address or nil
      end
      if next(members) then
        return members
      elseif err and not told[code] then
        told[code] = true
        log.warn("a node of the cluster does not answer; trying on", { address = address, err = err })
      end
    end
    fiber.sleep(JOIN_PAUSE)
  end
end

-- Members as they were when this node joined: a start needs nobody else to be there.
local function members_of(options)
  if options.members then
    return numbered(options.members)
  elseif not options.join then
    return {} -- itself, once its port is known
  end
  local path = options.data .. "/joined.json"
  local known = fs.read(path)
  local members = {}
  if known then
    for id, address in pairs(json.decode(known) or {}) do
      members[math.tointeger(tonumber(id))] = address
    end
    return members
  end
  members = ask_members(options)
  local texts = {}
  for id, address in pairs(members) do
    texts[tostring(id)] = address
  end
  local ok, err, code = fs.mkdir(options.data, { parents = true })
  if ok then
    ok, err, code = fs.write(path, json.encode(texts), { atomic = true })
  end
  if not ok then
    return nil, err, code
  end
  return members
end

local REFUSALS = { EINVAL = true, EEXIST = true }

-- Asks one member to add this node: true, or nil, message, code. Who is down holds up nobody: connections are
-- made meanwhile, and kept.
local function ask_to_be_added(self, peers, member)
  if not member.address then
    return nil, "its address is not known", "EUNREACHABLE"
  end
  peers[member.address] = peers[member.address]
    or rpc.connect(member.address, connect_options(self.options, CHANGE + 2))
  return peers[member.address]:call("cluster.change", "add", self.id, self.advertised)
end

-- Asks until this replica is a member; what cannot be ends it: true, or nil, message, code.
local function join(self)
  local peers, err, code, told = {}, nil, nil, nil
  local ok
  repeat
    local status = self.group:status()
    ok = not status or status.members[self.id] ~= nil
    for _, member in pairs(not ok and status.members or {}) do
      ok, err, code = ask_to_be_added(self, peers, member)
      if ok or REFUSALS[code] then
        break
      elseif code ~= "ENOTLEADER" and code ~= "EUNREACHABLE" and err ~= told then
        told = err
        log.warn("the cluster does not take this node yet; trying on", { err = err })
      end
    end
    fiber.sleep(ok and 0 or JOIN_PAUSE)
  until ok or REFUSALS[code]
  for _, peer in pairs(peers) do
    peer:close()
  end
  return ok, err, code
end

-- ---- its life ----

--- Hands leadership over, if this node leads and others are there, and ends it when all is on disk.
function Node:close()
  if self.joining then
    self.joining:cancel()
  end
  local status = self.group:status()
  local others = false
  for id, member in pairs(status and status.members or {}) do
    others = others or id ~= self.id and member.is == "voter" and member.answers
  end
  if status and status.role == "leader" and others and self.group:transfer() then
    local due = fiber.now() + HANDOVER
    repeat
      fiber.sleep(POLL)
      status = self.group:status()
    until not status or status.role ~= "leader" or fiber.now() > due
  end
  self.node:close()
end

--- Where clients reach it.
---@return string address
function Node:address()
  return self.server:address()
end

-- Why clients cannot be served there, found out before a directory belongs to a node; or nil.
local function cannot_listen(options)
  for _, name in ipairs { "clients", "resp" } do
    local server, err, code
    if options[name] then
      server, err, code = rpc.serve({}, { listen = options[name], secret = options.secret })
      if not server then
        return err, code
      end
      server:close()
    end
  end
end

local function open_parts(self, options, members)
  local err, code
  self.group, err, code = raft.group { id = GROUP, node = self.node, members = members, machine = "kv",
    detached = true }
  if not self.group then
    return nil, err, code
  end
  local listen = options.clients
  self.server, err, code = kv.serve { group = self.group, listen = listen, at_node = not listen,
    resp = options.resp, history = options.history, detached = true, secret = options.secret,
    cluster = options.cluster }
  if not self.server then
    return nil, err, code
  end
  self.resp = err
  local server
  server, err, code = self.node:serve(functions_of(self))
  return server, err, code
end

--- Starts a node. It belongs to the program, which ends it with node:close().
---@param options perilune.cluster.NodeOptions
---@return perilune.cluster.Node|nil node
---@return string? err
---@return string? code
function M.start(options)
  local err, code = cannot_listen(options)
  if err then
    return nil, err, code
  end
  local members
  members, err, code = members_of(options)
  if not members then
    return nil, err, code
  end
  local self = setmetatable({ id = options.id, options = options, started = fiber.wall() }, Node)
  self.node, err, code = raft.open {
    id = options.id, path = options.data, listen = options.listen, leases = options.leases,
    heartbeat = options.heartbeat, secret = options.secret, cluster = options.cluster,
  }
  if not self.node then
    return nil, err, code
  end
  local at = self.node:address()
  self.advertised = options.advertise or (address_of.is_any(options.listen) and options.listen) or at
  members[options.id] = members[options.id] or not options.join and self.advertised or nil
  local ok
  ok, err, code = open_parts(self, options, members)
  if not ok then
    self.node:close()
    return nil, err, code
  end
  fiber.spawn({ name = "cluster events", detached = true, cpu_deadline = false }, follow_events, self)
  if options.join then
    self.joining = fiber.spawn({ name = "cluster join", detached = true }, join, self)
  end
  return self
end

return M
