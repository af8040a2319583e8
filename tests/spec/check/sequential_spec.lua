local check = require "perilune.check"
local histories = require "tests.spec.check.histories"
local json = require "perilune.json"
local oracle = require "tests.spec.check.oracle"

-- Events by hand: { client, "write"|"read"|"cas", value, key }, each done before the next begins.
local function one_by_one(list)
  local events = {}
  for _, op in ipairs(list) do
    local is_read = op[2] == "read"
    events[#events + 1] = { process = op[1], type = "invoke", f = op[2], key = op[4],
      value = not is_read and op[3] or nil }
    events[#events + 1] = { process = op[1], type = "ok", f = op[2], key = op[4], value = op[3] }
  end
  return events
end

describe("perilune.check.sequential", function()
  it("lets a client read what is old, but not go back", function()
    local stale = one_by_one { { 1, "write", 1 }, { 1, "write", 2 }, { 2, "read", 1 }, { 2, "read", 2 } }
    assert.is_false(check.linearizable(stale, "register").ok)
    assert.is_true(check.sequential(stale, "register").ok)
    local back = one_by_one { { 1, "write", 1 }, { 1, "write", 2 }, { 2, "read", 2 }, { 2, "read", 1 } }
    assert.is_false(check.sequential(back, "register").ok)
  end)

  it("looks at all keys together: each alone is fine here", function()
    local crossed = one_by_one {
      { 1, "write", 1, "x" }, { 1, "read", nil, "y" }, { 2, "write", 1, "y" }, { 2, "read", nil, "x" },
    }
    local verdict = check.sequential(crossed, "register")
    assert.is_false(verdict.ok)
    assert.are.equal("not sequentially consistent", verdict.verdict)
    assert.is_truthy(verdict.why:find("no order", 1, true))
    assert.is_truthy(check.html(verdict):find("no order", 1, true))
  end)

  it("shows the few operations that have no order, of many", function()
    local list = {}
    for round = 1, 400 do
      local key = "k" .. round % 7
      list[#list + 1] = { round % 5, "write", round, key }
      list[#list + 1] = { 10 + round % 5, "read", round, key }
      if round == 200 then
        table.move({ { 1, "write", -1, "x" }, { 1, "read", nil, "y" }, { 2, "write", -1, "y" },
          { 2, "read", nil, "x" } }, 1, 4, #list + 1, list)
      end
    end
    local verdict = check.sequential(one_by_one(list), "register")
    assert.is_false(verdict.ok)
    assert.are.equal([[
no order of these 4 operations, each client's in its own, explains what they gave.
  c1  |-x: write -1-| |-y: read nil-|
  c2                                  |-y: write -1-| |-x: read nil-|
  #1 c1 x: write -1, lines 801..802
  #2 c1 y: read nil, lines 803..804
  #3 c2 y: write -1, lines 805..806
  #4 c2 x: read nil, lines 807..808
  (800 other operations are left out: they cannot make this right)]], check.text(verdict):match "\n\n(.*)")
  end)

  it("agrees with trying every order", function()
    local wrong = 0
    for seed = 1, 1500 do
      local events, operations = histories.make("cas-register", seed)
      local random = histories.generator(seed + 5)
      for _, op in ipairs(operations) do -- two objects: half of the histories then make no sense
        op.key = random(1, 3) == 1 and "y" or nil
      end
      local by_call = {}
      for _, op in ipairs(operations) do
        by_call[op.call + 1] = op
      end
      local open = {}
      for index, event in ipairs(events) do
        if event.type == "invoke" then
          open[event.process] = by_call[index]
        end
        event.key = open[event.process].key
      end
      local expected = oracle.is_sequential(operations)
      local verdict = check.sequential(events, "cas-register")
      if verdict.ok ~= expected then
        error(("seed %d should be %s:\n%s"):format(seed, expected, json.encode(events)))
      elseif not expected then -- what is shown is wrong by itself
        assert.is_false(oracle.is_sequential(verdict.keys[1].counterexample.operations), seed)
      end
      wrong = wrong + (expected and 0 or 1)
    end
    assert.is_true(wrong > 50 and wrong < 1400, wrong)
  end)

  it("stops when its steps or its memory are used up", function()
    local events = {}
    for client = 1, 40 do
      for value = 1, 6 do
        events[#events + 1] = { process = client, type = "invoke", f = "write", value = client * 10 + value }
        events[#events + 1] = { process = client, type = "ok", f = "write" }
      end
    end
    events[#events + 1] = { process = 99, type = "invoke", f = "read" }
    events[#events + 1] = { process = 99, type = "ok", f = "read", value = -1 }
    local verdict = check.sequential(events, "register", { steps = 100000 })
    assert.is_nil(verdict.ok)
    assert.are.equal("steps", verdict.keys[1].reason)
    verdict = check.sequential(events, "register", { memory = 4 * 1024 * 1024 })
    assert.are.equal("memory", verdict.keys[1].reason)
    assert.is_true(verdict.memory <= 4 * 1024 * 1024)
  end)
end)
