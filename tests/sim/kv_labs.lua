-- The key/value tests of the MIT labs (6.824, lab 3; 6.5840, labs 2 and 4), by their names: args.test says
-- which. Those of one server, whose names end with 2, have a group of one.
-- Clerks send every operation until it is answered; each key is judged as a register with append, and where a
-- clerk has a key of its own, every element has to be there once and in order.
--
-- What differs: a crash is a loss of power; a clerk waits up to 30 ms between two operations; and the state
-- is on disk, so what is bounded with snapshots is the log, in entries, a few seconds after the last write.
--
-- Two bugs can be planted, which have to be found: --arg sessions=no, so that writes that are sent again
-- happen again, and --arg reads=stale.
local harness = require "kv_labs_harness"

local M = {
  about = "the labs' tests of the key/value service", time = "60m", nodes = harness.nodes,
  probes = harness.probes,
}

local ELECTION = 1 -- the labs' electionTimeout: how long to wait for a leader
local ROUNDS = 3

-- ---- the tests ----

local function run_round(config, round)
  local sim, case = config.sim, config.case
  local names = {}
  for i = 1, case.clients do
    names[i] = ("c%d_%d"):format(round, i)
    sim:start(names[i], "clerk", i, config.addresses, case.random_keys and case.clients or nil)
  end
  local seconds = case.servers == 1 and 1 or 5
  local due = sim:now() + seconds
  if case.partitions then
    sim:sleep(1)
    config:part_until(due + 1)
    sim:heal()
    sim:sleep(ELECTION)
  else
    sim:sleep(seconds)
  end
  for i = 1, case.clients do
    sim:probe(names[i], "stop")
  end
  if case.crash then
    for i = 1, config.n do
      sim:crash(harness.name_of(i))
    end
    sim:sleep(ELECTION)
    for i = 1, config.n do
      sim:restart(harness.name_of(i))
    end
  end
  for i = 1, case.clients do
    local done, count = sim:join(names[i], 120)
    sim:assert(done, "a clerk ends when it is told to")
    if not case.random_keys then
      harness.check_elements(sim, config:hand({ { "get", tostring(i) } })[1], i, count)
    end
  end
end

local function generic(sim, case)
  local config = harness.start(sim, case)
  for round = 1, ROUNDS do
    run_round(config, round)
    if case.snapshots then
      config:check_log()
    end
  end
  sim:check "kv"
end

local function speed(sim, case)
  local config = harness.start(sim, case)
  local operations, parts = {}, {}
  config:hand { { "get", "x" } }
  for i = 1, 1000 do
    operations[i] = { "append", "x", harness.element(0, i - 1) }
    parts[i] = harness.element(0, i - 1)
  end
  local start = sim:now()
  config:hand(operations)
  local seconds = sim:now() - start
  sim:assert(seconds <= 1000 * 0.1 / 3, ("1000 appends took %.1f seconds"):format(seconds))
  sim:assert(config:hand({ { "get", "x" } })[1] == table.concat(parts), "all is there, in order")
end

