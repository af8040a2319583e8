-- The labs' harness (config.go, test_test.go) for tests/sim/kv_labs.lua: servers, clerks, who is connected.
local history = require "perilune.history"
local kv = require "perilune.kv"
local perilune = require "perilune"
local raft = require "perilune.raft"

local H = {}

local SNAPSHOT_ENTRIES = 20

--- Entries that a log may have, of some 80 bytes: 8 * maxraftstate of 1000 bytes.
H.LOG_MAX = 100

-- ---- servers ----

H.nodes = {}

function H.nodes.server(node, id, members, has_snapshots)
  assert(raft.open {
    id = id, path = "raft", heartbeat = 0.1, election = 0.3, recorder = 0,
    snapshot_entries = has_snapshots and SNAPSHOT_ENTRIES or 0, trailing_entries = 5,
  })
  node.group = assert(raft.group { id = 1, members = members, machine = "kv" })
  assert(kv.serve { group = node.group, history = has_snapshots and 20 or 0 })
end

H.probes = {
  is_leader = function(node)
    local status = node.group and node.group:status()
    return status ~= nil and status.role == "leader", status and status.term
  end,
  log_size = function(node)
    local status = node.group:status()
    return status.last_index - status.first_index + 1
  end,
  stop = function(node)
    node.stopped = true
  end,
}

-- ---- clerks ----

local Clerk = {}
Clerk.__index = Clerk

local function clerk_of(addresses)
  local store = kv.connect(addresses, { deadline = 3000 })
  if args.sessions == "no" then
    store.take_session = function()
      return { id = 0, sequence = -1 }
    end
  end
  return setmetatable({ store = store, wants_old = #addresses == 1 }, Clerk)
end

function Clerk:get(key)
  local op = history.invoke("get", key)
  local value, info, code = self.store:get(key, { consistency = args.reads })
  assert(code == nil, info)
  op:ok(value)
  return value or ""
end

function Clerk:put(key, value)
  local op = history.invoke("put", key, value)
  assert(self.store:put(key, value))
  op:ok()
end

-- Gives what was there before, in the lab with one server.
function Clerk:append(key, text)
  local op, old = history.invoke("append", key, text), nil
  if self.wants_old then
    local _, results = assert(self.store:transact({}, { { "get", key }, { "append", key, text } }))
    old = results[1] and results[1][1] or ""
    assert(not old:find(text, 1, true), "an append is there before it is done")
  else
    assert(self.store:append(key, text))
  end
  op:ok()
  return old
end

--- What a clerk appends.
function H.element(me, j)
  return ("x %d %d y"):format(me, j)
end

-- Works until it is stopped; gives how many elements it has written.
function H.nodes.clerk(node, me, addresses, clerks)
  local clerk, j, expected = clerk_of(addresses), 0, ""
  local key = tostring(me)
  if not clerks then
    clerk:put(key, "")
  end
  while not node.stopped do
    if clerks then
      key = tostring(perilune.random(clerks))
    end
    local choice = perilune.random()
    if choice < 0.5 then
      local old = clerk:append(key, H.element(me, j))
      assert(not old or old == expected, "an append gives something else than was written before")
      expected, j = expected .. H.element(me, j), j + 1
    elseif clerks and choice < 0.55 then
      clerk:put(key, H.element(me, j))
      j = j + 1
    else
      local value = clerk:get(key)
      assert(clerks or value == expected, "a clerk reads something else than it has written")
    end
    perilune.sleep(perilune.random() * 0.03)
  end
  return j
end

-- Does a list of { "get" or "put" or "append", key, value }; gives what the gets gave.
function H.nodes.hand(_, addresses, operations)
  local clerk, values = clerk_of(addresses), {}
  for _, operation in ipairs(operations) do
    local name, key, value = table.unpack(operation)
    local given = clerk[name](clerk, key, value)
    values[#values + 1] = name == "get" and given or nil
  end
  return values
end

-- ---- the harness ----

local Config = {}
Config.__index = Config

--- A server's name.
function H.name_of(i)
  return "s" .. i
end

--- Starts the servers of a test.
function H.start(sim, case)
  local config = setmetatable({ sim = sim, case = case, n = case.servers, hands = 0, addresses = {} }, Config)
  sim:network { labs = { unreliable = case.unreliable or false } }
  local members = {}
  for i = 1, config.n do
    members[i], config.addresses[i] = H.name_of(i) .. ":7200", H.name_of(i) .. ":7300"
  end
  for i = 1, config.n do
    sim:start(H.name_of(i), "server", i, members, case.snapshots or false)
  end
  return config
end

function Config:start_hand(operations)
  self.hands = self.hands + 1
  local name = "hand" .. self.hands
  self.sim:start(name, "hand", self.addresses, operations)
  return name
end

-- What a clerk's gets give; fails the run when it does not end.
function Config:hand(operations)
  local done, values = self.sim:join(self:start_hand(operations), 60)
  self.sim:assert(done, "operations of a clerk that can reach a majority end")
  return values
end

function Config:leader()
  local best, best_term
  self.sim:wait_until(function()
    for i = 1, self.n do
      local is_leader, term = self.sim:probe(H.name_of(i), "is_leader")
      if is_leader and (not best or term > best_term) then
        best, best_term = i, term
      end
    end
    return best
  end)
  return best
end

-- Cuts the servers into two parts; others keep their connections.
function Config:partition(first, second)
  local names = { {}, {} }
  for side, part in ipairs { first, second } do
    for k, i in ipairs(part) do
      names[side][k] = H.name_of(i)
    end
  end
  self.sim:heal()
  if #first > 0 and #second > 0 then
    self.sim:partition(names[1], names[2])
  end
end

-- A majority without the leader, and the others with it.
function Config:minority_of_leader()
  local leader, first, second = self:leader(), {}, {}
  for i = 1, self.n do
    if i ~= leader then
      table.insert(#first < self.n // 2 + 1 and first or second, i)
    end
  end
  table.insert(second, leader)
  return first, second
end

-- Parts of any kind, again and again.
function Config:part_until(due)
  while self.sim:now() < due do
    local parts = { {}, {} }
    for i = 1, self.n do
      table.insert(parts[self.sim:random(2)], i)
    end
    self:partition(parts[1], parts[2])
    self.sim:sleep(1 + self.sim:random() * 0.2)
  end
end

-- A server that was away has to catch up first, over a network that loses a tenth of all calls perhaps; and
-- one that was started again cuts its log at its next snapshot.
function Config:check_log()
  local puts = {}
  for i = 1, 2 * SNAPSHOT_ENTRIES do
    puts[i] = { "put", "the end", tostring(i) }
  end
  self:hand(puts)
  for i = 1, self.n do
    local size
    local is_short = self.sim:wait_until(function()
      size = self.sim:probe(H.name_of(i), "log_size")
      return size <= H.LOG_MAX
    end, 10)
    self.sim:assert(is_short, ("the log of server %d has %d entries"):format(i, size))
  end
end

--- Every element once, those of each clerk in order.
function H.check_elements(sim, value, me, count)
  local last = 0
  for j = 0, count - 1 do
    local text = H.element(me, j)
    local first = value:find(text, 1, true)
    sim:assert(first, ("clerk %d: %q is missing"):format(me, text))
    sim:assert(not value:find(text, first + 1, true), ("clerk %d: %q is there twice"):format(me, text))
    sim:assert(first > last, ("clerk %d: %q is in the wrong order"):format(me, text))
    last = first
  end
end

return H
