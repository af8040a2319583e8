local check = require "perilune.check"
local core = require "perilune.core.check"
local evidence = require "perilune.check.evidence"
local histories = require "tests.spec.check.histories"
local json = require "perilune.json"
local oracle = require "tests.spec.check.oracle"
local perilune = require "perilune"
local planted = require "tests.spec.check.planted"

local OPERATIONS_MAX = 10

describe("a long history with one fault", function()
  for _, case in ipairs {
    { "register", "stale" }, { "register", "never" }, { "kv", "stale" }, { "kv", "never" },
    { "set", "wrong" }, { "queue", "lost" }, { "queue", "twice" }, { "counter", "stale" },
    { "counter", "never" }, { "counter", "odd" }, { "lock", "two" }, { "lock", "token" },
    { "append", "stale", 4000 }, { "append", "lost", 4000 }, { "append", "twice", 4000 },
    { "append", "order", 4000 }, { "kv", "appended stale", 10000 }, { "kv", "appended lost", 10000 },
    { "kv", "appended twice", 10000 }, { "kv", "appended order", 10000 },
  } do
    it(("is shown wrong by a few operations: %s, %s"):format(case[1], case[2]), function()
      local verdict = assert(check.linearizable(planted.make(case[1], case[2], case[3] or 20000, 8), case[1]))
      assert.is_false(verdict.ok)
      local example = verdict.keys[1].counterexample
      local operations = example.operations
      assert.is_true(#operations <= OPERATIONS_MAX, #operations)
      -- They are wrong by themselves.
      local events = {}
      for index, op in ipairs(operations) do
        local process = case[1] == "lock" and op.process or op.index or -index
        events[#events + 1] = { at = op.call, process = process, type = "invoke", f = op.f,
          value = op.value }
        if op.finish and op.finish <= example.blocked.finish then
          events[#events + 1] = { at = op.finish, process = process, type = "ok", f = op.f,
            value = op.result }
        end
      end
      table.sort(events, function(a, b)
        return a.at < b.at
      end)
      assert.is_false(check.linearizable(events, case[1]).ok)
    end)
  end

  it("is decided though the search would use up its memory", function()
    local events = planted.make("register", "never", 60000, 16)
    local verdict = assert(check.linearizable(events, "register", { memory = 24 * 1024 * 1024 }))
    assert.is_false(verdict.ok)
    assert.are.equal(1, #verdict.keys[1].counterexample.operations)
    assert.is_truthy(verdict.why:find("nothing that was asked for until then leads to that", 1, true))
  end)
end)

describe("an argument of its own", function()
  for _, model in ipairs { "counter", "lock" } do
    it(("is found exactly where the whole is wrong: %s"):format(model), function()
      local wrong = 0
      for seed = 1, 1500 do
        local events, operations = histories.make(model, seed, 8)
        local verdict = check.linearizable(events, model, { shrink = false })
        local key = verdict.keys[1]
        if key then
          local found = evidence.find(key, { deadline = perilune.now() + 60, steps = 1e7, memory = 1 << 24 })
          local is_right = oracle.is_linearizable(model, operations)
          wrong = wrong + (is_right and 0 or 1)
          assert.are.equal(is_right, found == nil, ("seed %d"):format(seed))
        end
      end
      assert.is_true(wrong > 100, wrong)
    end)
  end
end)

describe("what is seen through a few values", function()
  local VALUES = { 1, 2, 3, json.null, true, "", "x", "y", "z" }
  for model in pairs(oracle.models) do
    it(("stays right where the whole is: %s"):format(model), function()
      local seen = 0
      for seed = 1, 600 do
        local events, operations = histories.make(model, seed, 8)
        local history, all = core.history(), {}
        for number, event in ipairs(events) do
          assert(history:add(event, number))
        end
        for index = 1, (history:counts()) do
          all[index] = index
        end
        local part, random = assert(history:part(model, all)), histories.generator(seed)
        local values = { VALUES[random(1, #VALUES)], VALUES[random(1, #VALUES)], VALUES[random(1, 3)] }
        local focused = part:focus(values)
        if focused and oracle.is_linearizable(model, operations) then
          seen = seen + 1
          local search = focused:search(1 << 24)
          local result = search:run(1000000)
          assert.are.equal("legal", result, ("seed %d: %s"):format(seed, json.encode(values)))
          -- What is not in the first focus is not in a second either.
          local again = focused:focus { values[2], 1, 2, 3, "x" }
          assert.are.equal("legal", (again:search(1 << 24):run(1000000)), ("seed %d"):format(seed))
        end
      end
      assert.is_true(seen > 10 or model == "counter", seen)
    end)
  end
end)
