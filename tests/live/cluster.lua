--- Three processes with a replicated map on real disks (replica.lua), clients that remember what was
--- acknowledged, and a judge: no acknowledged entry lost, no vote forgotten, all replicas equal.
local fiber = require "perilune.fiber"
local history = require "perilune.history"
local process = require "perilune.process"
local rpc = require "perilune.rpc"

local M = {}

local REPLICA = "tests/live/replica.lua"
local PATIENCE = 20 -- seconds for what must happen in the end

---@class perilune.live.Replica
---@field id integer
---@field child? perilune.process.Child  nil: it does not run
---@field peer perilune.rpc.Peer
---@field is_open boolean
---@field led integer     the newest term that it said to lead in
---@field last? integer   the last index that it found on its disk, since all were down at once
---@field fenced? string  why its disk failed
---@field log string[]     what it wrote to standard error

---@class perilune.live.Cluster
---@field problems string[]
---@field replicas perilune.live.Replica[]
local Cluster = {}
Cluster.__index = Cluster

--- Makes a cluster whose data are in the folder; nobody runs yet.
---@param folder string
---@param options? { count?: integer, env?: table<string, string>, binary?: string }
---@return perilune.live.Cluster
function M.new(folder, options)
  options = options or {}
  local self = setmetatable({
    folder = folder, env = options.env, problems = {}, replicas = {}, addresses = {}, leaders = {},
    binary = options.binary or assert(process.executable()),
    acknowledged = {}, acknowledged_count = 0, newest = 0, round = 0, clients = {},
  }, Cluster)
  for id = 1, options.count or 3 do
    local address = ("unix:%s/n%d"):format(folder, id)
    self.addresses[id] = address .. ".raft"
    self.replicas[id] = {
      id = id, led = 0, is_open = false, log = {},
      peer = rpc.connect(address .. ".calls", { cluster = "live", deadline = 2, wait = false }),
    }
  end
  return self
end

