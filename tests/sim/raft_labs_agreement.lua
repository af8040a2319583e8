-- The labs' tests of Raft, parts A (election) and B (log), over the harness of raft_labs.lua; what each does
-- is said in the labs' own test_test.go, in the same order.
local fiber = require "perilune.fiber"

local ET = 1 -- RaftElectionTimeout of the labs, seconds

local T = {}

local function test(name, n, run, options)
  T[name] = options or {}
  T[name].n, T[name].run = n, run
end

-- ---- A. election ----

test("TestInitialElection", 3, function(cfg, sim)
  cfg:check_one_leader()
  sim:sleep(0.05)
  sim:assert(cfg:check_terms() >= 1, "term is 0")
  sim:sleep(2 * ET)
  cfg:check_terms()
  cfg:check_one_leader()
end)

test("TestReElection", 3, function(cfg, sim)
  local leader1 = cfg:check_one_leader()
  cfg:disconnect(leader1)
  cfg:check_one_leader()
  cfg:connect(leader1)
  local leader2 = cfg:check_one_leader()
  cfg:disconnect(leader2)
  cfg:disconnect(cfg:after(leader2, 1))
  sim:sleep(2 * ET)
  cfg:check_no_leader()
  cfg:connect(cfg:after(leader2, 1))
  cfg:check_one_leader()
  cfg:connect(leader2)
  cfg:check_one_leader()
end)

test("TestManyElections", 7, function(cfg, sim)
  cfg:check_one_leader()
  for _ = 1, 9 do
    local some = { sim:random(1, 7), sim:random(1, 7), sim:random(1, 7) }
    for _, i in ipairs(some) do
      cfg:disconnect(i)
    end
    cfg:check_one_leader()
    for _, i in ipairs(some) do
      cfg:connect(i)
    end
  end
  cfg:check_one_leader()
end)

-- ---- B. log ----

