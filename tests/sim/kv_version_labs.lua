-- The tests of the MIT labs' server of versioned puts, and of the lock on it (6.5840 of 2025 and 2026,
-- lab 2), by their names: args.test says which. The group has one member.
--
-- A put of the labs happens when the key has that version, 0 for one that is not there. Their clerk has no
-- session: a put that is refused when it was sent again may be the one that has happened, and is "ErrMaybe".
-- The model here looks at versions that gets give and at ErrNoKey, too.
--
-- Planted bugs: --arg maybe=no, a clerk that says ErrVersion where it should say ErrMaybe; --arg lock=no, no
-- lock at all.
local fiber = require "perilune.fiber"
local harness = require "kv_labs_harness"
local history = require "perilune.history"
local kv = require "perilune.kv"
local lock = require "perilune.lock"

local M = {
  about = "the labs' tests of versioned puts and of locks", time = "30m", probes = harness.probes,
  nodes = { server = harness.nodes.server },
}

-- ---- the clerk ----

local Clerk = {}
Clerk.__index = Clerk

local function clerk_of(addresses)
  return setmetatable({ store = kv.connect(addresses, { deadline = 3000, attempt = 0.1 }) }, Clerk)
end

-- The value and its version, or nil and ErrNoKey.
function Clerk:get(key)
  local op = history.invoke("get", key)
  local value, info, code = self.store:get(key)
  assert(code == nil, info)
  op:ok(value and { value, info.version } or "ErrNoKey")
  if not value then
    return nil, "ErrNoKey"
  end
  return value, info.version
end

-- "OK", "ErrNoKey", "ErrVersion" or "ErrMaybe".
function Clerk:put(key, value, version)
  local op, is_again = history.invoke("put", key, { value, version }), false
  while true do
    local ok, result = self.store:attempt(0.1, "kv.command", 0, 0, "do", { { "version", key, "=", version } },
      { { "put", key, value, 0 } }, { { "get", key } })
    if ok then
      local answer = result[3] and "OK" or not result[4][1] and "ErrNoKey" or "ErrVersion"
      answer = answer == "ErrVersion" and is_again and args.maybe ~= "no" and "ErrMaybe" or answer
      op:ok(answer)
      return answer
    end
    is_again = true
    fiber.sleep(0.01)
  end
end

-- A state is false, or { value, version }.
local model = {
  name = "versioned put", init = false, pure = { "get" },
  partition = function(op) return op.key end,
  step = function(state, op)
    if op.f == "get" then
      local found = op.result
      return op.is_unknown or found == "ErrNoKey" and not state
        or found ~= "ErrNoKey" and state and found[1] == state[1] and found[2] == state[2], state
    end
    local value, version = table.unpack(op.value)
    if (state and state[2] or 0) == version then
      return op.is_unknown or op.result == "OK" or op.result == "ErrMaybe", { value, version + 1 }
    end
    local refusal = state and "ErrVersion" or "ErrNoKey"
    return op.is_unknown or op.result == refusal or op.result == "ErrMaybe", state
  end,
}

local function check(sim)
  sim:check(model, { shrink = false })
end

-- ---- versioned puts ----

function M.nodes.reliable_put(_, addresses)
  local clerk = clerk_of(addresses)
  assert(clerk:put("k", "6.5840", 0) == "OK")
  local value, version = clerk:get "k"
  assert(value == "6.5840" and version == 1)
  assert(clerk:put("k", "6.5840", 0) == "ErrVersion")
  assert(clerk:put("y", "6.5840", 1) == "ErrNoKey")
  assert(select(2, clerk:get "y") == "ErrNoKey")
end

-- Puts for so long; gives how many were OK.
function M.nodes.put_often(_, addresses, me, seconds)
  local clerk, count = clerk_of(addresses), 0
  local due = fiber.now() + seconds
  while fiber.now() < due do
    local value, version = clerk:get "k"
    local answer = clerk:put("k", me, value and version or 0)
    assert(answer ~= "ErrMaybe", "a put is sent again although nothing is lost")
    count = count + (answer == "OK" and 1 or 0)
  end
  return count
end

-- A hundred rounds; gives how many puts were ErrMaybe.
function M.nodes.unreliable_put(_, addresses)
  local clerk, maybe = clerk_of(addresses), 0
  for version = 0, 99 do
    local i, answer = 0
    repeat
      answer = clerk:put("k", tostring(i), version)
      assert(answer == "ErrMaybe" or answer == (i == 0 and "OK" or "ErrVersion"),
        "a put that was repeated has happened")
      maybe, i = maybe + (answer == "ErrMaybe" and 1 or 0), i + 1
    until answer ~= "ErrMaybe"
    local value, now = clerk:get "k"
    assert(value == "0" and now == version + 1, "the first put of a round is the one that has happened")
  end
  return maybe
