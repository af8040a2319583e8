-- Kills nodes of a cluster with kill -9 at random moments while clients work, and judges what is left.
--
--   perilune run tests/live/raft_kill.lua [KILLS [CLIENTS]]     the last line is "kills=N failures=M"
local cluster_of = require "cluster"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local history = require "perilune.history"
local process = require "perilune.process"

local KILLS, CLIENTS = math.tointeger((...)) or 200, math.tointeger((select(2, ...))) or 16
local JUDGED_EVERY = 20

local function pick(list)
  return list[fiber.random(#list)]
end

-- Whom to kill: mostly who leads, now and then several, or all.
local function victims_of(cluster)
  local running, chance = cluster:running(), fiber.random()
  if chance < 0.5 then
    return { cluster:leader() or pick(running) }
  elseif chance < 0.75 then
    return { pick(running) }
  elseif chance < 0.9 then
    table.remove(running, fiber.random(#running))
  end
  return running
end

-- Mostly some writes are acknowledged before the next kill; now and then there is not even a leader.
local function work_for_a_while(cluster)
  if fiber.random() < 0.7 then
    local wanted = cluster.acknowledged_count + fiber.random(60)
    cluster_of.wait(function() return cluster.acknowledged_count >= wanted end, 5)
  end
  fiber.sleep(0.2 * fiber.random() ^ 2)
end

-- Kills, waits, and starts them again; now and then they die once more while they start. Returns how many
-- died.
local function kill_some(cluster)
  local count, victims = 0, victims_of(cluster)
  for _, id in ipairs(victims) do
    cluster:kill(id)
    count = count + 1
  end
  if #cluster:running() == 0 then
    cluster:all_are_down()
  end
  fiber.sleep(0.3 * fiber.random() ^ 2)
  if fiber.random() < 0.25 then
    local id = pick(victims)
    cluster:start(id)
    fiber.sleep(0.06 * fiber.random())
    cluster:kill(id)
    count = count + 1
  end
  cluster:start_all()
  return count
end

local function judge(cluster)
  cluster:stop_clients()
  cluster:start_all()
  cluster:judge()
end

-- Linearizable? Asked of the command that people ask.
local function check(cluster, path)
  local result = assert(process.run { assert(process.executable()), "check", "--model", "register", path })
  print((result.stdout:gsub("\n$", "")))
  if result.status ~= 0 then
    cluster:problem("perilune check: exit code %s: %s", result.status, result.stderr)
  end
end

local folder = assert(fs.tempdir "raft-kill")
assert(history.file(folder .. "/history.jsonl"))
local cluster = cluster_of.new(folder)
local kills, judged, started = 0, 0, fiber.now()
cluster:start_all()
cluster:await_leader()
cluster:start_clients(CLIENTS)
while kills < KILLS do
  work_for_a_while(cluster)
  cluster.round = cluster.round + 1
  kills = kills + kill_some(cluster)
  if kills >= judged + JUDGED_EVERY then
    judge(cluster)
    judged = kills
    cluster:start_clients(CLIENTS)
  end
end
judge(cluster)
history.close()
check(cluster, folder .. "/history.jsonl")
cluster:close()
local failures = #cluster.problems
if failures == 0 then
  assert(fs.remove(folder, { recursive = true }))
else
  print("what is left lies in " .. folder)
end
print(("acknowledged=%d seconds=%.1f"):format(cluster.acknowledged_count, fiber.now() - started))
print(("kills=%d failures=%d"):format(kills, failures))
os.exit(failures == 0 and 0 or 1)
