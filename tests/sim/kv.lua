-- The key/value store under all faults, with clients that do all that it can: scripts/soak kv. What is done
-- to single keys must be linearizable (kv_model.lua); sums over several keys stay what they are; leases end
-- neither too early nor never; what a cache answers is what a server would; a holder of a lock that stands
-- still spoils nothing; what is pushed into a queue comes out once; and watchers hear of every revision, in
-- order, and of what is there in the end.
-- kv_clients.lua has servers and clients, kv_watchers.lua those who look on; kv_trouble.lua makes the faults;
-- kv_bugs.lua has bugs that have to be found (--arg bug=NAME).
local clients = require "kv_clients"
local mishaps = require "mishaps"
local raft_trouble = require "raft_trouble"
local trouble = require "kv_trouble"
local watchers = require "kv_watchers"

local SECONDS = tonumber(args.seconds or 10)
local CLIENTS = { mixed = 2, bank = 1, leaser = 1, holder = 3, queuer = 2, cacher = 1 } -- of most, two in one
local KINDS = { "mixed", "bank", "leaser", "holder", "queuer", "cacher" }

local M = {
  about = "the key/value store under all faults", time = "15m", nodes = clients.nodes,
  probes = clients.probes,
}
M.nodes.watcher, M.nodes.last = watchers.watch, watchers.finish

-- ---- who takes part ----

local function start_servers(sim)
  local up_to = mishaps.up_to
  local count, spares = sim:chance(0.7) and 3 or 5, sim:chance(0.4) and sim:random(1, 2) or 0
  local run = raft_trouble.record(count, count + spares)
  run.addresses, run.clients, run.paused, run.is_faulty = {}, {}, {}, sim:chance(0.3)
  run.has_changes = spares > 0
  if sim:chance(0.3) then
    run.victim = run.servers[sim:random(1, count)]
  end
  -- Power that fails in the middle of a sector leaves the end of a log in doubt. With a damaged disk besides,
  -- a majority of three would wait for people, as it should.
  local garbled_max = run.victim and 0 or 1
  local members = {}
  for id, name in ipairs(run.servers) do
    run.addresses[id] = name .. ":7300"
    members[id] = id <= count and name .. ":7200" or nil
  end
  run.options = {
    leases = sim:chance(0.5), history = sim:chance(0.5) and 0 or 60, session = sim:pick { 1, 3, 600 },
    caches = sim:chance(0.5),
  }
  for id, name in ipairs(run.servers) do
    sim:start({ name = name, role = "server", disk = {
      keep = up_to(sim, 1), tear = up_to(sim, 1), garble = up_to(sim, garbled_max),
      sync_error = run.is_faulty and 0.0005 or 0, sync_delay = { "exponential", "1ms", "3ms" },
    }, clock = {
      drift = up_to(sim, 0.02) - 0.01, skew = up_to(sim, 7200) - 3600,
    } }, id, members, run.options)
  end
  return run
end

local function start_clients(sim, run)
  sim:start("watcher", "watcher", run.addresses, run.options)
  for _, kind in ipairs(KINDS) do
    run.clients[kind] = {}
    for i = 1, CLIENTS[kind] do
      run.clients[kind][i] = kind .. i
      sim:start(kind .. i, kind, i, run.addresses, run.options)
    end
  end
  run.holders = run.clients.holder
end

-- Tells clients to end, and collects what they say.
local function stop_clients(sim, run)
  for _, kind in ipairs(KINDS) do
    for _, name in ipairs(run.clients[kind]) do
      sim:probe(name, "stop")
    end
  end
  local said = {}
  for _, kind in ipairs(KINDS) do
    said[kind] = {}
    for i, name in ipairs(run.clients[kind]) do
      local values = table.pack(sim:join(name, 60))
      sim:assert(values[1], name .. " does not end")
      said[kind][i] = table.move(values, 2, values.n, 1, {})
    end
  end
  return said
end

-- ---- what has to hold ----

local function check_balance(sim, said, balance)
  local done, unknown = 0, 0
  for _, counts in ipairs(said) do
    done, unknown = done + counts[1], unknown + counts[2]
  end
  sim:assert(balance >= done and balance <= done + unknown,
    ("a fenced update is lost or came twice: %d were acknowledged, %d unknown, the balance is %d")
    :format(done, unknown, balance))
end

-- Every item that was pushed comes out once, unless nobody knows of its pop.
local function check_queue(sim, said, rest)
  local pushed, out, gone = {}, {}, {}
  for _, each in ipairs(said) do
    local seen = each[1]
    for _, value in ipairs(seen.pushed) do
      pushed[value] = "pushed"
    end
    for _, value in ipairs(seen.maybe) do
      pushed[value] = "maybe"
    end
    for _, value in ipairs(seen.gone) do
      gone[value] = true
    end
  end
  local function take(value)
    sim:assert(pushed[value] and not out[value], ("%s comes out of a queue twice"):format(value))
    out[value] = true
  end
  for _, each in ipairs(said) do
    for _, value in ipairs(each[1].popped) do
      take(value)
    end
  end
  for _, value in ipairs(rest) do
    take(value)
  end
  for value, how in pairs(pushed) do
    sim:assert(out[value] or gone[value] or how == "maybe", "an item of a queue is lost")
  end
end

-- A watch of everything, and one of a range, have heard of what is there in the end.
local function check_watcher(sim, found)
  local done, all, some = sim:join("watcher", 60)
  sim:assert(done, "a watcher does not hear of the last change")
  local is_same = table.concat(all, "\n") == table.concat(found, "\n")
    and table.concat(some, "\n") == table.concat(watchers.within(found), "\n")
  sim:assert(is_same, "a watcher heard of other changes than there were")
end

function M.run(sim)
  local up_to = mishaps.up_to
  sim:network {
    latency = { "long_tail", "1ms", "5ms", "100ms" }, loss = up_to(sim, 0.03), duplicate = up_to(sim, 0.05),
    reorder = up_to(sim, 0.1), reset = up_to(sim, 0.005), corrupt = up_to(sim, 0.002),
  }
  local run = start_servers(sim)
  start_clients(sim, run)
  trouble.last(sim, run, SECONDS)
  local said = stop_clients(sim, run)
  sim:start("last", "last", run.addresses, run.options)
  local done, found, balance, rest = sim:join("last", 60)
  sim:assert(done, "no write goes through although all is well again")
  check_watcher(sim, found)
  check_balance(sim, said.holder, balance)
  check_queue(sim, said.queuer, rest)
  sim:log("caches", { hits = said.cacher[1][1], misses = said.cacher[1][2] })
  sim:check((require "kv_model"), { shrink = false }) -- perilune check --model can, given a --history
end

return M
