-- Locks and their kin, on a store in the process; tests/sim/kv.lua has them under faults, and
-- examples/scenarios/fencing.lua a holder that stands still.
local eventually = require "tests.spec.support.eventually"
local fails = require "tests.spec.support.fails"
local use_store = require "tests.spec.support.use_store"
local fiber = require "perilune.fiber"
local lock = require "perilune.lock"

describe("perilune.lock", function()
  local store
  use_store(before_each, after_each, function(opened)
    store = opened or store
    return store
  end)

  -- The lease of a holder that is gone: nobody keeps it any more.
  local function abandon(held)
    held.ended = "lost"
  end

  describe("a mutex", function()
    it("has one holder at a time, first come first served", function()
      local mutex = lock.mutex(store, "m")
      local first = assert(mutex:acquire { value = "one" })
      fails("EBUSY", "not its turn yet: 1 before it in the line", mutex:acquire { wait = 0 })
      local order, fibers = {}, {}
      for i = 1, 3 do
        fibers[i] = fiber.spawn(function()
          local held <close> = assert(mutex:acquire())
          order[#order + 1] = i
          assert.equal(1, #mutex:line())
          assert.is_true(held:is_held())
          fiber.sleep(0.01)
          order[#order + 1] = i
        end)
        eventually(function() return #select(2, mutex:line()) == i end)
      end
      assert.equal("one", mutex:line()[1].value)
      assert.equal(0, #order)
      assert.is_true(first:release())
      assert.is_false(first:is_held())
      for _, each in ipairs(fibers) do
        assert(each:join())
      end
      assert.same({ 1, 1, 2, 2, 3, 3 }, order)
      eventually(function() return #mutex:line() == 0 end)
    end)

    it("gives tokens that grow, and refuses what comes late", function()
      local mutex = lock.mutex(store, "m", { ttl = "300ms" })
      local slow = assert(mutex:acquire())
      assert(store:put("a", "slow", { fence = slow }))
      abandon(slow)
      local fast = assert(mutex:acquire())
      assert.is_true(fast.token > slow.token)
      assert(store:put("a", "fast", { fence = fast.fence }))
      fails("ELOST", "held no more", store:put("a", "late", { fence = slow }))
      fails("ELOST", "held no more", store:append("a", "late", { fence = slow }))
      fails("ELOST", "held no more", store:increment("n", 1, { fence = slow }))
      fails("ELOST", "held no more", store:delete("a", { fence = slow }))
      fails("ELOST", "held no more", store:transact({}, { { "delete", "a" } }, { { "get", "a" } },
        { fence = slow }))
      assert.equal("fast", (store:get "a"))
      fails("EEXIST", "another revision", store:put("a", "x", { fence = fast, version = 0 }))
      local holds, results = store:transact({ { "version", "a", "=", 0 } }, {}, { { "get", "a" } },
        { fence = fast })
      assert.is_false(holds)
      assert.same({ "fast" }, { results[1][1] })
      assert.equal(1, #results)
      assert(fast:release())
      fails("ELOST", "held no more", store:put("a", "x", { fence = fast }))
    end)

    it("keeps its lease, and says when that has ended", function()
      local mutex = lock.mutex(store, "m", { ttl = "2s" }) -- a busy disk may take half a second
      local held = assert(mutex:acquire())
      fiber.sleep(3)
      assert.is_true(held:is_held())
      assert(held.lease:revoke())
      fails("ELOST", "has ended", held:join())
      assert.is_false(held:is_held())
      fails("ELOST", "had ended", held:release())
    end)

    it("goes on when a holder or who waits is cancelled", function()
      local mutex = lock.mutex(store, "m")
      local holder = fiber.spawn(function()
        local _ <close> = assert(mutex:acquire())
        fiber.sleep(60)
      end)
      eventually(function() return #mutex:line() == 1 end)
      local waiter = fiber.spawn(function() mutex:acquire() end)
      eventually(function() return #select(2, mutex:line()) == 1 end)
      waiter:cancel()
      holder:cancel()
      assert(mutex:acquire({ wait = 5 })):release()
    end)
  end)

  it("a semaphore has so many holders", function()
    local semaphore = lock.semaphore(store, "s", 2)
    local inside, most, fibers = 0, 0, {}
    for i = 1, 6 do
      fibers[i] = fiber.spawn(function()
        local _ <close> = assert(semaphore:acquire())
        inside = inside + 1
        most = math.max(most, inside)
        fiber.sleep(0.05)
        inside = inside - 1
      end)
    end
    for _, each in ipairs(fibers) do
      assert(each:join())
    end
    assert.equal(2, most)
  end)

  it("an election has one leader, whom all can see", function()
    local election = lock.election(store, "e", { ttl = "500ms" })
    assert.is_nil((election:leader()))
    local seen = {}
    local observer = fiber.spawn(function()
      for leader in election:observe() do
        seen[#seen + 1] = leader.value
      end
    end)
    local first = assert(election:campaign "one")
    assert.equal("one", election:leader().value)
    eventually(function() return #seen == 1 end)
    assert.is_true(election:proclaim(first, "one, again"))
    eventually(function() return #seen == 2 end)
    fails("EBUSY", "before", election:campaign("two", { wait = 0 }))
    local second = fiber.spawn(function() return assert(election:campaign "two") end)
    fiber.sleep(0.1)
    abandon(first) -- as when its process is gone
    local _, held = second:join()
    fails("ELOST", "held no more", election:proclaim(first, "one, late"))
    eventually(function() return #seen == 3 end)
    assert.same({ "one", "one, again", "two" }, seen)
    assert.equal(held.fence, election:leader().fence)
    observer:cancel()
    assert(held:release())
  end)

  it("a barrier lets go when so many have come, again and again", function()
    local barrier, rounds = lock.barrier(store, "b", 3), {}
    fails("EBUSY", "1 of 3", barrier:wait { wait = "50ms" })
    local function come(i)
      for k = 1, 3 do
        fiber.sleep(0.01 * i)
        rounds[#rounds + 1] = k
        assert.equal(k, barrier:wait())
      end
    end
    local fibers = {}
    for i = 1, 3 do
      fibers[i] = fiber.spawn(come, i)
    end
    for _, each in ipairs(fibers) do
      assert(each:join())
    end
    assert.same({ 1, 1, 1, 2, 2, 2, 3, 3, 3 }, rounds)
  end)

  it("a counter gives each sum once", function()
    local counter, seen = lock.counter(store, "c"), {}
    assert.equal(0, counter:read())
    local fibers = {}
    for i = 1, 10 do
      fibers[i] = fiber.spawn(function() seen[assert(counter:add())] = true end)
    end
    for _, each in ipairs(fibers) do
      assert(each:join())
    end
    assert.equal(10, #seen)
    assert.equal(10, counter:read())
    assert.equal(7, counter:add(-3))
  end)

  describe("a queue", function()
    it("gives each item to one, in order", function()
      local queue, got, fibers = lock.queue(store, "q"), {}, {}
      fails("EBUSY", "empty", queue:pop { wait = 0 })
      for i = 1, 2 do
        fibers[i] = fiber.spawn(function()
          for _ = 1, 5 do
            local value = assert(queue:pop())
            got[#got + 1] = tonumber(value)
          end
        end)
      end
      for i = 1, 10 do
        assert.equal(i, queue:push(tostring(i)))
      end
      for _, each in ipairs(fibers) do
        assert(each:join())
      end
      table.sort(got)
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, got)
      for _, value in ipairs { "a", "b", "c" } do
        assert(queue:push(value))
      end
      assert.equal(3, queue:count())
      assert.same({ "a", "b", "c" }, { (queue:pop()), (queue:pop()), (queue:pop()) })
    end)

    it("has an item again that its taker does not end", function()
      local queue = lock.queue(store, "q", { ttl = "300ms" })
      assert(queue:push "a")
      assert(queue:push "b")
      local a, b = assert(queue:take()), assert(queue:take())
      assert.same({ "a", "b" }, { a.value, b.value })
      fails("EBUSY", "empty", queue:pop { wait = 0 })
      assert.is_true(b:back())
      assert.equal("b", (queue:pop()))
      abandon(a.held)
      local again = assert(queue:take())
      assert.equal("a", again.value)
      fails("ELOST", "held no more", a:done())
      assert(store:put("result", "done", { fence = again }))
      assert.is_true(again:done())
      assert.equal(0, queue:count())
    end)
  end)

  it("raises for misuse", function()
    local function raises(pattern, fn, ...)
      local given = table.pack(...)
      local ok, err = pcall(function()
        local _ = fn(table.unpack(given, 1, given.n))
      end)
      assert.is_false(ok)
      assert.matches(pattern, err)
      assert.matches("lock_spec", err)
    end
    raises("is a store", lock.mutex, nil, "m")
    raises("is a name", lock.mutex, store, "")
    raises("unknown option tll; did you mean ttl", lock.mutex, store, "m", { tll = 1 })
    raises("whole number", lock.semaphore, store, "s", 0)
    raises("option wait", lock.mutex(store, "m").acquire, lock.mutex(store, "m"), { wait = "soon" })
    raises("fence is that of a lock", store.put, store, "a", "b", { fence = "x" })
    raises("only reads", store.transact, store, {}, {}, { { "delete", "a" } }, { fence = "1:a" })
  end)
end)
