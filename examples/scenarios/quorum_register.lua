-- A quorum register: five replicas each keep a value with a timestamp, and every read and every write
-- talks to a majority of them. Two majorities always share a replica, so the newest timestamp in a
-- majority is that of the last write ("read all copies, take the newest"). That alone is not enough: a
-- write that has reached one replica only may be seen by one reader and not by the next. So a reader
-- writes the newest value back to a majority before it returns it (Attiya, Bar-Noy and Dolev, 1995).
-- The history of all clients must be linearizable, while replicas crash and the network splits.
--
-- Without the write-back the simulator finds a read that goes back in time, in a few runs of a hundred:
--
--   perilune sim examples/scenarios/quorum_register.lua --seeds 1..20
--   perilune sim examples/scenarios/quorum_register.lua --arg write_back=no --seeds 1..300
local history = require "perilune.history"
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local WRITES_BACK = args.write_back ~= "no"
local REPLICAS, CLIENTS = 5, 4
local MAJORITY = REPLICAS // 2 + 1

local M = {
  about = "a register on five replicas, read and written by majorities",
  time = "5m",
  network = { latency = { "exponential", "1ms", "20ms" }, loss = WRITES_BACK and 0.01 or 0.1 },
  expect = not WRITES_BACK and "not linearizable" or nil,
}

M.nodes = {}

-- A stamp is a number and the client's name, so that no two writes have the same.
local function is_newer(a, b)
  return a.number > b.number or (a.number == b.number and a.client > b.client)
end

-- What a replica has acknowledged it must know after a crash, so it is on the disk first.
function M.nodes.replica()
  local saved = perilune.fs.read "register"
  local register = saved and perilune.msgpack.decode(saved) or { stamp = { number = 0, client = "" } }
  assert(rpc.serve {
    get = function()
      return register
    end,
    put = function(stamp, value)
      if is_newer(stamp, register.stamp) then
        local newer = { stamp = stamp, value = value }
        assert(perilune.fs.write("register", perilune.msgpack.encode(newer), { atomic = true, sync = true }))
        if is_newer(stamp, register.stamp) then -- others may have written meanwhile
          register = newer
        end
      end
      return true
    end,
  })
end

-- Asks all replicas; the answers of those that gave one, or nil when they are no majority.
local function ask_majority(replicas, ...)
  local answers = {}
  for _, outcome in ipairs(rpc.multicall(replicas, ...)) do
    if outcome.ok then
      answers[#answers + 1] = outcome[1]
    end
  end
  return #answers >= MAJORITY and answers or nil
end

local function newest_of(answers)
  local newest = answers[1]
  for _, answer in ipairs(answers) do
    newest = is_newer(answer.stamp, newest.stamp) and answer or newest
  end
  return newest
end

local function read(replicas)
  local operation = history.invoke("read", "x")
  local answers = ask_majority(replicas, "get")
  local newest = answers and newest_of(answers)
  local is_safe = newest and (not WRITES_BACK or ask_majority(replicas, "put", newest.stamp, newest.value))
  if is_safe then
    operation:ok(newest.value)
  else
    operation:fail()
  end
end

local function write(replicas, client, value)
  local operation = history.invoke("write", "x", value)
  local answers = ask_majority(replicas, "get")
  if not answers then
    return operation:fail() -- nothing has been written
  end
  local stamp = { number = newest_of(answers).stamp.number + 1, client = client }
  if ask_majority(replicas, "put", stamp, value) then
    operation:ok()
  else
    operation:unknown() -- some replica may have it
  end
end

function M.nodes.client(node, names, operations)
  local replicas = {}
  for index, name in ipairs(names) do
    replicas[index] = rpc.connect(name, { deadline = 0.2 })
  end
  for number = 1, operations do
    perilune.sleep(0.05 * perilune.random())
    if perilune.random() < 0.5 then
      read(replicas)
    else
      write(replicas, node.name, node.name .. "-" .. number)
    end
  end
end

local function break_things(sim, replicas)
  while true do
    sim:sleep(0.5 + sim:random())
    local victim = sim:pick(replicas)
    if sim:chance(0.5) then
      sim:crash(victim)
      sim:sleep(sim:random())
      sim:restart(victim)
    else
      sim:partition(sim:pick { "halves", "minority_third", "ring" })
      sim:sleep(sim:random())
      sim:heal()
    end
  end
end

function M.run(sim)
  local replicas, clients = {}, {}
  for index = 1, REPLICAS do
    replicas[index] = "r" .. index
    sim:start(replicas[index], "replica")
  end
  for index = 1, CLIENTS do
    clients[index] = "c" .. index
    sim:start(clients[index], "client", replicas, 30)
  end
  local nemesis = perilune.spawn({ name = "nemesis" }, break_things, sim, replicas)
  for _, client in ipairs(clients) do
    assert(sim:join(client))
  end
  nemesis:cancel "the clients are done"
  local verdict = sim:check "register"
  print(("%d operations are linearizable"):format(verdict.operations))
end

return M
