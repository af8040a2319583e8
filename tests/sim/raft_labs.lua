-- The Raft tests of the MIT labs (6.824, 6.5840), by their names: args.test says which. This file is the
-- labs' harness (config.go, test.go): servers, what they applied, who is connected; raft_labs_agreement.lua
-- and raft_labs_durability.lua have the tests.
--
-- Two things differ. A leader's first entry is a no-op (Raft 8), so indexes are not numbers of commands:
-- where a test wants "index 3" it is asked for the third command. And a crash is a loss of power.
local M = { about = "the labs' tests of Raft", time = "60m" }

local SECRET = "0123456789abcdef"
local HEARTBEAT, ELECTION = 0.1, 0.3 -- at most ten heartbeats a second; the labs' own advice
local SNAPSHOT_INTERVAL = 10

-- ---- servers ----

M.nodes = {}

-- The machine is the labs' applier: every command with its index, also in snapshots.
local function applier(node, has_snapshots)
  return {
    init = function()
      node.applied, node.generation = {}, 0
      return node
    end,
    apply = function(_, command, ctx)
      local last = node.applied[#node.applied]
      assert(not last or ctx.index > last[1], "apply out of order")
      table.insert(node.applied, { ctx.index, command })
      if has_snapshots and (#node.applied + 1) % SNAPSHOT_INTERVAL == 0 then
        node.group:snapshot() -- EBUSY: the one before is still on its way
      end
      return #node.applied
    end,
    snapshot = function()
      return node.applied
    end,
    restore = function(applied)
      node.applied, node.generation = applied, node.generation + 1
      return node
    end,
  }
end

function M.nodes.server(node, id, members, has_snapshots)
  local raft = require "perilune.raft"
  node.applied, node.generation = {}, 0
  node.raft = assert(raft.open {
    id = id, path = "raft", secret = SECRET, heartbeat = HEARTBEAT, election = ELECTION, ping = 10,
    snapshot_entries = 0, trailing_entries = 3, recorder = 0,
  })
  node.group = assert(raft.group { id = 1, members = members, machine = applier(node, has_snapshots) })
end

M.probes = {
  -- What was applied behind position, or all of it when a snapshot came in between.
  applied = function(node, generation, position)
    if node.generation ~= generation then
      position = 0
    end
    return node.generation, position, table.move(node.applied, position + 1, #node.applied, 1, {})
  end,
  state = function(node)
    local status = node.group and node.group:status()
    return status and status.term or 0, status ~= nil and status.role == "leader"
  end,
  start = function(node, command)
    local token = node.group and node.group:propose(command, { wait = false, deadline = 1 })
    return token and token.index, token and token.term
  end,
  size = function(node)
    local status = node.group and node.group:status()
    return status and status.last_index - status.first_index + 1 or 0
  end,
  stats = function(node)
    local stats = node.raft and node.raft:stats() or {}
    return stats.envelopes_sent or 0, stats.snapshots_installed or 0
  end,
}

-- ---- the harness ----

local Config = {}
Config.__index = Config

local function name_of(i)
  return "s" .. i
end

local function new_config(sim, n, options)
  local config = setmetatable({
    sim = sim, n = n, connected = {}, up = {}, copies = {}, agreed = {},
    unreliable = options.unreliable, long_reordering = false,
  }, Config)
  config:set_network()
  local members = {}
  for i = 1, n do
    members[i] = name_of(i) .. ":7200"
  end
  for i = 1, n do
    sim:start(name_of(i), "server", i, members, options.has_snapshots)
    config.up[i], config.connected[i] = true, true
  end
  return config
end

function Config:set_network()
  self.sim:network { labs = { unreliable = self.unreliable or false, long_delays = true,
    long_reordering = self.long_reordering } }
end

function Config:set_reliable()
  self.unreliable, self.long_reordering = false, false
  self:set_network()
end

function Config:set_long_reordering()
  self.long_reordering = true
  self:set_network()
end

-- L+k of the labs, for servers that count from 1.
function Config:after(i, k)
  return (i - 1 + k) % self.n + 1
end

local function set_links(self, i)
  for j = 1, self.n do
    if j ~= i then
      for from, to in pairs { [i] = j, [j] = i } do
        local set = self.connected[i] and self.connected[j] and self.sim.mend or self.sim.cut
        set(self.sim, name_of(from), name_of(to))
      end
    end
  end
end

function Config:connect(i)
  self.connected[i] = true
  set_links(self, i)
end

function Config:disconnect(i)
  self.connected[i] = false
  set_links(self, i)
end

-- Reads what server i has applied since, and compares it with all that any server ever applied.
function Config:absorb(i)
  local copy = self.copies[i] or { generation = -1, list = {}, at = {} }
  local generation, position, list = self.sim:probe(name_of(i), "applied", copy.generation, #copy.list)
  if not generation then
    return
  end
  if generation ~= copy.generation then
    copy = { generation = generation, list = {}, at = {} }
  end
  for k, item in ipairs(list) do
    local index, command = item[1], item[2]
    local known = self.agreed[index]
    self.sim:assert(known == nil or known == command,
      ("server %d applied %s at index %d where another applied %s"):format(i, command, index, known))
    self.agreed[index] = command
    copy.list[position + k] = index
    copy.at[index] = command
  end
  self.copies[i] = copy
end

function Config:absorb_all()
  for i = 1, self.n do
    if self.up[i] then
      self:absorb(i)
    end
  end
end

function Config:crash(i)
  if self.up[i] then
    self:absorb(i)
    self.sim:crash(name_of(i))
  end
  self.up[i], self.copies[i] = false, nil
  self:disconnect(i)
end

function Config:start_server(i)
  self:crash(i)
  self.sim:restart(name_of(i))
  self.up[i] = true
end

function Config:restart(i)
  self:start_server(i)
  self:connect(i)
end

-- start() of the labs: index and term when the server takes the command as leader.
function Config:start(i, command)
  if not self.up[i] then
    return nil
  end
  local index, term = self.sim:probe(name_of(i), "start", command)
  return index or nil, term
end

function Config:state(i)
  local term, is_leader = self.sim:probe(name_of(i), "state")
  return term or 0, is_leader == true
end

-- How many servers have applied index, and what.
function Config:committed(index)
  self:absorb_all()
  local count, command = 0, nil
  for i = 1, self.n do
    local copy = self.copies[i]
    if copy and copy.at[index] ~= nil then
      count, command = count + 1, copy.at[index]
    end
  end
  return count, command
end

-- Which command of the log it is that stands at index.
function Config:number(index)
  for i = 1, self.n do
    for position, at in ipairs(self.copies[i] and self.copies[i].list or {}) do
      if at == index then
        return position
      end
    end
  end
end

function Config:check_one_leader()
  for _ = 1, 10 do
    self.sim:sleep((450 + self.sim:random(0, 99)) / 1000)
    local leaders, last = {}, 0
    for i = 1, self.n do
      if self.up[i] and self.connected[i] then
        local term, is_leader = self:state(i)
        if is_leader then
          self.sim:assert(not leaders[term], ("term %d has two leaders"):format(term))
          leaders[term], last = i, math.max(last, term)
        end
      end
    end
    if last > 0 then
      return leaders[last]
    end
  end
  self.sim:fail "expected one leader, got none"
end

function Config:check_no_leader()
  for i = 1, self.n do
    if self.up[i] and self.connected[i] then
      local _, is_leader = self:state(i)
      self.sim:assert(not is_leader, ("expected no leader among connected servers, but %d is"):format(i))
    end
  end
end

function Config:check_terms()
  local term
  for i = 1, self.n do
    if self.up[i] and self.connected[i] then
      local its = self:state(i)
      self.sim:assert(term == nil or term == its, "servers disagree on term")
      term = its
    end
  end
  return term
end

-- Waits until n servers have applied index; -1 when some server's term is beyond start_term.
function Config:wait(index, n, start_term)
  local pause = 0.01
  for _ = 1, 30 do
    if self:committed(index) >= n then
      break
    end
    self.sim:sleep(pause)
    pause = math.min(pause * 2, 1.28)
    for i = 1, self.n do
      if start_term >= 0 and self.up[i] and self:state(i) > start_term then
        return -1
      end
    end
  end
  local count, command = self:committed(index)
  self.sim:assert(count >= n, ("only %d decided for index %d; wanted %d"):format(count, index, n))
  return command
end

local function agree(self, index, command, expected)
  local limit = self.sim:now() + 2
  while self.sim:now() < limit do
    local count, found = self:committed(index)
    if count > 0 and count >= expected and found == command then
      return true
    end
    self.sim:sleep(0.02)
  end
  return false
end

-- Has a command committed by at least so many servers; gives its index.
function Config:one(command, expected, retry)
  local limit, at = self.sim:now() + 10, 0
  while self.sim:now() < limit do
    local index
    for _ = 1, self.n do
      at = self:after(at, 1)
      if self.connected[at] then
        index = self:start(at, command)
        if index then
          break
        end
      end
    end
    if index and agree(self, index, command, expected) then
      return index
    elseif index then
      self.sim:assert(retry, ("one(%s) failed to reach agreement"):format(command))
    else
      self.sim:sleep(0.05)
    end
  end
  self.sim:fail(("one(%s) failed to reach agreement within 10 s"):format(command))
end

-- Entries that the longest log holds.
function Config:log_size()
  local size = 0
  for i = 1, self.n do
    if self.up[i] then
      size = math.max(size, self.sim:probe(name_of(i), "size") or 0)
    end
  end
  return size
end

-- Envelopes that all servers have sent, and snapshots that they have installed.
function Config:counts()
  local envelopes, installed = 0, 0
  for i = 1, self.n do
    local sent, snapshots = self.sim:probe(name_of(i), "stats")
    envelopes, installed = envelopes + (sent or 0), installed + (snapshots or 0)
  end
  return envelopes, installed
end

function Config:random()
  return self.sim:random(1, 1 << 30)
end

function M.run(sim)
  local test = require("raft_labs_agreement")[args.test] or require("raft_labs_durability")[args.test]
  sim:assert(test, "no such test: " .. tostring(args.test))
  local config = new_config(sim, test.n, test)
  test.run(config, sim)
  config:absorb_all()
end

return M