local function one_key(sim, case)
  local config = harness.start(sim, case)
  config:hand { { "put", "k", "" } }
  local names = {}
  for me = 1, case.clients do
    local operations = {}
    for j = 0, 9 do
      operations[j + 1] = { "append", "k", harness.element(me, j) }
    end
    names[me] = config:start_hand(operations)
  end
  for _, name in ipairs(names) do
    sim:assert(sim:join(name, 120), "appends end")
  end
  local value = config:hand({ { "get", "k" } })[1]
  for me = 1, case.clients do
    harness.check_elements(sim, value, me, 10)
  end
  sim:assert(#value == case.clients * 10 * #harness.element(1, 1), "nothing else is there")
  sim:check "kv"
end

local function one_partition(sim, case)
  local config = harness.start(sim, case)
  config:hand { { "put", "1", "13" } }
  local first, second = config:minority_of_leader()
  config:partition(first, second)
  local all = config.addresses
  local function among(part)
    config.addresses = {}
    for k, i in ipairs(part) do
      config.addresses[k] = all[i]
    end
  end
  among(first)
  local values = config:hand { { "put", "1", "14" }, { "get", "1" } }
  sim:assert(values[1] == "14", "a majority goes on")
  config.addresses = all
  local put, get = config:start_hand { { "put", "1", "15" } }, config:start_hand { { "get", "1" } }
  for _, name in ipairs { put, get } do -- before they have come far: all takes a moment
    for _, i in ipairs(first) do
      sim:cut(name, harness.name_of(i))
      sim:cut(harness.name_of(i), name)
    end
  end
  sim:sleep(1)
  sim:assert(sim:is_up(put) and sim:is_up(get), "a minority does not answer")
  among(first)
  values = config:hand { { "get", "1" }, { "put", "1", "16" }, { "get", "1" } }
  sim:assert(values[1] == "14" and values[2] == "16", "a majority goes on, alone")
  sim:heal()
  sim:sleep(ELECTION)
  sim:assert(sim:join(put, 3), "a write ends when the network is whole again")
  sim:assert(sim:join(get, 3), "a read ends when the network is whole again")
  config.addresses = all
  sim:assert(config:hand({ { "get", "1" } })[1] == "15", "the last write is read")
  sim:check "kv"
end

local function snapshot_rpc(sim, case)
  local config = harness.start(sim, case)
  config:hand { { "put", "a", "A" } }
  config:partition({ 1, 2 }, { 3 })
  local all, operations = config.addresses, {}
  config.addresses = { all[1], all[2] }
  for i = 0, 49 do
    operations[i + 1] = { "put", tostring(i), tostring(i) }
  end
  config:hand(operations)
  sim:sleep(ELECTION)
  config:hand { { "put", "b", "B" } }
  sim:sleep(3)
  for i = 1, 2 do
    sim:assert(sim:probe(harness.name_of(i), "log_size") <= harness.LOG_MAX, "the log is short")
  end
  config:partition({ 1, 3 }, { 2 })
  config.addresses = { all[1], all[3] }
  local gets = { { "put", "c", "C" }, { "put", "d", "D" }, { "get", "a" }, { "get", "b" }, { "get", "1" },
    { "get", "49" } }
  sim:assert(table.concat(config:hand(gets), ",") == "A,B,1,49", "a server that was away has all of it")
  config:partition({ 1, 2, 3 }, {})
  config.addresses = all
  local values = config:hand { { "put", "e", "E" }, { "get", "c" }, { "get", "e" }, { "get", "1" } }
  sim:assert(table.concat(values, ",") == "C,E,1", "all servers have all of it")
  sim:check "kv"
end

local function snapshot_size(sim, case)
  local config = harness.start(sim, case)
  local operations = {}
  for _ = 1, 200 do
    for value = 0, 1 do
      operations[#operations + 1] = { "put", "x", tostring(value) }
      operations[#operations + 1] = { "get", "x" }
    end
  end
  local values = config:hand(operations)
  sim:assert(table.concat(values) == ("01"):rep(200), "every read gives what was written before")
  config:check_log()
  sim:check "kv"
end

local TESTS = {
  TestBasic2 = { generic, clients = 1, servers = 1 },
  TestConcurrent2 = { generic, clients = 5, servers = 1 },
  TestUnreliable2 = { generic, clients = 5, servers = 1, unreliable = true },
  TestUnreliableOneKey2 = { one_key, clients = 5, servers = 1, unreliable = true },
  TestBasic3A = { generic, clients = 1, servers = 5 },
  TestSpeed3A = { speed, servers = 3 },
  TestConcurrent3A = { generic, clients = 5, servers = 5 },
  TestUnreliable3A = { generic, clients = 5, servers = 5, unreliable = true },
  TestUnreliableOneKey3A = { one_key, clients = 5, servers = 3, unreliable = true },
  TestOnePartition3A = { one_partition, servers = 5 },
  TestManyPartitionsOneClient3A = { generic, clients = 1, servers = 5, partitions = true },
  TestManyPartitionsManyClients3A = { generic, clients = 5, servers = 5, partitions = true },
  TestPersistOneClient3A = { generic, clients = 1, servers = 5, crash = true },
  TestPersistConcurrent3A = { generic, clients = 5, servers = 5, crash = true },
  TestPersistConcurrentUnreliable3A = { generic, clients = 5, servers = 5, unreliable = true, crash = true },
  TestPersistPartition3A = { generic, clients = 5, servers = 5, crash = true, partitions = true },
  TestPersistPartitionUnreliable3A = {
    generic, clients = 5, servers = 5, unreliable = true, crash = true, partitions = true,
  },
  TestPersistPartitionUnreliableLinearizable3A = {
    generic, clients = 15, servers = 7, unreliable = true, crash = true, partitions = true,
    random_keys = true,
  },
  TestSnapshotRPC3B = { snapshot_rpc, servers = 3, snapshots = true },
  TestSnapshotSize3B = { snapshot_size, servers = 3, snapshots = true },
  TestSpeed3B = { speed, servers = 3, snapshots = true },
  TestSnapshotRecover3B = { generic, clients = 1, servers = 5, crash = true, snapshots = true },
  TestSnapshotRecoverManyClients3B = { generic, clients = 20, servers = 5, crash = true, snapshots = true },
  TestSnapshotUnreliable3B = { generic, clients = 5, servers = 5, unreliable = true, snapshots = true },
  TestSnapshotUnreliableRecover3B = {
    generic, clients = 5, servers = 5, unreliable = true, crash = true, snapshots = true,
  },
  TestSnapshotUnreliableRecoverConcurrentPartition3B = {
    generic, clients = 5, servers = 5, unreliable = true, crash = true, partitions = true, snapshots = true,
  },
  TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable3B = {
    generic, clients = 15, servers = 7, unreliable = true, crash = true, partitions = true,
    random_keys = true, snapshots = true,
  },
}

function M.run(sim)
  local case = TESTS[args.test or "TestBasic3A"]
  sim:assert(case, ("there is no test %s"):format(args.test))
  case[1](sim, case)
end

return M