test("TestBasicAgree", 3, function(cfg, sim)
  for number = 1, 3 do
    cfg:absorb_all()
    for i = 1, 3 do
      sim:assert(not cfg.copies[i] or #cfg.copies[i].list < number, "some have committed before start")
    end
    local index = cfg:one(number * 100, 3, false)
    sim:assert(cfg:number(index) == number, "got another index than expected")
  end
end)

test("TestRPCBytes", 3, function(cfg, sim)
  cfg:one(99, 3, false)
  local before, sent = sim:stats().bytes, 0
  for number = 2, 11 do
    local command = {}
    for i = 1, 5000 do
      command[i] = string.char(97 + sim:random(0, 25))
    end
    command = table.concat(command)
    sim:assert(cfg:number(cfg:one(command, 3, false)) == number, "wrong index")
    sent = sent + #command
  end
  local used = sim:stats().bytes - before
  sim:assert(used <= 3 * sent + 50000, ("too many bytes: %d for %d"):format(used, sent))
end)

test("TestFollowerFailure", 3, function(cfg, sim)
  cfg:one(101, 3, false)
  local leader1 = cfg:check_one_leader()
  cfg:disconnect(cfg:after(leader1, 1))
  cfg:one(102, 2, false)
  sim:sleep(ET)
  cfg:one(103, 2, false)
  local leader2 = cfg:check_one_leader()
  cfg:disconnect(cfg:after(leader2, 1))
  cfg:disconnect(cfg:after(leader2, 2))
  local index = cfg:start(leader2, 104)
  sim:assert(index, "the leader refuses a command")
  sim:sleep(2 * ET)
  sim:assert(cfg:committed(index) == 0, "committed without a majority")
end)

test("TestLeaderFailure", 3, function(cfg, sim)
  cfg:one(101, 3, false)
  cfg:disconnect(cfg:check_one_leader())
  cfg:one(102, 2, false)
  sim:sleep(ET)
  cfg:one(103, 2, false)
  cfg:disconnect(cfg:check_one_leader())
  local index
  for i = 1, 3 do
    index = cfg:start(i, 104) or index
  end
  sim:sleep(2 * ET)
  sim:assert(not index or cfg:committed(index) == 0, "committed without a majority")
end)

test("TestFailAgree", 3, function(cfg, sim)
  cfg:one(101, 3, false)
  local leader = cfg:check_one_leader()
  cfg:disconnect(cfg:after(leader, 1))
  cfg:one(102, 2, false)
  cfg:one(103, 2, false)
  sim:sleep(ET)
  cfg:one(104, 2, false)
  cfg:one(105, 2, false)
  cfg:connect(cfg:after(leader, 1))
  cfg:one(106, 3, true)
  sim:sleep(ET)
  cfg:one(107, 3, true)
end)

test("TestFailNoAgree", 5, function(cfg, sim)
  local first = cfg:one(10, 5, false)
  local leader = cfg:check_one_leader()
  for k = 1, 3 do
    cfg:disconnect(cfg:after(leader, k))
  end
  local index = cfg:start(leader, 20)
  sim:assert(index == first + 1, "the leader refuses a command, or gives it another index")
  sim:sleep(2 * ET)
  sim:assert(cfg:committed(index) == 0, "committed without a majority")
  for k = 1, 3 do
    cfg:connect(cfg:after(leader, k))
  end
  local leader2 = cfg:check_one_leader()
  local index2 = cfg:start(leader2, 30)
  sim:assert(index2 and index2 > first, "the leader refuses a command")
  cfg:one(1000, 5, true)
end)

local function concurrent_starts(cfg, sim)
  local leader = cfg:check_one_leader()
  local index, term = cfg:start(leader, 1)
  if not index then
    return false
  end
  local indexes, fibers = {}, {}
  for k = 0, 4 do
    fibers[#fibers + 1] = fiber.spawn(function()
      local at, its = cfg:start(leader, 100 + k)
      if at and its == term then
        indexes[#indexes + 1] = at
      end
    end)
  end
  for _, one in ipairs(fibers) do
    sim:assert(one:join(), "start failed")
  end
  for i = 1, 3 do
    if cfg:state(i) ~= term then
      return false
    end
  end
  local found = {}
  for _, at in ipairs(indexes) do
    local command = cfg:wait(at, 3, term)
    if command == -1 then
      return false
    end
    found[command] = true
  end
  for k = 0, 4 do
    sim:assert(found[100 + k], ("command %d is missing"):format(100 + k))
  end
  return true
end

test("TestConcurrentStarts", 3, function(cfg, sim)
  for try = 1, 5 do
    if try > 1 then
      sim:sleep(3)
    end
    if concurrent_starts(cfg, sim) then
      return
    end
  end
  sim:fail "term changed too often"
end)

test("TestRejoin", 3, function(cfg)
  cfg:one(101, 3, true)
  local leader1 = cfg:check_one_leader()
  cfg:disconnect(leader1)
  for command = 102, 104 do
    cfg:start(leader1, command)
  end
  cfg:one(103, 2, true)
  local leader2 = cfg:check_one_leader()
  cfg:disconnect(leader2)
  cfg:connect(leader1)
  cfg:one(104, 2, true)
  cfg:connect(leader2)
  cfg:one(105, 3, true)
end)

test("TestBackup", 5, function(cfg, sim)
  cfg:one(cfg:random(), 5, true)
  local leader1 = cfg:check_one_leader()
  for k = 2, 4 do
    cfg:disconnect(cfg:after(leader1, k))
  end
  for _ = 1, 50 do
    cfg:start(leader1, cfg:random())
  end
  sim:sleep(ET / 2)
  cfg:disconnect(leader1)
  cfg:disconnect(cfg:after(leader1, 1))
  for k = 2, 4 do
    cfg:connect(cfg:after(leader1, k))
  end
  for _ = 1, 50 do
    cfg:one(cfg:random(), 3, true)
  end
  local leader2 = cfg:check_one_leader()
  local other = cfg:after(leader1, 2)
  if leader2 == other then
    other = cfg:after(leader2, 1)
  end
  cfg:disconnect(other)
  for _ = 1, 50 do
    cfg:start(leader2, cfg:random())
  end
  sim:sleep(ET / 2)
  for i = 1, 5 do
    cfg:disconnect(i)
  end
  cfg:connect(leader1)
  cfg:connect(cfg:after(leader1, 1))
  cfg:connect(other)
  for _ = 1, 50 do
    cfg:one(cfg:random(), 3, true)
  end
  for i = 1, 5 do
    cfg:connect(i)
  end
  cfg:one(cfg:random(), 5, true)
end)

-- One try of TestCount: nil when terms changed on the way.
local function count(cfg, sim)
  local leader = cfg:check_one_leader()
  local before = cfg:counts()
  local first, term = cfg:start(leader, 1)
  if not first then
    return nil
  end
  local commands = {}
  for k = 1, 11 do
    commands[k] = cfg:random()
    local index, its = cfg:start(leader, commands[k])
    if not index or its ~= term then
      return nil
    end
    sim:assert(index == first + k, "start gives indexes that do not follow each other")
  end
  for k = 1, 10 do
    local command = cfg:wait(first + k, 3, term)
    if command ~= commands[k] then
      sim:assert(command == -1, "wrong value committed")
      return nil
    end
  end
  for i = 1, 3 do
    if cfg:state(i) ~= term then
      return nil
    end
  end
  return cfg:counts() - before
end

-- The labs count requests; an envelope may hold requests or answers, so there may be twice as many.
test("TestCount", 3, function(cfg, sim)
  cfg:check_one_leader()
  local first = cfg:counts()
  sim:assert(first >= 1 and first <= 2 * 30, ("%d envelopes to elect a leader"):format(first))
  for try = 1, 5 do
    if try > 1 then
      sim:sleep(3)
    end
    local used = count(cfg, sim)
    if used then
      sim:assert(used <= (10 + 1 + 3) * 3, ("%d envelopes for 12 commands"):format(used))
      local before = cfg:counts()
      sim:sleep(ET)
      local idle = cfg:counts() - before
      sim:assert(idle <= 3 * 20, ("%d envelopes in a second of idleness"):format(idle))
      return
    end
  end
  sim:fail "term changed too often"
end)

return T
