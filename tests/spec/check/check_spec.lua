local check = require "perilune.check"
local perilune = require "perilune"

local function done(process, f, value, result, key)
  return { process = process, type = "invoke", f = f, value = value, key = key },
    { process = process, type = "ok", f = f, value = result, key = key }
end

-- Histories of n writers that overlap and add even numbers, and a read of an odd one: every order has to be
-- tried to know that it is wrong.
local function hard(writers)
  local events = {}
  for round = 1, 3 do
    for client = 1, writers do
      table.insert(events, { process = client, type = "invoke", f = "add", value = 2 ^ client // 1 | 0 })
    end
    for client = 1, writers do
      table.insert(events, { process = client, type = "ok", f = "add" })
    end
    table.insert(events, { process = 100 + round, type = "invoke", f = "read" })
  end
  table.insert(events, { process = 101, type = "ok", f = "read",
    value = 2 ^ (writers + 1) // 1 - 1 | 0 })
  return events
end

describe("perilune.check", function()
  it("takes events from Lua and gives a verdict with an order", function()
    local a, b = done(1, "write", 5, nil, "x")
    local c, d = done(2, "read", nil, 5, "x")
    local verdict = assert(check.linearizable({ a, b, c, d }, "register"))
    assert.is_true(verdict.ok)
    assert.are.equal("linearizable", verdict.verdict)
    assert.are.equal("x", verdict.keys[1].key)
    assert.are.equal(2, verdict.operations)
    assert.are.equal("linearizable: 2 operations, 2 steps", check.text(verdict))
  end)

  it("says what contradicts what, and draws it", function()
    local verdict = assert(check.linearizable(assert(check.read "tests/data/histories/stale_read.jsonl"),
      "register"))
    assert.are.equal("c3 read 4 at 12.028 s although c1's write of 5 had been acknowledged at 12.020 s",
      verdict.why)
    assert.are.equal([[
not linearizable: 4 operations, 4 steps

c3 read 4 at 12.028 s although c1's write of 5 had been acknowledged at 12.020 s.
  c1  |-write 4-| |-write 5-|
  c3                          |-read 4-|
  #1 c1 write 4, 12.000..12.004 s
  #2 c1 write 5, 12.008..12.020 s
  #3 c3 read 4, 12.024..12.028 s  <- cannot be
  (1 other operation is left out: it cannot make this right)]], check.text(verdict))
  end)

  it("names an earlier read that saw more", function()
    local verdict = assert(check.linearizable(
      assert(check.read "tests/data/histories/new_old_inversion.jsonl"), "register"))
    assert.are.equal("c3 read 1 at 12.024 s although c2 had already read 2 at 12.016 s", verdict.why)
  end)

  it("claims of an operation that is left out only what is so", function()
    local events = {}
    for _, value in ipairs { 1, 3, 3, 1 } do
      events[#events + 1], events[#events + 2] = done(1, "write", value)
    end
    events[#events + 1], events[#events + 2] = done(1, "read", nil, 3)
    local verdict = assert(check.linearizable(events, "register"))
    local example = verdict.keys[1].counterexample
    assert.are.equal(3, #example.operations)
    -- The second write of 3 could have come right before the read: it is not one that does not matter.
    assert.are.same({ 1, 1 }, { example.others, example.repeated })
    assert.is_truthy(check.text(verdict):find("(1 more left out: a later one does the same again)", 1, true))
  end)

  it("lets no control byte and no half of a character through", function()
    local a, b = done("\27[31m\xc2\x9b2J", "write", ("é"):rep(30), nil, "\xc2\x9b\7")
    local c, d = done("née" .. ("é"):rep(9), "read", nil, ("é"):rep(30) .. "x", "\xc2\x9b\7")
    local text = check.text(assert(check.linearizable({ a, b, c, d }, "register")))
    assert.is_nil(text:find "[\0-\9\11-\31\127]")
    assert.is_nil(text:find "\xc2[\x80-\x9f]")
    assert.is_truthy(utf8.len(text))
  end)

  it("takes numbers for equal exactly when they are", function()
    local function judge(written, read)
      return check.linearizable(assert(check.parse((
        "{:process 1 :type :invoke :f :write :value %s}\n{:process 1 :type :ok :f :write}\n"
        .. "{:process 1 :type :invoke :f :read}\n{:process 1 :type :ok :f :read :value %s}"):format(written,
        read))), "register").ok
    end
    assert.is_true(judge("1000000000000000000", "1e18"))
    assert.is_true(judge("-9223372036854775808", "-9223372036854775808.0"))
    assert.is_false(judge("9223372036854775807", "9223372036854775808.0"))
    assert.is_false(judge("9007199254740993", "9007199254740992.0"))
    local history, err, code = check.parse "{:process 1 :type :invoke :f :write :value 9223372036854775808}"
    assert.are.same({ nil, "line 1: 9223372036854775808 has more than 64 bits", "EFORMAT" },
      { history, err, code })
  end)

  it("gives each key its verdict", function()
    local history = assert(check.read "tests/data/histories/kv_two_keys.jsonl")
    local verdict = assert(check.linearizable(history, "kv"))
    assert.is_false(verdict.keys[1].ok)
    assert.is_true(verdict.keys[2].ok)
    assert.are.equal("y", verdict.keys[2].key)
    assert.is_truthy(check.text(verdict):find("key x: not linearizable", 1, true))
  end)

  it("is undecided when its steps are used up, and says where many operations are open", function()
    local verdict = assert(check.linearizable(hard(16), "counter", { steps = 50000 }))
    assert.is_nil(verdict.ok)
    assert.are.equal("undecided", verdict.verdict)
    assert.are.equal("steps", verdict.keys[1].reason)
    assert.are.equal(17, verdict.keys[1].window.open)
    assert.is_truthy(verdict.why:find("at most 17 operations are open at a time", 1, true))
    assert.is_true(verdict.steps < 100000)
  end)

  it("keeps to its memory", function()
    local verdict = assert(check.linearizable(hard(16), "counter", { memory = 300 * 1000 }))
    assert.are.equal("memory", verdict.keys[1].reason)
    assert.is_true(verdict.memory <= 300 * 1000)
  end)

  it("keeps to its time", function()
    local started = perilune.now()
    local verdict = assert(check.linearizable(hard(24), "counter", { budget = 0.3 }))
    assert.is_nil(verdict.ok)
    assert.are.equal("time", verdict.keys[1].reason)
    assert.is_true(perilune.now() - started < 3)
  end)

  it("decides the other keys though one is too hard", function()
    local events = hard(20)
    for _, event in ipairs(events) do
      event.key = "hard"
    end
    local a, b = done(7, "add", 1, nil, "easy")
    local c, d = done(8, "read", nil, 7, "wrong")
    for _, event in ipairs { a, b, c, d } do
      events[#events + 1] = event
    end
    local verdict = assert(check.linearizable(events, "counter", { steps = 200000 }))
    assert.is_nil(verdict.keys[1].ok)
    assert.is_true(verdict.keys[2].ok)
    assert.is_false(verdict.keys[3].ok)
    assert.is_false(verdict.ok)
  end)

  it("takes the same steps every time", function()
    local steps
    for _ = 1, 3 do
      local verdict = assert(check.linearizable(hard(7), "counter"))
      steps = steps or verdict.steps
      assert.are.equal(steps, verdict.steps)
    end
  end)

  for _, case in ipairs {
    { { { process = 1, type = "ok", f = "read" } }, "event 1: ok of client 1, which has no open operation" },
    { { { process = 1, type = "invoke", f = "read" }, { process = 1, type = "invoke", f = "read" } },
      "event 2: client 1 invokes an operation while its read of line 1 is open" },
    { { { process = 1, type = "invoke", f = "read" }, { process = 1, type = "ok", f = "write" } },
      "event 2: client 1 completes write, but its open operation is the read of line 1" },
    { { { type = "invoke", f = "read" } }, "event 1: an event needs a process" },
    { { { process = 1, type = "invoke" } }, "event 1: an invocation needs f" },
    { { { process = 1, type = "begin", f = "read" } }, "event 1: type must be invoke, ok, fail or info" },
    { { 5 }, "event 1 is a number, not a table" },
    { { { process = 1, type = "invoke", f = "jump" } },
      "line 1: the model register has no such operation as this jump; it has read, write" },
  } do
    it("refuses: " .. case[2], function()
      local verdict, err, code = check.linearizable(case[1], "register")
      assert.is_nil(verdict)
      assert.are.equal(case[2], err)
      assert.are.equal("EFORMAT", code)
    end)
  end

  for _, case in ipairs {
    { '{"process":1', "line 1: column 12: '}' expected near end of file" },
    { '\n\n{"process":1,"type":"invoke","f":"read"}\n[]', "line 4: an event is a JSON object" },
    { '{"process":1,"process":2}', "line 1: column 22: duplicate object key near '\"process\"'" },
    { '{:process 0, :type :invoke, :f :read', "line 1: '}' is missing" },
    { '{:process 0, :type :begin}', "line 1: :type must be :invoke, :ok, :fail or :info" },
    { '{:process "x}', "line 1: a string does not end" },
    { "x 1\t:invoke\t:read\tnil\nx 1\t:ok\t:cas\tnil",
      "line 2: client 1 completes cas, but its open operation is the read of line 1" },
    { "x 1\t:invoke\t:cas\t[1 2", "line 1: ']' is missing" },
  } do
    it("names the line: " .. case[2], function()
      local history, err, code = check.parse(case[1])
      assert.is_nil(history)
      assert.are.equal(case[2], err)
      assert.are.equal("EFORMAT", code)
    end)
  end

  it("reads values of every kind alike from JSON and from Lua", function()
    local history = assert(check.parse('{"process":"p","type":"invoke","f":"write","value":'
      .. '{"a":[1,null,2.5,true],"b":"\\u0000é"}}\n{"process":"p","type":"ok","f":"write"}'))
    local op = history:operation(1)
    assert.are.equal("p", op.process)
    assert.are.equal(2.5, op.value.a[3])
    assert.are.equal("\0é", op.value.b)
    assert.is_true(op.value.a[4])
    local verdict = check.linearizable({
      { process = 1, type = "invoke", f = "write", value = { b = 2, a = { 1, 2 } } },
      { process = 1, type = "ok", f = "write" },
      { process = 1, type = "invoke", f = "read" },
      { process = 1, type = "ok", f = "read", value = { a = { 1, 2.0 }, b = 2 } },
    }, "register")
    assert.is_true(verdict.ok)
  end)

  it("raises for misuse, naming it", function()
    assert.has_error(function() check.linearizable({}, "regster") end,
      "check.linearizable: no model is called regster; did you mean register?")
    assert.error_matches(function() check.linearizable({}, "stack") end,
      "no model is called stack; there are register, cas%-register")
    assert.error_matches(function() check.linearizable(5, "register") end, "a history is a list of events")
    assert.error_matches(function() check.linearizable({}, "register", { bugdet = 1 }) end,
      "did you mean budget")
    assert.error_matches(function() check.linearizable({}, { init = 1 }) end, "a model needs step")
  end)
end)