function Cluster:problem(format, ...)
  local text = format:format(...)
  self.problems[#self.problems + 1] = text
  io.stderr:write("problem: ", text, "\n")
end

-- ---- processes ----

-- A replica found less than a majority must have: only the tail that nobody was told of may be missing.
local function judge_found(self)
  local found = {}
  for _, replica in ipairs(self.replicas) do
    found[#found + 1] = replica.last
  end
  if not self.floor or #found < #self.replicas then
    return
  end
  table.sort(found)
  local majority = #found // 2 + 1
  if found[#found - majority + 1] < self.floor then
    self:problem("index %d was acknowledged, and a majority found %s", self.floor, table.concat(found, ", "))
  end
  self.floor = nil
end

local said = {
  open = function(self, replica, term, last)
    replica.is_open, replica.last = true, last
    if term < replica.led then
      self:problem("node %d led in term %d and came back in term %d", replica.id, replica.led, term)
    end
    judge_found(self)
  end,
  leader = function(self, replica, term)
    local other = self.leaders[term]
    if other and other ~= replica.id then
      self:problem("nodes %d and %d both led in term %d", other, replica.id, term)
    end
    self.leaders[term], replica.led = replica.id, math.max(replica.led, term)
  end,
  fenced = function(_, replica, code)
    replica.fenced = code
  end,
}

local function keep_log(replica, child)
  for line in child.stderr:lines() do
    replica.log[#replica.log + 1] = line
  end
end

local function follow(self, replica, child)
  local logging = fiber.spawn(keep_log, replica, child)
  for line in child.stdout:lines() do
    local what, first, second = line:match "^(%a+) (%S+) ?(%S*)$"
    if said[what] then
      said[what](self, replica, math.tointeger(first) or first, math.tointeger(second))
    end
  end
  assert(logging:join())
  local exit = child:wait()
  if exit.signal ~= 9 then
    self:problem("node %d ended by itself: status %s, signal %s: %s", replica.id, exit.status, exit.signal,
      table.concat(replica.log, "\n", math.max(1, #replica.log - 20)))
  end
end

--- Starts a node that does not run.
---@param id integer
---@param prefix? string[]  a command that runs it
---@param env? table<string, string>
function Cluster:start(id, prefix, env)
  local replica = self.replicas[id]
  local command = table.move(prefix or {}, 1, prefix and #prefix or 0, 1, {})
  for _, argument in ipairs { self.binary, "run", REPLICA, tostring(id), self.folder } do
    command[#command + 1] = argument
  end
  table.move(self.addresses, 1, #self.addresses, #command + 1, command)
  command.env = {}
  for _, more in ipairs { self.env or {}, env or {} } do
    for name, value in pairs(more) do
      command.env[name] = value
    end
  end
  command.stdout, command.stderr, command.dies_with_parent = "pipe", "pipe", true
  replica.is_open, replica.fenced = false, nil
  replica.child = assert(process.spawn(command))
  replica.follower = fiber.spawn(follow, self, replica, replica.child)
end

--- Ends a node with kill -9, and hears what it said before.
---@param id integer
function Cluster:kill(id)
  local replica = self.replicas[id]
  replica.child:kill(9) -- one that has ended is noted by its follower
  assert(replica.follower:join())
  replica.child:close()
  replica.child, replica.is_open = nil, false
end

--- Notes that all nodes are down: what a majority finds on its disks must reach as far as what was
--- acknowledged.
function Cluster:all_are_down()
  self.floor = self.newest
  for _, replica in ipairs(self.replicas) do
    replica.last = nil
  end
end

--- The ids of the nodes that run.
---@return integer[]
function Cluster:running()
  local ids = {}
  for id, replica in ipairs(self.replicas) do
    if replica.child then
      ids[#ids + 1] = id
    end
  end
  return ids
end

--- Starts whoever does not run.
function Cluster:start_all()
  for id, replica in ipairs(self.replicas) do
    if not replica.child then
      self:start(id)
    end
  end
end

--- Who leads, in the newest term if several believe so; nil while nobody does.
---@param but? integer  that node does not count
---@return integer|nil id
function Cluster:leader(but)
  local leader, newest = nil, 0
  for id, replica in ipairs(self.replicas) do
    local status = replica.is_open and id ~= but and replica.peer:with { deadline = 0.5 }:call "status"
    if status and status.role == "leader" and status.term > newest then
      leader, newest = id, status.term
    end
  end
  return leader
end

--- Waits until something holds; false when it takes too long.
---@param holds fun(): any
---@param seconds? number
function M.wait(holds, seconds)
  local limit = fiber.now() + (seconds or PATIENCE)
  while true do
    local result = holds()
    if result or fiber.now() > limit then
      return result
    end
    fiber.sleep(0.005)
  end
end

--- Waits for a leader.
---@param but? integer
---@return integer id
function Cluster:await_leader(but)
  return M.wait(function() return self:leader(but) end) or error("nobody leads", 2)
end

-- ---- clients ----

-- Calls one node after the other, as long as it is certain that nothing has happened. Returns true and the
-- answer, false, or nil when nobody knows.
local function try_all(self, client, name, ...)
  for _ = 1, 40 do
    local peer = self.replicas[client.at].peer
    local result, err, code, details = peer:call(name, ...)
    if not err then
      return true, result
    end
    client.at = client.at % #self.replicas + 1
    if details ~= "never" and code ~= "EUNREACHABLE" then
      return nil, err
    end
    client.last_error = err
    fiber.sleep(0.01)
  end
  return false
end

-- Reads know for certain that nothing was changed.
local function read(self, client, key)
  local op = history.invoke("read", key)
  local done, answer = try_all(self, client, "read", key)
  if done then
    op:ok(answer[1])
  else
    op:fail()
  end
end

local function write(self, client, key)
  client.count = client.count + 1
  local value = client.id * 10000000 + client.count
  local op = history.invoke("write", key, value)
  local done, index = try_all(self, client, "write", key, value)
  if done then
    op:ok()
    self.acknowledged[index] = value
    self.acknowledged_count = self.acknowledged_count + 1
    self.newest = math.max(self.newest, index)
  elseif done == nil then
    op:unknown()
  else
    op:fail()
  end
end

-- Keys change with the round, for an operation of unknown outcome costs the checker something for as long as
-- its key is used.
local function work(self, client)
  while not client.is_stopped do
    local round = self.round
    local chance = fiber.random()
    if chance < 0.2 and round > 0 then
      round = round - 1
    end
    local key = ("%d.%d"):format(round, fiber.random(4))
    if chance < 0.5 then
      read(self, client, key)
    else
      write(self, client, key)
    end
    fiber.sleep(0.004 * fiber.random())
  end
end

--- Starts so many clients.
---@param count integer
function Cluster:start_clients(count)
  for _ = 1, count do
    self.client_count = (self.client_count or 0) + 1
    local client = { id = self.client_count, count = 0, at = fiber.random(#self.replicas) }
    client.fiber = fiber.spawn(work, self, client)
    self.clients[#self.clients + 1] = client
  end
end

--- Lets the clients end what they are doing.
function Cluster:stop_clients()
  for _, client in ipairs(self.clients) do
    client.is_stopped = true
  end
  for _, client in ipairs(self.clients) do
    assert(client.fiber:join())
  end
  self.clients = {}
end

-- ---- the judge ----

local function commit_something(self, name)
  local client = { at = 1 }
  local index = M.wait(function()
    local done, index = try_all(self, client, name, "last", self.round)
    return done and index
  end)
  if not index then
    self:problem("all run, and nothing can be written any more: %s", tostring(client.last_error))
  end
  return index
end

-- What the replica wrote, once it has applied so much.
local function writes_of(self, replica, index)
  local status, err
  local is_level = M.wait(function()
    status, err = replica.peer:call "status"
    return status and status.applied_index >= index
  end)
  if not is_level then
    self:problem("node %d does not get to index %d: it is at %s", replica.id, index,
      status and status.applied_index or err)
    return nil
  end
  return (replica.peer:call "writes")
end

local function compare(self, first, replica, writes)
  for i = 1, math.max(#first, #writes) do
    local one, other = first[i] or {}, writes[i] or {}
    if one[1] ~= other[1] or one[2] ~= other[2] then
      self:problem("at index %s node 1 has %s, and node %d has %s at index %s", one[1], one[2], replica.id,
        other[2], other[1])
      return
    end
  end
end

--- Waits until all nodes, which run, have the same, and looks for what was acknowledged; clients have to be
--- stopped. But: that node does not count.
---@param but? integer
function Cluster:judge(but)
  local index, first = commit_something(self, "write")
  for _, replica in ipairs(index and self.replicas or {}) do
    local writes = replica.id ~= but and writes_of(self, replica, index)
    if writes and first then
      compare(self, first, replica, writes)
    end
    first = first or writes or nil
  end
  local there = {}
  for _, item in ipairs(first or {}) do
    there[item[1]] = item[2]
  end
  for at, value in pairs(first and self.acknowledged or {}) do
    if there[at] ~= value then
      self:problem("%d was acknowledged at index %d, and there is %s", value, at, tostring(there[at]))
    end
  end
  self.acknowledged = {}
  commit_something(self, "forget")
end

--- Ends all nodes.
function Cluster:close()
  for id, replica in ipairs(self.replicas) do
    if replica.child then
      self:kill(id)
    end
    replica.peer:close()
  end
end

return M
