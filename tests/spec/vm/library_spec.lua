--- The replaced library functions inside fibers: they give way, and their callbacks may sleep.
local fs = require "perilune.fs"
local perilune = require "perilune"

local HOSTILE = ("a?"):rep(60) .. ("a"):rep(60)
local SLICES_LATE_MAX = 0.1 -- seconds; a slice is 5 ms, but test machines are shared

--- For how many seconds this thread was ready to run while others had the processor.
local function waited()
  local nanoseconds = (fs.read "/proc/self/schedstat" or ""):match "^%d+ (%d+)"
  return (tonumber(nanoseconds) or 0) / 1e9
end

--- Runs fn while a sibling measures how late its 1 ms timers come, at worst, less what others took.
local function lateness_during(fn)
  local worst, is_done = 0, false
  local worker = perilune.spawn({ name = "worker", preemptible = true }, function()
    fn()
    is_done = true
  end)
  while not is_done do
    local others, before = waited(), perilune.now()
    perilune.sleep(0.001)
    local late = perilune.now() - before - 0.001
    worst = math.max(worst, late - (waited() - others))
  end
  assert(worker:join())
  return worst
end

describe("long C functions give way", function()
  local numbers, texts = {}, {}
  for i = 1, 200000 do
    numbers[i] = i * 7919 % 200003
    texts[i] = tostring(i)
  end
  local book = ("It was the best of times (or not), it was the worst. "):rep(100000)

  local cases = {
    ["a pattern that backtracks"] = function()
      assert(not pcall(string.find, ("a"):rep(60), HOSTILE))
    end,
    ["gsub over 5 MB"] = function() book:gsub("%a+", "<%0>") end,
    ["sort without a comparator"] = function() table.sort({ table.unpack(numbers, 1, 100000) }) end,
    ["sort with a comparator"] = function()
      table.sort({ table.unpack(numbers, 1, 50000) }, function(a, b) return a > b end)
    end,
    ["concat"] = function() table.concat(texts, ",") end,
    ["a long move"] = function() table.move(numbers, 1, 200000, 2, {}) end,
    ["rep"] = function() ("abc"):rep(5000000) end,
  }
  for name, fn in pairs(cases) do
    it(name, function()
      -- A busy machine only makes timers later: the best of three runs tells what the function does.
      local late = math.huge
      for _ = 1, 3 do
        late = late < SLICES_LATE_MAX and late or math.min(late, lateness_during(fn))
      end
      assert(late < SLICES_LATE_MAX, ("a timer came %.1f ms late"):format(late * 1000))
    end)
  end
end)

describe("callbacks may sleep", function()
  local function pause(...)
    perilune.sleep(0.001)
    return ...
  end

  it("in gsub", function()
    local sleeper = setmetatable({}, { __index = function(_, key) return pause(key .. key) end })
    assert.are.equal("[a][b]", (("ab"):gsub("%a", function(c) return pause("[" .. c .. "]") end)))
    assert.are.equal("aabb", (("ab"):gsub("%a", sleeper)))
  end)

  it("in sort", function()
    local list = { 3, 1, 2 }
    table.sort(list, function(a, b) return pause(a < b) end)
    assert.are.same({ 1, 2, 3 }, list)
  end)

  it("in __tostring and readers of load", function()
    local object = setmetatable({}, { __tostring = function() return pause("me") end })
    local parts = { "return ", "7" }
    assert.are.equal("me me", ("%s %s"):format(object, tostring(object)))
    assert.are.equal(7, load(function() return pause(table.remove(parts, 1)) end)())
  end)

  it("at the top level of a module", function()
    package.preload["vm.sleeper"] = function() return pause({ awake = true }) end
    assert.is_true(require("vm.sleeper").awake)
  end)

  it("in __gc, of which a spinning one can be cancelled", function()
    local ran = 0
    setmetatable({}, { __gc = function() ran = pause(ran + 1) end })
    collectgarbage()
    assert.are.equal(1, ran)
    local fiber = perilune.spawn({ preemptible = true }, function()
      setmetatable({}, { __gc = function() while true do end end })
      collectgarbage()
    end)
    perilune.sleep(0.02)
    fiber:cancel("enough")
    local ok, _, code = fiber:join()
    assert.is_nil(ok)
    assert.are.equal("ECANCELLED", code)
  end)
end)
