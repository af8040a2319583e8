-- What a lock is worth when its holder stands still. Three workers share an account in a key/value store:
-- each takes the lock, reads the balance, thinks, and writes it, one higher. Now and then a holder is stopped
-- for longer than its lease lasts (a long pause of its process or machine); the others have the lock
-- meanwhile, and when it goes on, it writes what it has long since read. It cannot know better. The store
-- can: each write names the lock's fencing token, and one that is too old is refused.
--
--   perilune sim examples/scenarios/fencing.lua --seeds 1..20
--
-- Without the token updates are lost:
--
--   perilune sim examples/scenarios/fencing.lua --arg fence=no --seeds 1..20
local kv = require "perilune.kv"
local lock = require "perilune.lock"
local perilune = require "perilune"
local raft = require "perilune.raft"

local IS_FENCED = args.fence ~= "no"
local REPLICAS, WORKERS, PAUSES, TTL = 3, 3, 4, 1

local M = {
  about = "holders of a lock stand still, and come back too late",
  time = "5m",
  expect = not IS_FENCED and "updates are lost" or nil,
}

M.nodes = {}

function M.nodes.replica(_, id, members)
  assert(raft.open { id = id, path = "data" })
  assert(kv.serve { group = assert(raft.group { id = 1, members = members, machine = "kv" }) })
end

-- How many updates were acknowledged, and how many refused since the lock was lost.
function M.nodes.worker(node, addresses)
  local store, done, refused = kv.connect(addresses, { deadline = 20 }), 0, 0
  local mutex = lock.mutex(store, "account", { ttl = TTL })
  while not node.stopped do
    local held = assert(mutex:acquire { value = node.name })
    local balance = store:get "balance"
    node.is_thinking = true
    perilune.sleep(0.2)
    node.is_thinking = false
    local options = { fence = IS_FENCED and held or nil }
    local revision, err, code = store:put("balance", ("%d"):format(balance + 1), options)
    assert(revision or code == "ELOST", err)
    done, refused = done + (revision and 1 or 0), refused + (revision and 0 or 1)
    held:release()
  end
  return done, refused
end

function M.nodes.bank(_, addresses, balance)
  local store = kv.connect(addresses, { deadline = 20 })
  if balance then
    assert(store:put("balance", balance))
  end
  return tonumber((store:get "balance"))
end

M.probes = {
  is_thinking = function(node) return node.is_thinking end,
  stop = function(node) node.stopped = true end,
}

-- Stops whoever has the lock, between its read and its write, until another has had it.
local function pause_holder(sim)
  local holder
  sim:wait_until(function()
    for i = 1, WORKERS do
      holder = sim:probe("w" .. i, "is_thinking") and "w" .. i or holder
    end
    return holder
  end, 30, 0.05)
  sim:assert(holder, "somebody has the lock")
  sim:pause(holder)
  sim:sleep(TTL + 1 + sim:random())
  sim:resume(holder)
end

function M.run(sim)
  local members, addresses = {}, {}
  for i = 1, REPLICAS do
    members[i], addresses[i] = ("r%d:7200"):format(i), ("r%d:7300"):format(i)
  end
  for i = 1, REPLICAS do
    sim:start("r" .. i, "replica", i, members)
  end
  sim:start("opening", "bank", addresses, "0")
  sim:assert(sim:join("opening", 30), "the account is there")
  for i = 1, WORKERS do
    sim:start("w" .. i, "worker", addresses)
  end
  for _ = 1, PAUSES do
    sim:sleep(1)
    pause_holder(sim)
  end
  local total, refusals = 0, 0
  for i = 1, WORKERS do
    sim:probe("w" .. i, "stop")
  end
  for i = 1, WORKERS do
    local ended, done, refused = sim:join("w" .. i, 60)
    sim:assert(ended, "workers end")
    total, refusals = total + done, refusals + refused
  end
  sim:start("closing", "bank", addresses)
  local _, balance = sim:join("closing", 30)
  sim:assert(balance == total, ("updates are lost: %d were made, the balance is %d"):format(total, balance))
  sim:assert(refusals == PAUSES, ("%d late writes were refused, of %d"):format(refusals, PAUSES))
end

return M
