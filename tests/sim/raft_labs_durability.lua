-- The labs' tests of Raft, parts C (persistence) and D (snapshots), over the harness of raft_labs.lua; what
-- each does is said in the labs' own test_test.go, in the same order.
local fiber = require "perilune.fiber"

local ET = 1 -- RaftElectionTimeout of the labs, seconds
local MAX_LOG_ENTRIES = 60 -- of the labs' 2000 bytes, at about 30 bytes an entry

local T = {}

local function test(name, n, run, options)
  T[name] = options or {}
  T[name].n, T[name].run = n, run
end

-- ---- C. persistence ----

test("TestPersist1", 3, function(cfg)
  cfg:one(11, 3, true)
  for i = 1, 3 do
    cfg:start_server(i)
  end
  for i = 1, 3 do
    cfg:connect(i)
  end
  cfg:one(12, 3, true)
  cfg:restart(cfg:check_one_leader())
  cfg:one(13, 3, true)
  local leader2 = cfg:check_one_leader()
  cfg:crash(leader2)
  local index = cfg:one(14, 2, true)
  cfg:restart(leader2)
  cfg:wait(index, 3, -1)
  local third = cfg:after(cfg:check_one_leader(), 1)
  cfg:crash(third)
  cfg:one(15, 2, true)
  cfg:restart(third)
  cfg:one(16, 3, true)
end)

test("TestPersist2", 5, function(cfg, sim)
  local number = 1
  local function next_one(expected)
    cfg:one(10 + number, expected, true)
    number = number + 1
  end
  for _ = 1, 5 do
    next_one(5)
    local leader = cfg:check_one_leader()
    local function server(k)
      return cfg:after(leader, k)
    end
    cfg:crash(server(1))
    cfg:crash(server(2))
    next_one(3)
    for _, k in ipairs { 0, 3, 4 } do
      cfg:crash(server(k))
    end
    cfg:restart(server(1))
    cfg:restart(server(2))
    sim:sleep(ET)
    cfg:restart(server(3))
    next_one(3)
    cfg:restart(server(4))
    cfg:restart(server(0))
  end
  cfg:one(1000, 5, true)
end)

test("TestPersist3", 3, function(cfg)
  cfg:one(101, 3, true)
  local leader = cfg:check_one_leader()
  cfg:disconnect(cfg:after(leader, 2))
  cfg:one(102, 2, true)
  cfg:crash(leader)
  cfg:crash(cfg:after(leader, 1))
  cfg:connect(cfg:after(leader, 2))
  cfg:restart(leader)
  cfg:one(103, 2, true)
  cfg:restart(cfg:after(leader, 1))
  cfg:one(104, 3, true)
end)

local function short_or_long_sleep(sim)
  if sim:chance(0.1) then
    sim:sleep(sim:random(0, 499) / 1000)
  else
    sim:sleep(sim:random(0, 12) / 1000)
  end
end

-- Gives all five servers a command each; the last of those reached that took it for its leader, or nil.
local function start_at_all(cfg, draw, reached)
  local leader
  for i = 1, 5 do
    if cfg:start(i, draw()) and reached[i] then
      leader = i
    end
  end
  return leader
end

test("TestFigure8", 5, function(cfg, sim)
  cfg:one(cfg:random(), 1, true)
  local up = 5
  for _ = 1, 1000 do
    local leader = start_at_all(cfg, function() return cfg:random() end, cfg.up)
    short_or_long_sleep(sim)
    if leader then
      cfg:crash(leader)
      up = up - 1
    end
    if up < 3 then
      local some = sim:random(1, 5)
      if not cfg.up[some] then
        cfg:restart(some)
        up = up + 1
      end
    end
  end
  for i = 1, 5 do
    if not cfg.up[i] then
      cfg:restart(i)
    end
  end
  cfg:one(cfg:random(), 5, true)
end)

test("TestUnreliableAgree", 5, function(cfg, sim)
  local fibers = {}
  for round = 1, 49 do
    for k = 0, 3 do
      fibers[#fibers + 1] = fiber.spawn(function()
        cfg:one(100 * round + k, 1, true)
      end)
    end
    cfg:one(round, 1, true)
  end
  cfg:set_reliable()
  for _, one in ipairs(fibers) do
    sim:assert(one:join(), "one failed")
  end
  cfg:one(100, 5, true)
end, { unreliable = true })

test("TestFigure8Unreliable", 5, function(cfg, sim)
  cfg:one(sim:random(0, 9999), 1, true)
  local up = 5
  for iteration = 1, 1000 do
    if iteration == 200 then
      cfg:set_long_reordering()
    end
    local leader = start_at_all(cfg, function() return sim:random(0, 9999) end, cfg.connected)
    short_or_long_sleep(sim)
    if leader and sim:chance(0.5) then
      cfg:disconnect(leader)
      up = up - 1
    end
    if up < 3 then
      local some = sim:random(1, 5)
      if not cfg.connected[some] then
        cfg:connect(some)
        up = up + 1
      end
    end
  end
  for i = 1, 5 do
    cfg:connect(i)
  end
  cfg:one(sim:random(0, 9999), 5, true)
end, { unreliable = true })

