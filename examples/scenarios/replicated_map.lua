-- A replicated map: a machine in Lua on five nodes that agree on one order of commands (Raft). Clients
-- write and read keys at any node while nodes lose power, are killed, stand still, are cut off, and their
-- disks stall. What they saw must be linearizable, and when all is well again a write must go through.
--
--   perilune sim examples/scenarios/replicated_map.lua --seeds 1..20
--
-- With --arg state=disk the map is not in Lua but in ordered keys on disk.
--
-- Without waiting for a majority reads would be stale now and then, which the checker finds:
--
--   perilune sim examples/scenarios/replicated_map.lua --arg reads=stale --seeds 1..20
local history = require "perilune.history"
local perilune = require "perilune"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"

local READS = args.reads or "linearizable"
local STATE = args.state or "memory"
local REPLICAS, CLIENTS, KEYS, SECONDS = 5, 4, 3, 20

local M = {
  about = "a map in Lua on five replicas, under faults of every kind",
  time = "10m",
  network = { latency = { "exponential", "500us", "2ms" }, loss = 0.005 },
  expect = READS == "stale" and "not linearizable" or nil,
}

M.nodes = {}

-- Commands are { key, value }; the state is the map.
local map = {
  apply = function(state, command)
    state[command[1]] = command[2]
    return true
  end,
  query = function(state, key)
    return { value = state[key] }
  end,
}

-- The same with its state on disk.
local map_on_disk = {
  store = true,
  apply = function(_, command, ctx)
    ctx.store:put(command[1], tostring(command[2]))
    return true
  end,
  query = function(_, key, ctx)
    return { value = tonumber(ctx.store:get(key)) }
  end,
}

function M.nodes.replica(_, id, members)
  assert(raft.open { id = id, path = "raft", snapshot_entries = 50, trailing_entries = 10 })
  local machine = STATE == "disk" and map_on_disk or map
  local group = assert(raft.group { id = 1, members = members, machine = machine })
  assert(rpc.serve {
    write = function(key, value)
      local _, err, code, details = group:propose({ key, value }, { deadline = 1 })
      return err == nil, code, details and details.certainty
    end,
    read = function(key)
      local answer, _, code = group:read(key, { deadline = 1, consistency = READS })
      return answer ~= nil, answer and answer.value, code
    end,
  })
end

-- Tries one replica after the other as long as it is proved that nothing happened. True when it is done.
local function write(replicas, key, value)
  local op = history.invoke("write", key, value)
  for _ = 1, 3 * REPLICAS do
    local done, _, second = replicas[perilune.random(#replicas)]:call("write", key, value)
    if done then
      op:ok()
      return true
    elseif (done == nil and second ~= "EUNREACHABLE") or second == "unknown" then
      op:unknown()
      return false
    end
    perilune.sleep(0.02)
  end
  op:fail()
  return false
end

local function read(replicas, key)
  local op = history.invoke("read", key)
  local ok, value = replicas[perilune.random(#replicas)]:call("read", key)
  if ok then
    op:ok(value)
  else
    op:fail()
  end
end

local function connect(addresses)
  local replicas = {}
  for i, address in ipairs(addresses) do
    replicas[i] = rpc.connect(address, { deadline = 2, wait = false })
  end
  return replicas
end

function M.nodes.client(node, me, addresses)
  local replicas, count = connect(addresses), 0
  while not node.stopped do
    local key = "k" .. perilune.random(KEYS)
    if perilune.random() < 0.5 then
      count = count + 1
      write(replicas, key, me * 100000 + count)
    else
      read(replicas, key)
    end
    perilune.sleep(perilune.random() * 0.1)
  end
end

-- Writes until it has gone through, for ten seconds.
function M.nodes.writer(_, addresses)
  local replicas = connect(addresses)
  for attempt = 1, 50 do
    perilune.sleep(0.2)
    if write(replicas, "last", attempt) then
      return true
    end
  end
  return false
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

function M.run(sim)
  local members, addresses = {}, {}
  for i = 1, REPLICAS do
    members[i], addresses[i] = name_of(i) .. ":7200", name_of(i)
  end
  for i = 1, REPLICAS do
    sim:start(name_of(i), "replica", i, members)
  end
  sim:sleep(1)
  for i = 1, CLIENTS do
    sim:start("c" .. i, "client", i, addresses)
  end
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
  sim:sleep(5)
  for i = 1, CLIENTS do
    sim:probe("c" .. i, "stop")
  end
  sim:sleep(3)
  sim:start("last", "writer", addresses)
  local _, is_written = sim:join "last"
  sim:assert(is_written, "no write goes through although all is well again")
  sim:check("register")
end

return M
