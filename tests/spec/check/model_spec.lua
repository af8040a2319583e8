local check = require "perilune.check"
local histories = require "tests.spec.check.histories"
local perilune = require "perilune"

-- The models in C once more, in Lua.
local register = {
  init = function() return { value = nil } end,
  pure = { "read" },
  step = function(state, op)
    if op.f == "read" then
      return state.value == op.result, state
    end
    return true, { value = op.value }
  end,
}

local queue = {
  init = {},
  step = function(state, op)
    local after = table.move(state, 1, #state, 1, {})
    if op.f == "enqueue" then
      after[#after + 1] = op.value
      return true, after
    end
    local first = table.remove(after, 1)
    return op.is_unknown or first == op.result, after
  end,
}

local lock = {
  init = { token = 0 },
  by_process = true,
  step = function(state, op)
    if op.f == "release" then
      return state.holder == op.process, { token = state.token }
    end
    local token = op.result or state.token
    return state.holder == nil and (not op.result or op.result > state.token),
      { holder = op.process, token = token }
  end,
}

describe("a model in Lua", function()
  for name, model in pairs { register = register, queue = queue, lock = lock } do
    it(("gives the same verdicts as the %s in C"):format(name), function()
      for seed = 1, 300 do
        local events = histories.make(name, seed)
        local options = { shrink = false }
        assert.are.equal(check.linearizable(events, name, options).ok,
          check.linearizable(events, model, options).ok, "seed " .. seed)
      end
    end)
  end

  local function write(value)
    return { process = value, type = "invoke", f = "write", value = value },
      { process = value, type = "ok", f = "write" }
  end

  it("is asked once for each state and kind of operation", function()
    local calls, events = 0, {}
    for value = 1, 200 do
      events[#events + 1], events[#events + 2] = write(value % 2)
    end
    local verdict = check.linearizable(events, {
      init = 0,
      step = function(_, op)
        calls = calls + 1
        return true, op.value
      end,
    })
    assert.is_true(verdict.ok)
    assert.are.equal(2, calls) -- a 1 is written over 0, and a 0 over 1
  end)

  it("cuts the history as it says", function()
    local a, b = write(1)
    local c, d = write(2)
    local verdict = check.linearizable({ a, b, c, d }, {
      init = 0, step = function(state) return state == 0, 1 end,
      partition = function(op) return op.value % 2 == 0 and "even" or "odd" end,
    })
    assert.is_true(verdict.ok)
    assert.are.equal("odd", verdict.keys[1].key)
    assert.are.equal("even", verdict.keys[2].key)
  end)

  it("tells apart keys of partition that are lists by what is in them", function()
    local events = {
      { process = 1, type = "invoke", f = "write", value = 1 }, { process = 1, type = "ok", f = "write" },
      { process = 1, type = "invoke", f = "read" }, { process = 1, type = "ok", f = "read", value = 2 },
    }
    local model = { init = register.init, step = register.step, partition = function() return { "k", 1 } end }
    local verdict = check.linearizable(events, model)
    assert.are.same({ false, 1 }, { verdict.ok, #verdict.keys })
    model.partition = function() return print end
    assert.has_error(function() check.linearizable(events, model) end,
      "the key that partition gave is a function")
  end)

  it("compares states with its own function", function()
    local events, states = {}, 0
    for value = 1, 40 do
      events[#events + 1], events[#events + 2] = write(value)
    end
    check.linearizable(events, {
      init = { 0 },
      equal = function(a, b) return a[1] % 2 == b[1] % 2 end,
      step = function(state)
        states = math.max(states, state[1])
        return true, { state[1] + 1 }
      end,
    })
    assert.are.equal(1, states)
  end)

  it("is stopped inside a step that never returns", function()
    local a, b = write(1)
    local started = perilune.now()
    local verdict = assert(check.linearizable({ a, b }, {
      init = 0,
      step = function() while true do end end,
    }, { budget = 0.2 }))
    assert.is_nil(verdict.ok)
    assert.are.equal("time", verdict.keys[1].reason)
    assert.is_true(perilune.now() - started < 5)
  end)

  it("passes on what a step raises", function()
    local a, b = write(1)
    assert.error_matches(function()
      check.linearizable({ a, b }, { init = 0, step = function() error "no such account" end })
    end, "no such account")
  end)
end)
