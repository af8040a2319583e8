-- Three replicas of a machine, of which one was given a file that counts wrongly, under load: it is found by
-- its hashes and rebuilt from the others, so that in the end all three are equal, and right. Each command
-- adds 7; the wrong file adds 8. --arg state=store: the same with a state on disk.
local perilune = require "perilune"

local MACHINES = {}
MACHINES.tables = [[
  return {
    init = function() return { count = 0 } end,
    apply = function(state, command) state.count = state.count + command return state.count end,
    query = function(state) return state.count end,
  }]]
MACHINES.store = [[
  return { store = true,
    apply = function(_, command, ctx)
      local count = (ctx.store:get "count" or 0) + command
      ctx.store:put("count", count)
      ctx.store:put("at" .. ctx.index, { count, ("x"):rep(100) })
      return count
    end,
    query = function(_, _, ctx) return ctx.store:get "count" end,
  }]]
local MACHINE = MACHINES[args.state or "tables"]

local function replica(_, id, members)
  local machine, raft, rpc = require "perilune.machine", require "perilune.raft", require "perilune.rpc"
  assert(raft.open { id = id, path = "raft", snapshot_entries = 10, trailing_entries = 2 })
  local text = id == 2 and MACHINE:gsub("%+ command", "+ command + 1") or MACHINE
  local group = assert(raft.group { id = 1, members = members, machine = assert(machine.source(text)) })
  assert(rpc.serve {
    add = function(n)
      return (group:propose(n, { deadline = 1 })) ~= nil
    end,
    stand = function()
      local value, _, code = group:read(nil, { consistency = "stale", deadline = 1 })
      return { value = value, code = code, hash = group:machine().hash, diverged = group:status().diverged }
    end,
  })
end

local function client(_, addresses)
  local rpc = require "perilune.rpc"
  local peers, done, stands = {}, 0, {}
  for i, address in ipairs(addresses) do
    peers[i] = rpc.connect(address, { deadline = 2 })
  end
  for i = 1, 400 do
    if done == 40 then
      break
    end
    done = done + (peers[i % #peers + 1]:call("add", 7) and 1 or 0)
    perilune.sleep(0.05)
  end
  perilune.sleep(5)
  for i, peer in ipairs(peers) do
    stands[i] = peer:call "stand"
  end
  return stands
end

local M = {
  about = "a replica with another file is found by its hashes and rebuilt",
  time = "2m",
  network = { latency = { "exponential", "500us", "2ms" } },
  nodes = { replica = replica, client = client },
}

function M.run(sim)
  local members, addresses = {}, {}
  for i = 1, 3 do
    members[i], addresses[i] = ("r%d:7200"):format(i), "r" .. i
  end
  for i = 1, 3 do
    sim:start("r" .. i, "replica", i, members)
  end
  sim:sleep(1)
  sim:start("c", "client", addresses)
  local _, stands = sim:join "c"
  for i = 1, 3 do
    sim:assert(not stands[i].diverged and not stands[i].code, ("r%d is still set aside"):format(i))
    sim:assert(stands[i].hash == stands[1].hash, ("r%d differs"):format(i))
    sim:assert(stands[i].value % 7 == 0, ("r%d counts wrongly"):format(i))
  end
end

return M
