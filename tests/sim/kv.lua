-- The key/value store under all faults, with clients that do all that it can: scripts/soak kv. What is done
-- to single keys must be linearizable (kv_model.lua); sums over several keys stay what they are; leases end
-- neither too early nor never; what a cache answers is what a server would; a holder of a lock that stands
-- still spoils nothing; what is pushed into a queue comes out once; and watchers hear of every revision, in
-- order, and of what is there in the end.
-- kv_clients.lua has servers and clients; kv_bugs.lua bugs that have to be found (--arg bug=NAME).
local clients = require "kv_clients"
local mishaps = require "mishaps"

local SECONDS = tonumber(args.seconds or 15)
local CLIENTS = { mixed = 4, bank = 2, leaser = 2, holder = 3, queuer = 2, cacher = 2 }
local KINDS = { "mixed", "bank", "leaser", "holder", "queuer", "cacher" }
local WATCHERS = 2

local M = {
  about = "the key/value store under all faults", time = "15m", nodes = clients.nodes,
  probes = clients.probes,
}

-- ---- what goes wrong ----

local function up(sim, names, wanted)
  local found = {}
  for _, name in ipairs(names) do
    if sim:is_up(name) == wanted then
      found[#found + 1] = name
    end
  end
  return found
end

local function stop(sim, run)
  local there = up(sim, run.servers, true)
  if #there > 0 then
    sim[sim:chance(0.7) and "crash" or "kill"](sim, sim:pick(there))
  end
end

local function stop_leader(sim, run)
  for _, name in ipairs(up(sim, run.servers, true)) do
    if sim:probe(name, "is_leader") then
      sim:crash(name)
    end
  end
end

local function restart_all(sim, run)
  for _, name in ipairs(up(sim, run.servers, false)) do
    sim:restart(name)
  end
end

local function on_servers(mishap)
  return function(sim, run)
    mishap(sim, run.servers)
  end
end

-- A holder of a lock stands still, for longer than its lease lasts perhaps.
local function pause_holder(sim, run)
  local name = sim:pick(run.clients.holder)
  if not run.paused[name] then
    run.paused[name] = true
    sim:pause(name)
    sim:after(0.5 + 2 * sim:random(), function()
      sim:resume(name)
      run.paused[name] = nil
    end)
  end
end

local happenings = {
  stop, stop_leader, restart_all, restart_all, on_servers(mishaps.pause), on_servers(mishaps.resume),
  mishaps.partition, mishaps.cut_or_hold, mishaps.heal, mishaps.heal, on_servers(mishaps.stall), pause_holder,
  pause_holder,
  function(sim) mishaps.spoil_link(sim, 0.3, 0.5) end,
  function(sim, run)
    local there = up(sim, run.servers, true)
    if #there > 0 then
      sim:probe(sim:pick(there), sim:pick { "transfer", "snapshot" })
    end
  end,
}

local function calm(sim, run)
  mishaps.calm(sim, sim:names())
  for _, name in ipairs(run.servers) do -- those whose disk failed must start anew
    sim:resume(name)
    if sim:is_up(name) and run.is_faulty then
      sim:crash(name)
    end
    sim:disk(name, { sync_error = 0, write_error = 0, read_error = 0 })
    if not sim:is_up(name) then
      sim:restart(name)
    end
  end
  sim:wait_until(function() return next(run.paused) == nil end)
end

-- ---- who takes part ----

local function start_servers(sim)
  local up_to = mishaps.up_to
  local run = { servers = {}, addresses = {}, clients = {}, paused = {}, is_faulty = sim:chance(0.3) }
  local members = {}
  for id = 1, sim:chance(0.7) and 3 or 5 do
    run.servers[id] = "s" .. id
    run.addresses[id], members[id] = ("s%d:7300"):format(id), ("s%d:7200"):format(id)
  end
  run.options = {
    leases = sim:chance(0.5), history = sim:chance(0.5) and 0 or 60, session = sim:pick { 1, 3, 600 },
    caches = sim:chance(0.5),
  }
  for id, name in ipairs(run.servers) do
    sim:start({ name = name, role = "server", disk = {
      keep = up_to(sim, 1), tear = up_to(sim, 1), sync_error = run.is_faulty and 0.0005 or 0,
      sync_delay = { "exponential", "1ms", "3ms" },
    }, clock = { drift = up_to(sim, 0.02) - 0.01 } }, id, members, run.options)
  end
  return run
end

local function start_clients(sim, run)
  run.watchers = {}
  for i = 1, WATCHERS do
    run.watchers[i] = "watcher" .. i
    sim:start(run.watchers[i], "watcher", i, run.addresses, run.options)
  end
  for _, kind in ipairs(KINDS) do
    run.clients[kind] = {}
    for i = 1, CLIENTS[kind] do
      run.clients[kind][i] = kind .. i
      sim:start(kind .. i, kind, i, run.addresses, run.options)
    end
  end
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

local function check_watchers(sim, run, found)
  local wanted = table.concat(found, "\n")
  for _, name in ipairs(run.watchers) do
    local done, lines = sim:join(name, 60)
    sim:assert(done, "a watcher does not hear of the last change")
    sim:assert(table.concat(lines, "\n") == wanted, "a watcher heard of other changes than there were")
  end
end

function M.run(sim)
  local up_to = mishaps.up_to
  sim:network {
    latency = { "long_tail", "1ms", "5ms", "100ms" }, loss = up_to(sim, 0.03), duplicate = up_to(sim, 0.05),
    reorder = up_to(sim, 0.1), reset = up_to(sim, 0.005),
  }
  local run = start_servers(sim)
  start_clients(sim, run)
  local finish = sim:now() + SECONDS
  while sim:now() < finish do
    sim:sleep(1.2 * sim:random())
    sim:pick(happenings)(sim, run)
  end
  calm(sim, run)
  sim:sleep(2)
  local said = stop_clients(sim, run)
  sim:start("last", "last", 1, run.addresses, run.options)
  local done, found, balance, rest = sim:join("last", 60)
  sim:assert(done, "no write goes through although all is well again")
  check_watchers(sim, run, found)
  check_balance(sim, said.holder, balance)
  check_queue(sim, said.queuer, rest)
  sim:log("caches", { hits = said.cacher[1][1], misses = said.cacher[1][2] })
  sim:check((require "kv_model"), { shrink = false }) -- perilune check --model can, given a --history
end

return M