-- A client of the churn tests: remembers what it saw committed.
local function churn_client(cfg, sim, me, stop, seen)
  while not stop.now do
    local command, index = cfg:random(), nil
    for i = 1, 5 do
      index = cfg:start(i, command) or index
    end
    if index then
      for _, pause in ipairs { 0.01, 0.02, 0.05, 0.1, 0.2 } do
        local count_, found = cfg:committed(index)
        if count_ > 0 then
          if found == command then
            seen[#seen + 1] = command
          end
          break
        end
        sim:sleep(pause)
      end
    else
      sim:sleep((79 + 17 * me) / 1000)
    end
  end
end

local function churn_faults(cfg, sim)
  for _ = 1, 20 do
    if sim:chance(0.2) then
      cfg:disconnect(sim:random(1, 5))
    end
    if sim:chance(0.5) then
      local some = sim:random(1, 5)
      if not cfg.up[some] then
        cfg:start_server(some)
      end
      cfg:connect(some)
    end
    if sim:chance(0.2) then
      cfg:crash(sim:random(1, 5))
    end
    sim:sleep(0.7 * ET)
  end
  sim:sleep(ET)
  cfg:set_reliable()
  for i = 1, 5 do
    if not cfg.up[i] then
      cfg:start_server(i)
    end
    cfg:connect(i)
  end
end

local function churn(cfg, sim)
  local stop, seen, clients = { now = false }, {}, {}
  for me = 1, 3 do
    clients[me] = fiber.spawn(churn_client, cfg, sim, me, stop, seen)
  end
  churn_faults(cfg, sim)
  stop.now = true
  for _, client in ipairs(clients) do
    sim:assert(client:join(), "a client failed")
  end
  sim:sleep(ET)
  local last, all = cfg:one(cfg:random(), 5, true), {}
  cfg:absorb_all()
  for index in pairs(cfg.copies[1].at) do
    if index <= last then
      all[cfg:wait(index, 5, -1)] = true
    end
  end
  for _, command in ipairs(seen) do
    sim:assert(all[command], "a command that was committed is gone")
  end
end

test("TestReliableChurn", 5, churn)
test("TestUnreliableChurn", 5, churn, { unreliable = true })

-- ---- D. snapshots ----

local function snapshots(disconnects, crashes)
  return function(cfg, sim)
    cfg:one(cfg:random(), 3, true)
    local leader = cfg:check_one_leader()
    for i = 0, 29 do
      local victim, sender = cfg:after(leader, 1), leader
      if i % 3 == 1 then
        sender, victim = cfg:after(leader, 1), leader
      end
      if disconnects then
        cfg:disconnect(victim)
        cfg:one(cfg:random(), 2, true)
      elseif crashes then
        cfg:crash(victim)
        cfg:one(cfg:random(), 2, true)
      end
      for _ = 1, 5 + sim:random(0, 9) do
        cfg:start(sender, cfg:random())
      end
      cfg:one(cfg:random(), (disconnects or crashes) and 2 or 3, true)
      local size = cfg:log_size()
      sim:assert(size <= MAX_LOG_ENTRIES, ("a log of %d entries"):format(size))
      if disconnects then
        cfg:connect(victim)
      elseif crashes then
        cfg:restart(victim)
      end
      if disconnects or crashes then
        cfg:one(cfg:random(), 3, true)
        leader = cfg:check_one_leader()
      end
    end
    local _, installed = cfg:counts()
    sim:assert(disconnects or crashes or installed == 0, "a snapshot was sent for nothing")
  end
end

local function with_snapshots(unreliable)
  return { has_snapshots = true, unreliable = unreliable }
end

test("TestSnapshotBasic", 3, snapshots(false, false), with_snapshots(false))
test("TestSnapshotInstall", 3, snapshots(true, false), with_snapshots(false))
test("TestSnapshotInstallUnreliable", 3, snapshots(true, false), with_snapshots(true))
test("TestSnapshotInstallCrash", 3, snapshots(false, true), with_snapshots(false))
test("TestSnapshotInstallUnCrash", 3, snapshots(false, true), with_snapshots(true))

local function crash_all(cfg)
  for i = 1, 3 do
    cfg:crash(i)
  end
  for i = 1, 3 do
    cfg:restart(i)
  end
end

test("TestSnapshotAllCrash", 3, function(cfg, sim)
  cfg:one(cfg:random(), 3, true)
  for _ = 1, 5 do
    for _ = 1, 5 + sim:random(0, 9) do
      cfg:one(cfg:random(), 3, true)
    end
    local index1 = cfg:one(cfg:random(), 3, true)
    crash_all(cfg)
    local index2 = cfg:one(cfg:random(), 3, true)
    sim:assert(index2 > index1, "the index has gone back")
  end
end, with_snapshots(true))

test("TestSnapshotInit", 3, function(cfg)
  for _ = 1, 12 do
    cfg:one(cfg:random(), 3, true)
  end
  crash_all(cfg)
  cfg:one(cfg:random(), 3, true)
  crash_all(cfg)
  cfg:one(cfg:random(), 3, true)
end, with_snapshots(true))

return T
