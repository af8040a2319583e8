local check = require "perilune.check"
local histories = require "tests.spec.check.histories"

-- "1 w x 5": client 1 writes 5 to x; "r" reads, "r x -" reads nothing. Each ends before the next begins.
local function history(text)
  local events = {}
  for client, f, key, value in text:gmatch "(%d) ([wr]) (%a) ([%w-]+)" do
    client, value = tonumber(client), tonumber(value)
    local name = f == "w" and "write" or "read"
    events[#events + 1] = { process = client, type = "invoke", f = name, key = key,
      value = f == "w" and value or nil, time = #events * 1000 }
    events[#events + 1] = { process = client, type = "ok", f = name, key = key, value = value,
      time = #events * 1000 }
  end
  return events
end

describe("perilune.check.sessions", function()
  it("takes keys, clients and values that are lists", function()
    local events = history "1 w x 1, 1 r x 1, 1 w x 2, 1 r x 2, 1 w y 3, 1 r x 1"
    for _, event in ipairs(events) do
      event.key, event.process, event.value = { event.key }, { event.process }, { event.value, "\xff" }
    end
    local result = check.sessions(events)
    assert.are.same({ 2, 1 }, { #result.violations, result.sessions })
    assert.are.equal("monotonic reads", result.violations[1].guarantee)
    assert.are.equal("read your writes", result.violations[2].guarantee)
    assert.is_nil(result.violations[1].sentence:find "0x%x%x")
  end)

  for _, case in ipairs {
    { "1 w x 1, 1 r x 1, 1 w x 2, 1 r x 2", nil },
    { "1 w x 1, 2 r x -, 2 r x 1", nil, "another client may be late" },
    { "1 w x 1, 1 r x -", "read your writes", 1 },
    { "2 w x 1, 1 w x 2, 1 r x 1", "read your writes", 2 },
    { "1 w x 1, 1 w x 2, 2 r x 2, 2 r x 1", "monotonic reads" },
    { "1 w x 1, 2 r x 1, 2 r x -", "monotonic reads" },
    { "1 w x 1, 1 w y 2, 2 r y 2, 2 r x -", "monotonic writes" },
    { "1 w x 1, 2 r x 1, 2 w y 2, 3 r y 2, 3 r x -", "writes follow reads" },
    { "1 r x 7", "no value out of thin air" },
  } do
    it(("finds %s in %s"):format(case[2] or "nothing wrong", case[1]), function()
      local result = check.sessions(history(case[1]))
      local names = {}
      for _, violation in ipairs(result.violations) do
        names[violation.guarantee] = violation
      end
      assert.are.equal(case[2] == nil, result.ok)
      assert.is_true(case[2] == nil or names[case[2]] ~= nil)
    end)
  end

  it("names the pair in a sentence", function()
    local result = check.sessions(history "2 w x 1, 1 w x 2, 1 r x 1")
    assert.are.equal("read your writes: c1 read 1 (key x) at 0.005 s although it had itself written 2 at "
      .. "0.003 s", result.violations[1].sentence)
    assert.are.equal("write", result.violations[1].first.f)
    assert.are.equal("read", result.violations[1].second.f)
  end)

  it("finds nothing wrong in histories that are linearizable", function()
    local judged = 0
    for seed = 1, 600 do
      local events = histories.make("register", seed, 12, 4)
      local used = 100 -- values are written once
      local written = {}
      for _, event in ipairs(events) do
        if event.f == "write" and event.type == "invoke" then
          used = used + 1
          written[event.process] = used
        end
        if event.f == "write" then
          event.value = written[event.process]
        end
      end
      -- Reads take the value that the last acknowledged write left, so the history is right again.
      local value
      for _, event in ipairs(events) do
        if event.f == "write" and event.type == "ok" then
          value = event.value
        elseif event.f == "read" and event.type == "ok" then
          event.value = value
        end
      end
      if check.linearizable(events, "register", { shrink = false }).ok then
        judged = judged + 1
        assert.is_true(check.sessions(events).ok, "seed " .. seed)
      end
    end
    assert.is_true(judged > 300, judged)
  end)

  it("refuses what has no reads and writes", function()
    local result, err, code = check.sessions {
      { process = 1, type = "invoke", f = "enqueue", value = 1 }, { process = 1, type = "ok", f = "enqueue" },
    }
    assert.is_nil(result)
    assert.are.equal("EFORMAT", code)
    assert.is_truthy(err:find("enqueue", 1, true))
  end)
end)
