local perilune = require "perilune"

local function spin()
  while true do end
end

local function spin_in_pcall()
  while true do
    pcall(spin)
  end
end

-- Code that never waits, in every place where it can hide.
local SPINNERS = {
  { "a plain loop", spin },
  { "pcall", spin_in_pcall },
  { "a coroutine", function() coroutine.wrap(spin)() end },
  { "a coroutine in pcall", function()
    while true do
      pcall(coroutine.wrap(spin_in_pcall))
    end
  end },
  { "two coroutines", function()
    coroutine.wrap(function() coroutine.resume(coroutine.create(spin_in_pcall)) end)()
  end },
  { "a metamethod", function() return setmetatable({}, { __index = spin }).field end },
  { "an iterator", function() for _ in spin do end end },
  { "many short coroutines", function()
    while true do
      coroutine.wrap(function() coroutine.yield() end)()
    end
  end },
}

local SLICE = 0.005
local SLACK = 20 -- shared machines stop a process for long; the printed figure is what to look at

describe("a fiber", function()
  it("runs later, and gives its results to whoever joins", function()
    local order = {}
    local fiber = perilune.spawn(function(a, b)
      order[#order + 1] = "fiber"
      return a + b, nil, "three"
    end, 1, 2)
    order[#order + 1] = "spawner"
    assert.same({ n = 4, true, 3, nil, "three" }, table.pack(fiber:join()))
    assert.same({ n = 4, true, 3, nil, "three" }, table.pack(fiber:join()))
    assert.same({ "spawner", "fiber" }, order)
    assert.equal("done", fiber:status())
  end)

  it("gives its error, with the traceback kept", function()
    local fiber = perilune.spawn(function() error("boom") end)
    local ok, err, code = fiber:join()
    assert.is_nil(ok)
    assert.matches("fiber_spec.lua:%d+: boom", err)
    assert.equal("ELUA", code)
    assert.matches("stack traceback:\n\t.*fiber_spec.lua:%d+: in function", fiber:traceback())
    assert.is_nil(fiber:traceback():find("[C]:", 1, true))
    local object = {}
    assert.equal(object, select(2, perilune.spawn(function() error(object) end):join()))
  end)

  it("can be joined by many, and many by one", function()
    local slow = perilune.spawn(function() perilune.sleep(0.01) return "slow" end)
    local joiners = {}
    for i = 1, 10 do
      joiners[i] = perilune.spawn(function() return slow:join() end)
    end
    assert.is_true(perilune.join(table.unpack(joiners)))
    assert.same({ true, true, "slow" }, { joiners[7]:join() })
    local bad = perilune.spawn(function() error("bad", 0) end)
    assert.same({ nil, "bad", "ELUA" }, { perilune.join(slow, bad) })
  end)

  it("has a name, an id and an account", function()
    local fiber = perilune.spawn({ name = "counter" }, function() perilune.sleep(10) end)
    perilune.yield()
    local info = fiber:info()
    assert.equal("counter", fiber:name())
    assert.equal(fiber:id(), info.id)
    assert.equal("waiting", info.status)
    assert.equal("fiber.sleep", info.waits_for)
    assert.matches("fiber_spec.lua:%d+", info.where)
    assert.equal(perilune.self():id(), info.parent)
    assert.equal(1, info.switches)
    fiber:cancel()
    assert.matches("^.*fiber_spec.lua:%d+$", perilune.spawn(function() end):name())
  end)

  it("is atomic towards its siblings between two waits, while it is being interrupted", function()
    local before = perilune.preemptions()
    local counter, shadow = 0, 0
    local fibers = {}
    for i = 1, 1000 do
      fibers[i] = perilune.spawn(function()
        for _ = 1, 5 do
          local seen = counter
          for _ = 1, 2000 do end
          counter = seen + 1
          shadow = shadow + 1
          perilune.yield()
          local also_seen = counter
          coroutine.wrap(function() for _ = 1, 1000 do end end)()
          counter = also_seen + 1
          shadow = shadow + 1
        end
      end)
    end
    assert.is_true(perilune.join(table.unpack(fibers)))
    assert.equal(10000, counter)
    assert.equal(10000, shadow)
    assert.is_true(perilune.preemptions() > before, "nothing was interrupted: the test shows nothing")
  end)

  it("cannot wait below a function that cannot yield, and says so", function()
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() perilune.sleep(0) end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    local ok, err = coroutine.close(co)
    assert.is_false(ok)
    assert.matches("fiber.sleep: cannot wait here", err)
  end)

  it("refuses misuse", function()
    assert.has_error(function() perilune.spawn(5) end)
    assert.has_error(function() perilune.spawn({}, 5) end)
    assert.has_error(function() perilune.sleep(-1) end)
    assert.has_error(function() perilune.sleep(0 / 0) end)
    assert.has_error(function() perilune.self():join() end)
    assert.has_error(function() perilune.channel(-1) end)
  end)
end)

describe("time", function()
  it("passes while a fiber sleeps, never less than asked for", function()
    for _, seconds in ipairs { 0.001, 0.0105, 0.02 } do
      local start = perilune.now()
      perilune.sleep(seconds)
      assert.is_true(perilune.now() - start >= seconds)
    end
  end)

  it("wakes sleepers in order", function()
    local order, fibers = {}, {}
    for i = 1, 50 do
      local place = i * 37 % 50
      fibers[i] = perilune.spawn(function()
        perilune.sleep(0.002 * place)
        order[#order + 1] = place
      end)
    end
    perilune.join(table.unpack(fibers))
    for i = 1, 50 do
      assert.equal(i - 1, order[i])
    end
  end)

  it("drives timers and beats until they are cancelled", function()
    local once, beats = 0, 0
    local timer = perilune.timer(0.005, function(n) once = once + n end, 3)
    local called_off = perilune.timer(0.005, function() once = 100 end)
    called_off:cancel()
    local every = perilune.every(0.005, function() beats = beats + 1 end)
    perilune.sleep(0.1)
    every:cancel()
    local counted = beats
    perilune.sleep(0.02)
    assert.equal(3, once)
    assert.is_true(counted >= 3 and counted <= 20)
    assert.equal(counted, beats)
    assert.equal("done", timer:status())
  end)
end)

describe("random", function()
  it("stays within its bounds and reaches them", function()
    local seen = {}
    for _ = 1, 2000 do
      local x = perilune.random()
      assert.is_true(x >= 0 and x < 1)
      seen[perilune.random(3, 7)] = true
      assert.equal(1, perilune.random(1))
    end
    assert.same({ [3] = true, [4] = true, [5] = true, [6] = true, [7] = true }, seen)
    assert.equal("integer", math.type(perilune.random(math.mininteger, math.maxinteger)))
    assert.has_error(function() perilune.random(2, 1) end)
  end)
end)

describe("a fiber that never waits", function()
  for _, spinner in ipairs(SPINNERS) do
    it("is interrupted and cancelled inside " .. spinner[1], function()
      local start = perilune.now()
      local ok, err, code = perilune.deadline(0.03, spinner[2])
      local late = perilune.now() - start - 0.03
      assert.is_nil(ok)
      assert.equal("EDEADLINE", code)
      assert.matches("started .* with a deadline of 0.03 s, running at .+:%d+$", err)
      assert.is_true(late < SLICE * SLACK, ("%.1f ms late"):format(late * 1000))
    end)
  end

  it("is stopped inside a message handler, where nothing can yield", function()
    local start = perilune.now()
    local ok, err = perilune.spawn(function() return xpcall(error, spin_in_pcall, "raised") end):join()
    assert.is_true(ok)
    assert.is_false(err)
    assert.is_true(perilune.now() - start < 5)
  end)

  it("comes to its end although its stack is deep, where interrupting takes long", function()
    local function deep()
      return 1 + deep()
    end
    collectgarbage() -- or what other tests left would be finalized down there, where a call grows the stack
    local began = perilune.now()
    local ok, err = pcall(deep)
    assert.is_false(ok)
    assert.matches("stack overflow", err, 1, true)
    assert.is_true(perilune.now() - began < 30, perilune.now() - began .. " s")
  end)

  it("is named and cancelled at its CPU deadline", function()
    local ok, err, code = perilune.spawn({ name = "hog", cpu_deadline = 0.02 }, spin_in_pcall):join()
    assert.is_nil(ok)
    assert.matches("^fiber hog was cancelled: it ran %d+%.%d+ s without blocking, at .*_spec.lua:%d+$", err)
    assert.equal("ECPU", code)
  end)

  it("may compute longer than the CPU deadline when it waits in between", function()
    local fiber = perilune.spawn({ cpu_deadline = 0.15 }, function()
      for _ = 1, 6 do
        local stop = perilune.now() + 0.04
        while perilune.now() < stop do end
        perilune.sleep(0.001)
      end
      return "done"
    end)
    assert.same({ true, "done" }, { fiber:join() })
  end)

  it("leaves the rest in time when it is preemptible, even a hundred times", function()
    local spinners = {}
    for i = 1, 100 do
      spinners[i] = perilune.spawn({ preemptible = true, cpu_deadline = false }, spin)
    end
    local latenesses = {}
    for i = 1, 50 do
      local start = perilune.now()
      perilune.sleep(0.01)
      latenesses[i] = perilune.now() - start - 0.01
    end
    for _, each in ipairs(spinners) do
      each:cancel()
      assert.equal("ECANCELLED", select(3, each:join()))
    end
    table.sort(latenesses)
    local median, worst = latenesses[25], latenesses[50]
    print(("\n  ticking beside 100 spinners: %.1f ms late at the median, %.1f ms at worst")
      :format(median * 1000, worst * 1000))
    assert.is_true(median < SLICE * 3)
    assert.is_true(worst < SLICE * 3 * SLACK)
  end)

  it("shares with its equals when it is preemptible", function()
    local counts, fibers = { 0, 0, 0 }, {}
    for i = 1, 3 do
      fibers[i] = perilune.spawn({ preemptible = true }, function()
        while true do
          counts[i] = counts[i] + 1
        end
      end)
    end
    perilune.sleep(0.2)
    for i = 1, 3 do
      fibers[i]:cancel()
      assert.is_true(counts[i] > 0)
    end
  end)

  it("keeps the baton in atomic although it is preemptible", function()
    local value = 0
    local other = perilune.spawn({ preemptible = true }, function()
      while true do
        value = value + 1
      end
    end)
    local watcher = perilune.spawn({ preemptible = true }, function()
      return perilune.atomic(function()
        local seen, stop = value, perilune.now() + 0.05
        while perilune.now() < stop do end
        return value == seen
      end)
    end)
    assert.same({ true, true }, { watcher:join() })
    other:cancel()
    local failing = perilune.spawn(function() perilune.atomic(error, "inside", 0) end)
    assert.equal("inside", select(2, failing:join()))
  end)
end)

describe("cancelling", function()
  local function cancelled(fiber, reason)
    fiber:cancel(reason)
    local ok, err, code = fiber:join()
    assert.is_nil(ok)
    assert.equal("ECANCELLED", code)
    assert.equal("cancelled", fiber:status())
    return err
  end

  local closed

  local function guarded(fn, ...)
    local args = table.pack(...)
    return function()
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      pcall(fn, table.unpack(args))
      closed = "went on"
    end
  end

  before_each(function() closed = 0 end)

  it("reaches a fiber in every state, past pcall, and runs __close", function()
    local channel = perilune.channel()
    local sleeper = perilune.spawn(perilune.sleep, 100)
    local waits = {
      guarded(perilune.sleep, 100),
      guarded(function() channel:recv() end),
      guarded(function() channel:send(1) end),
      guarded(function() perilune.select { { channel, "recv" }, timeout = 100 } end),
      guarded(function() sleeper:join() end),
      guarded(function() perilune.deadline(100, perilune.sleep, 100) end),
      guarded(function() while true do perilune.yield() end end),
    }
    for i, wait in ipairs(waits) do
      if i == 2 or i == 3 then
        channel = perilune.channel() -- else one would serve the other
      end
      local fiber = perilune.spawn({ name = "victim" }, wait)
      perilune.yield()
      assert.equal("fiber victim was cancelled: enough", cancelled(fiber, "enough"))
      assert.equal(i, closed)
    end
    cancelled(sleeper)
  end)

  it("never starts a fiber that was cancelled before it ran", function()
    local ran = false
    cancelled(perilune.spawn(function() ran = true end))
    assert.is_false(ran)
  end)

  it("reaches a fiber that was interrupted", function()
    local fiber = perilune.spawn({ preemptible = true }, guarded(spin_in_pcall))
    perilune.sleep(0.02)
    cancelled(fiber)
    assert.equal(1, closed)
  end)

  it("closes nested coroutines, innermost first", function()
    local order = {}
    local function leave(name)
      return setmetatable({}, { __close = function() order[#order + 1] = name end })
    end
    local fiber = perilune.spawn(function()
      local _ <close> = leave "fiber"
      coroutine.wrap(function()
        local _ <close> = leave "outer"
        coroutine.resume(coroutine.create(function()
          local _ <close> = leave "inner"
          perilune.sleep(100)
        end))
      end)()
    end)
    perilune.yield()
    cancelled(fiber)
    assert.same({ "inner", "outer", "fiber" }, order)
  end)

  it("takes the children along, but not those that are detached", function()
    local child, grandchild, detached
    local parent = perilune.spawn({ name = "parent" }, function()
      child = perilune.spawn(function()
        grandchild = perilune.spawn(perilune.sleep, 100)
        perilune.sleep(100)
      end)
      detached = perilune.spawn({ detached = true }, perilune.sleep, 100)
      perilune.sleep(100)
    end)
    perilune.sleep(0.001)
    cancelled(parent, "why not")
    assert.matches("its parent parent was cancelled: why not", select(2, child:join()))
    assert.equal("ECANCELLED", select(3, grandchild:join()))
    assert.equal("waiting", detached:status())
    cancelled(detached)
  end)

  it("leaves children to the grandparent when a fiber just ends", function()
    local child
    local parent = perilune.spawn(function()
      local middle = perilune.spawn(function() child = perilune.spawn(perilune.sleep, 100) end)
      middle:join()
      perilune.sleep(100)
    end)
    perilune.sleep(0.001)
    assert.equal("waiting", child:status())
    assert.equal(parent:id(), child:info().parent)
    cancelled(parent)
    assert.equal("ECANCELLED", select(3, child:join()))
  end)

  it("of itself does not return", function()
    local after = false
    local fiber = perilune.spawn(function()
      pcall(function()
        perilune.self():cancel "suicide"
        after = true
      end)
      after = true
    end)
    assert.matches("suicide", select(2, fiber:join()))
    assert.is_false(after)
  end)

  it("bounds __close handlers, even those that catch errors", function()
    local fiber = perilune.spawn(function()
      local _ <close> = setmetatable({}, { __close = spin_in_pcall })
      perilune.sleep(100)
    end)
    perilune.yield()
    local start = perilune.now()
    cancelled(fiber)
    assert.is_true(perilune.now() - start < 2)
  end)

  it("has no effect on a fiber that has ended", function()
    local fiber = perilune.spawn(function() return "result" end)
    fiber:join()
    fiber:cancel()
    assert.same({ true, "result" }, { fiber:join() })
  end)
end)

describe("deadline", function()
  it("gives what the function returns or raises when that is in time", function()
    assert.same({ 1, 2 }, { perilune.deadline(10, function(a) return a, 2 end, 1) })
    assert.has_error(function() perilune.deadline(10, error, "raised", 0) end, "raised")
  end)

  it("says who, since when and why when it passes", function()
    local fiber = perilune.spawn({ name = "late", deadline = 0.01 }, function() perilune.channel():recv() end)
    local ok, err, code = fiber:join()
    assert.is_nil(ok)
    assert.matches("^fiber late passed its deadline: started 0%.%d+ s ago with a deadline of 0.01 s, "
      .. "channel.recv at .*fiber_spec.lua:%d+$", err)
    assert.equal("EDEADLINE", code)
  end)

  it("nests: the outer one ends the inner, the inner leaves the outer alone", function()
    local inner_code
    local outer = table.pack(perilune.deadline(5, function()
      inner_code = select(3, perilune.deadline(0.01, perilune.sleep, 100))
      return "outer goes on"
    end))
    assert.equal("EDEADLINE", inner_code)
    assert.equal("outer goes on", outer[1])
    local reached = false
    local _, _, code = perilune.deadline(0.01, function()
      perilune.deadline(5, perilune.sleep, 100)
      reached = true
    end)
    assert.equal("EDEADLINE", code)
    assert.is_false(reached)
  end)
end)

describe("many fibers", function()
  it("leave nothing behind", function()
    local alive = #perilune.fibers()
    local function round(count)
      for _ = 1, count do
        local fiber = perilune.spawn(function() coroutine.wrap(function() perilune.yield() end)() end)
        fiber:join()
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    round(2000)
    local before = round(2000)
    local after = round(20000)
    assert.is_true(after - before < 100, ("%.0f KB more"):format(after - before))
    assert.equal(alive, #perilune.fibers())
  end)

  it("can all be alive at once", function()
    local count = 0
    for _ = 1, 10000 do
      perilune.spawn(function()
        perilune.sleep(0.01)
        count = count + 1
      end)
    end
    perilune.settle()
    assert.equal(10000, count)
  end)
end)
