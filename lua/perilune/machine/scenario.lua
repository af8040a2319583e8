--- A group of a machine under faults, in the simulator: what `perilune machine check` runs, and
--- examples/scenarios/machine.lua. Clients propose random commands at any replica while nodes lose power, are
--- killed, stand still and are cut off; snapshots are taken all the time. At the end all replicas must have
--- applied as much, with one hash; and where a query without arguments answers { holds = false }, the
--- machine's
--- own invariant is broken.
local perilune = require "perilune"

local REPLICAS, CLIENTS, SECONDS = 3, 2, 12

local function name_of(i)
  return "r" .. i
end

-- What a replica serves to clients and to the judge.
local function serve(group, rpc)
  return assert(rpc.serve {
    propose = function(command)
      local _, _, code = group:propose(command, { deadline = 1 })
      return code or "ok"
    end,
    stand = function()
      local status, info = group:status(), group:machine()
      local answer = group:read(nil, { consistency = "stale", deadline = 1 })
      local holds = type(answer) ~= "table" or answer.holds ~= false
      return { role = status.role, applied = status.applied_index, hash = info.hash, holds = holds }
    end,
  })
end

local function replica(options)
  return function(_, id, members)
    local machine, raft, rpc = require "perilune.machine", require "perilune.raft", require "perilune.rpc"
    assert(raft.open { id = id, path = "raft", snapshot_entries = 40, trailing_entries = 5 })
    local program = assert(machine.load(options.machine))
    serve(assert(raft.group { id = 1, members = members, machine = program }), rpc)
  end
end

local function client(options)
  return function(node, addresses)
    local machine, rpc = require "perilune.machine", require "perilune.rpc"
    local program = assert(machine.load(options.machine))
    local commands = program:commands(perilune.random)
    local peers = {}
    for i, address in ipairs(addresses) do
      peers[i] = rpc.connect(address, { deadline = 2, wait = false })
    end
    while not node.stopped do
      peers[perilune.random(#peers)]:call("propose", commands:next())
      perilune.sleep(perilune.random() * 0.03)
    end
  end
end

local faults = {
  function(sim, name) sim:crash(name) end,
  function(sim, name) sim:kill(name) end,
  function(sim, name) sim:pause(name) end,
  function(sim, name) sim:isolate(name) end,
  function(sim) sim:partition("halves", sim:names "replica") end,
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

local function trouble(sim)
  local finish = sim:now() + SECONDS
  while sim:now() < finish do
    sim:pick(faults)(sim, name_of(sim:random(REPLICAS)))
    sim:sleep(0.3 + sim:random())
    if sim:chance(0.7) then
      repair(sim)
    end
  end
  repair(sim)
end

-- Asks all replicas how they stand; more than once, for the network loses messages.
local function judge(_, addresses)
  local rpc = require "perilune.rpc"
  local stands = {}
  for i, address in ipairs(addresses) do
    local peer, stand, err = rpc.connect(address, { deadline = 1 }), nil, nil
    for _ = 1, 20 do
      stand, err = peer:call "stand"
      if stand then
        break
      end
    end
    stands[i] = stand or { err = err }
  end
  return stands
end

local function check(sim, stands)
  local first = stands[1]
  for i, stand in ipairs(stands) do
    sim:assert(not stand.err, ("%s does not answer: %s"):format(name_of(i), stand.err))
    sim:assert(stand.holds, ("on %s the machine's invariant does not hold"):format(name_of(i)))
    sim:assert(stand.applied == first.applied,
      ("r1 has applied %d entries and %s %d"):format(first.applied, name_of(i), stand.applied))
    sim:assert(stand.hash == first.hash,
      ("r1 and %s differ after entry %d"):format(name_of(i), first.applied))
  end
  sim:assert(first.applied > 20, ("only %d entries were applied"):format(first.applied))
end

--- The scenario. options.machine: the path of the machine's file.
---@param options { machine: string }
---@return table
return function(options)
  local M = {
    about = "a group of a machine under faults: do its replicas stay equal?",
    time = "5m",
    network = { latency = { "exponential", "500us", "2ms" }, loss = 0.005 },
    nodes = { replica = replica(options), client = client(options), judge = judge },
    probes = { stop = function(node) node.stopped = true end },
  }

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
      sim:start("c" .. i, "client", addresses)
    end
    trouble(sim)
    sim:sleep(3)
    for i = 1, CLIENTS do
      sim:probe("c" .. i, "stop")
    end
    sim:sleep(3)
    sim:start("judge", "judge", addresses)
    local _, stands = sim:join "judge"
    check(sim, stands)
  end

  return M
end
