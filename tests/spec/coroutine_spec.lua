-- The replaced coroutine library behaves like the standard one, and lets fibers wait inside coroutines.
local perilune = require "perilune"

describe("coroutine", function()
  it("passes values in and out", function()
    local co = coroutine.create(function(a, b)
      local c = coroutine.yield(a + b)
      local d, e = coroutine.yield(c * 2)
      return d, e, "end"
    end)
    assert.same({ true, 3 }, { coroutine.resume(co, 1, 2) })
    assert.same({ true, 20 }, { coroutine.resume(co, 10) })
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true, "x", "y", "end" }, { coroutine.resume(co, "x", "y") })
    assert.equal("dead", coroutine.status(co))
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
  end)

  it("gives errors as resume and wrap of the standard library do", function()
    local co = coroutine.create(function() error("boom", 0) end)
    assert.same({ false, "boom" }, { coroutine.resume(co) })
    assert.equal("dead", coroutine.status(co))
    local object = {}
    local ok, err = pcall(coroutine.wrap(function() error(object) end))
    assert.is_false(ok)
    assert.equal(object, err)
    local _, text = pcall(coroutine.wrap(function() error("deep", 0) end))
    assert.matches("deep$", text)
    local wrapped = coroutine.wrap(function() return 1 end)
    assert.equal(1, wrapped())
    assert.has_error(wrapped, "cannot resume dead coroutine")
  end)

  it("closes the variables of a wrapped coroutine that fails", function()
    local closed
    pcall(coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function(_, err) closed = err end })
      error("first", 0)
    end))
    assert.equal("first", closed)
  end)

  it("names the states", function()
    local outer
    outer = coroutine.create(function()
      assert.equal("running", coroutine.status(outer))
      local inner = coroutine.create(function() return coroutine.status(outer) end)
      return select(2, coroutine.resume(inner))
    end)
    assert.equal("suspended", coroutine.status(outer))
    assert.same({ true, "normal" }, { coroutine.resume(outer) })
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(coroutine.running()) })
  end)

  it("closes suspended coroutines, and no others", function()
    local closed = {}
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "outer" end })
      local _ <close> = setmetatable({}, { __close = function() closed[#closed + 1] = "inner" end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    assert.is_true(coroutine.close(co))
    assert.same({ "inner", "outer" }, closed)
    assert.equal("dead", coroutine.status(co))
    assert.has_error(function() coroutine.close(coroutine.running()) end, "cannot close a running coroutine")
    local failing = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() error("in close", 0) end })
      coroutine.yield()
    end)
    coroutine.resume(failing)
    assert.same({ false, "in close" }, { coroutine.close(failing) })
  end)

  it("refuses to yield from a fiber that is inside no coroutine", function()
    local ok, err = pcall(coroutine.yield)
    assert.is_false(ok)
    assert.matches("attempt to yield from outside a coroutine", err)
    assert.is_false(coroutine.isyieldable())
    assert.is_true(coroutine.wrap(function() return coroutine.isyieldable() end)())
  end)

  it("lets a fiber wait inside nested coroutines, unseen by who resumed them", function()
    local seen = {}
    local generate = coroutine.wrap(function()
      local inner = coroutine.wrap(function()
        for i = 1, 3 do
          perilune.sleep(0.001)
          coroutine.yield(i)
        end
      end)
      for _ = 1, 3 do
        perilune.yield()
        coroutine.yield(inner() * 10)
      end
    end)
    for value in generate do
      seen[#seen + 1] = value
    end
    assert.same({ 10, 20, 30 }, seen)
  end)

  it("does not let another fiber resume or close a coroutine that waits", function()
    local co = coroutine.create(function() perilune.sleep(0.02) return "slept" end)
    local sleeper = perilune.spawn(function() return coroutine.resume(co) end)
    perilune.sleep(0.005)
    assert.equal("normal", coroutine.status(co))
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
    assert.has_error(function() coroutine.close(co) end, "cannot close a normal coroutine")
    assert.same({ true, true, "slept" }, { sleeper:join() })
  end)

  it("is interrupted inside coroutines without their resumer noticing", function()
    local before = perilune.preemptions()
    local steps = 0
    local count = coroutine.wrap(function()
      local stop = perilune.now() + 0.1
      while perilune.now() < stop do
        steps = steps + 1
      end
      coroutine.yield "counted"
    end)
    assert.equal("counted", count())
    assert.is_true(perilune.preemptions() > before)
    assert.is_true(steps > 0)
  end)
end)
