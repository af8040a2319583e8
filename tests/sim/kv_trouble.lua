-- What goes wrong in kv.lua, and how it ends. A run has: servers, holders (names), paused (of holders), plan
-- and victim as raft_trouble.lua knows them, is_faulty (a disk has failed, or may have).
local mishaps = require "mishaps"
local raft_trouble = require "raft_trouble"

local M = {}

local function up(sim, names, wanted)
  local found = {}
  for _, name in ipairs(names) do
    if sim:is_up(name) == wanted then
      found[#found + 1] = name
    end
  end
  return found
end

-- ---- processes ----

local function stop(sim, run)
  local there = up(sim, run.servers, true)
  if #there > 0 then
    sim[sim:chance(0.7) and "crash" or "kill"](sim, sim:pick(there))
  end
end

local function stop_leader(sim, run)
  for _, name in ipairs(up(sim, run.servers, true)) do
    if sim:probe(name, "status") == "leader" then
      sim:crash(name)
    end
  end
end

local function restart_all(sim, run)
  for _, name in ipairs(up(sim, run.servers, false)) do
    sim:restart(name)
  end
end

-- A holder of a lock stands still, for longer than its lease lasts perhaps.
local function pause_holder(sim, run)
  local name = sim:pick(run.holders)
  if not run.paused[name] then
    run.paused[name] = true
    sim:pause(name)
    sim:after(0.5 + 2 * sim:random(), function()
      sim:resume(name)
      run.paused[name] = nil
    end)
  end
end

local function on_servers(mishap)
  return function(sim, run)
    mishap(sim, run.servers)
  end
end

-- ---- networks ----

local function spoil_link(sim)
  mishaps.spoil_link(sim, 0.3, 0.5)
end

-- A server is heard by nobody, or hears nobody.
local function one_way(sim, run)
  local name, is_mute = sim:pick(run.servers), sim:chance(0.5)
  for _, other in ipairs(sim:names()) do
    if other ~= name then
      sim:cut(is_mute and name or other, is_mute and other or name)
    end
  end
end

-- ---- disks ----

-- Nothing more fits on a server's disk, or now and then it does not write or read: for a while.
local function fail_disk(sim, run)
  local name = sim:pick(run.servers)
  local trouble = sim:pick {
    { capacity = 1 }, { write_error = 0.02 }, { read_error = 0.02 }, { sync_error = 0.02 },
  }
  run.is_faulty = true
  sim:disk(name, trouble)
  sim:after(0.2 + sim:random(), function()
    sim:disk(name, { capacity = 0, write_error = 0, read_error = 0, sync_error = 0 })
  end)
end

-- The disk of the one server that this may happen to: the others go on without its vote until it is repaired.
local function damage(sim, run)
  if run.victim then
    if sim:is_up(run.victim) then
      sim:crash(run.victim)
    end
    sim:disk(run.victim, { flip = sim:random(1, 20) })
  end
end

-- ---- clocks ----

-- Log time is not to care for it.
local function jump(sim, run)
  sim:clock(sim:pick(run.servers), { jump = (sim:chance(0.5) and 1 or -1) * mishaps.up_to(sim, 3600) })
end

-- ---- the group ----

local function transfer_or_snapshot(sim, run)
  local there = up(sim, run.servers, true)
  if #there > 0 then
    sim:probe(sim:pick(there), sim:pick { "transfer", "snapshot" })
  end
end

local function change_members(sim, run)
  if run.has_changes then
    raft_trouble.change_members(sim, run)
  end
end

local happenings = {
  stop, stop_leader, restart_all, restart_all, on_servers(mishaps.pause), on_servers(mishaps.resume),
  mishaps.partition, mishaps.cut_or_hold, mishaps.heal, mishaps.heal, on_servers(mishaps.stall), pause_holder,
  pause_holder, spoil_link, one_way, fail_disk, jump, transfer_or_snapshot, damage,
  change_members, change_members, change_members, change_members,
}

-- Ends all of it.
local function calm(sim, run)
  mishaps.calm(sim, sim:names())
  for _, name in ipairs(run.servers) do -- those whose disk failed must start anew
    sim:resume(name)
    if sim:is_up(name) and run.is_faulty then
      sim:crash(name)
    end
    sim:disk(name, { sync_error = 0, write_error = 0, read_error = 0, capacity = 0 })
    if not sim:is_up(name) then
      sim:restart(name)
    end
  end
  sim:wait_until(function() return next(run.paused) == nil end)
end

--- Lets one thing after the other happen for so many seconds, then none any more.
function M.last(sim, run, seconds)
  local finish = sim:now() + seconds
  while sim:now() < finish do
    sim:sleep(0.8 * sim:random())
    sim:pick(happenings)(sim, run)
  end
  calm(sim, run)
  sim:sleep(1)
end

return M
