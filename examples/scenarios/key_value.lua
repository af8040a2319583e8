-- The key/value store on five nodes. Clients put, append, delete and read keys while nodes lose power, are
-- killed, stand still, are cut off, and their disks stall: what they saw must be linearizable. Two watchers
-- follow all changes from the first one on: both must hear of the same changes, in order, without a gap, and
-- what these make of the keys must be what is there in the end.
--
--   perilune sim examples/scenarios/key_value.lua --seeds 1..20
--
-- Reads of a replica as it is are cheaper, and stale now and then, which the checker finds:
--
--   perilune sim examples/scenarios/key_value.lua --arg reads=stale --seeds 1..20
local history = require "perilune.history"
local kv = require "perilune.kv"
local perilune = require "perilune"
local raft = require "perilune.raft"

local READS = args.reads or "linearizable"
local REPLICAS, CLIENTS, WATCHERS, KEYS, SECONDS = 5, 4, 2, 3, 20

local M = {
  about = "a key/value store on five nodes, under faults of every kind",
  time = "10m",
  network = { latency = { "exponential", "500us", "2ms" }, loss = 0.005 },
  expect = READS == "stale" and "not linearizable" or nil,
}

M.nodes = {}

function M.nodes.replica(_, id, members)
  assert(raft.open { id = id, path = "data", snapshot_entries = 50, trailing_entries = 10 })
  local group = assert(raft.group { id = 1, members = members, machine = "kv" })
  assert(kv.serve { group = group })
end

-- ---- clients ----

-- Records how an operation ended.
local function close(op, done, details, value)
  if done then
    op:ok(value)
  elseif details and details.certainty == "unknown" then
    op:unknown()
  else
    op:fail()
  end
end

local acts = {
  function(store, key, text)
    local op = history.invoke("put", key, text)
    local revision, _, _, details = store:put(key, text)
    close(op, revision, details)
  end,
  function(store, key, text)
    local op = history.invoke("append", key, text)
    local size, _, _, details = store:append(key, text)
    close(op, size, details)
  end,
  function(store, key)
    local op = history.invoke("delete", key)
    local was_there, _, _, details = store:delete(key)
    close(op, was_there ~= nil, details)
  end,
  function(store, key)
    local op = history.invoke("get", key)
    local value, _, code = store:get(key, { consistency = READS })
    close(op, code == nil, nil, value)
  end,
}

function M.nodes.client(node, me, addresses)
  local store, count = kv.connect(addresses, { deadline = 2, attempt = 0.5 }), 0
  while not node.stopped do
    count = count + 1
    local act = acts[perilune.random(5)] or acts[4] -- reads are twice as many
    act(store, "k" .. perilune.random(KEYS), ("%d.%d;"):format(me, count))
    perilune.sleep(perilune.random() * 0.1)
  end
end

-- Hears of all changes up to the one of the key "end", and gives them.
function M.nodes.watcher(_, addresses)
  local store, lines, last = kv.connect(addresses, { deadline = 60 }), {}, 0
  for event in assert(store:watch { revision = 1 }):events() do
    assert(event.revision == last + 1, "a change is missing") -- every write here changes one key
    last = event.revision
    lines[#lines + 1] = ("%s=%s"):format(event.key, event.value or "")
    if event.key == "end" then
      return lines
    end
  end
end

-- The last write, and what is there then.
function M.nodes.last(_, addresses)
  local store, found = kv.connect(addresses, { deadline = 20 }), {}
  assert(store:put("end", "end"))
  for key, value in store:each() do
    found[key] = value
  end
  return found
end

M.probes = {
  stop = function(node)
    node.stopped = true
  end,
}

-- ---- faults ----

local function name_of(i)
  return "r" .. i
end

local faults = {
  function(sim, name) sim:crash(name) end,
  function(sim, name) sim:kill(name) end,
  function(sim, name) sim:pause(name) end,
  function(sim, name) sim:isolate(name) end,
  function(sim, name) sim:disk(name, { stall = "700ms" }) end,
  function(sim) sim:partition("halves", sim:names "replica") end,
  function(sim) sim:partition("ring", sim:names "replica") end,
}

local function repair(sim)
  sim:heal()
  for i = 1, REPLICAS do
    sim:resume(name_of(i))
    if not sim:is_up(name_of(i)) then
      sim:restart(name_of(i))
    end
  end
end

local function disturb(sim)
  local finish = sim:now() + SECONDS
  while sim:now() < finish do
    for _ = 1, sim:random(1, 2) do
      sim:pick(faults)(sim, name_of(sim:random(REPLICAS)))
      sim:sleep(sim:random() * 0.5)
    end
    sim:sleep(0.3 + sim:random())
    if sim:chance(0.7) then
      repair(sim)
    end
  end
  repair(sim)
end

-- ---- the run ----

-- What the changes make of the keys.
local function replay(lines)
  local keys = {}
  for _, line in ipairs(lines) do
    local key, value = line:match "^([^=]*)=(.*)$"
    keys[key] = value ~= "" and value or nil
  end
  return keys
end

local function check_watchers(sim, found)
  local first
  for i = 1, WATCHERS do
    local done, lines = sim:join("w" .. i, 30)
    sim:assert(done, "a watcher hears of the last change")
    first = first or lines
    sim:assert(table.concat(first, "\n") == table.concat(lines, "\n"), "watchers hear of the same changes")
  end
  local keys = replay(first)
  for i = 1, KEYS do
    local key = "k" .. i
    sim:assert(keys[key] == found[key], "the changes make what is there")
  end
end

function M.run(sim)
  local members, addresses = {}, {}
  for i = 1, REPLICAS do
    members[i], addresses[i] = name_of(i) .. ":7200", name_of(i) .. ":7300"
  end
  for i = 1, REPLICAS do
    sim:start(name_of(i), "replica", i, members)
  end
  sim:sleep(1)
  for i = 1, WATCHERS do
    sim:start("w" .. i, "watcher", addresses)
  end
  for i = 1, CLIENTS do
    sim:start("c" .. i, "client", i, addresses)
  end
  disturb(sim)
  sim:sleep(3)
  for i = 1, CLIENTS do
    sim:probe("c" .. i, "stop")
  end
  for i = 1, CLIENTS do
    sim:assert(sim:join("c" .. i, 10), "clients end")
  end
  sim:start("last", "last", addresses)
  local done, found = sim:join("last", 30)
  sim:assert(done, "no write goes through although all is well again")
  check_watchers(sim, found)
  sim:check "kv"
end

return M