end

-- ---- locks ----

-- Without a lock, for the planted bug.
local NO_LOCK = { acquire = function() return { release = function() return true end } end }

local function mutex_of(store, name)
  return args.lock == "no" and NO_LOCK or lock.mutex(store, name)
end

local function take(mutex)
  return assert(mutex:acquire { wait = 1000 })
end

function M.nodes.basic_lock(_, addresses)
  local letters = {}
  for i = 1, 12 do
    letters[i] = string.char(96 + fiber.random(26))
  end
  local held = take(mutex_of(kv.connect(addresses, { deadline = 3000 }), table.concat(letters)))
  assert(held:release())
end

function M.nodes.nested_locks(_, addresses)
  local store = kv.connect(addresses, { deadline = 3000 })
  local one, two = mutex_of(store, "l1"), mutex_of(store, "l2")
  local first, second = take(one), take(two)
  assert(first:release() and second:release())
  second, first = take(two), take(one)
  assert(first:release())
  first = take(one)
  assert(second:release() and first:release())
end

-- Who has the lock is alone with the key.
function M.nodes.lock_client(_, addresses, me, seconds)
  local store = kv.connect(addresses, { deadline = 3000, attempt = 0.2 })
  local clerk, count = clerk_of(addresses), 0
  local one, two = mutex_of(store, "l1"), mutex_of(store, "l2")
  take(one):release()
  take(two):release()
  local due = fiber.now() + seconds
  while fiber.now() < due do
    local held = take(one)
    local value, version = clerk:get "l0"
    assert(value == "", "somebody else has the lock, too")
    local answer = clerk:put("l0", me, version)
    assert(answer == "OK" or answer == "ErrMaybe", "somebody else has the lock, too")
    fiber.sleep(0.01)
    answer = clerk:put("l0", "", version + 1)
    assert(answer == "OK" or answer == "ErrMaybe", "somebody else has the lock, too")
    assert(held:release())
    count = count + 1
  end
  return count
end

function M.nodes.first_put(_, addresses)
  assert(clerk_of(addresses):put("l0", "", 0) ~= "ErrVersion")
end

-- ---- the tests ----

-- Runs the role on so many nodes at once: what each returned.
local function run_all(sim, config, role, count, ...)
  local given = {}
  for i = 1, count do
    sim:start(role .. i, role, config.addresses, ...)
  end
  for i = 1, count do
    local done, value = sim:join(role .. i, 600)
    sim:assert(done, role .. " ends")
    given[i] = value
  end
  return given
end

local function sum_of(numbers)
  local sum = 0
  for _, number in ipairs(numbers) do
    sum = sum + number
  end
  return sum
end

local function alone(role)
  return function(sim, config)
    run_all(sim, config, role, 1)
    check(sim)
  end
end

local function put_concurrent(sim, config)
  local puts = sum_of(run_all(sim, config, "put_often", 10, "me", 1))
  sim:start("reader", "hand_version", config.addresses)
  local _, version = sim:join("reader", 60)
  sim:assert(version == puts, ("%d puts were OK, and the version is %s"):format(puts, version))
  check(sim)
end

function M.nodes.hand_version(_, addresses)
  return select(2, clerk_of(addresses):get "k")
end

local function unreliable_net(sim, config)
  local maybe = run_all(sim, config, "unreliable_put", 1)[1]
  sim:assert(maybe > 0, "no put was ErrMaybe")
  check(sim)
end

local function locks(clients)
  return function(sim, config)
    run_all(sim, config, "first_put", 1)
    sim:assert(sum_of(run_all(sim, config, "lock_client", clients, "me", 2)) > 0, "nobody had the lock")
    check(sim)
  end
end

local TESTS = {
  TestReliablePut = { alone "reliable_put" },
  TestPutConcurrentReliable = { put_concurrent },
  TestUnreliableNet = { unreliable_net, unreliable = true },
  TestReliableBasic = { alone "basic_lock" },
  TestReliableNested = { alone "nested_locks" },
  TestOneClientReliable = { locks(1) },
  TestManyClientsReliable = { locks(10) },
  TestOneClientUnreliable = { locks(1), unreliable = true },
  TestManyClientsUnreliable = { locks(10), unreliable = true },
}

function M.run(sim)
  local case = TESTS[args.test or "TestReliablePut"]
  sim:assert(case, ("there is no test %s"):format(args.test))
  case[1](sim, harness.start(sim, { servers = 1, unreliable = case.unreliable }))
end

return M
