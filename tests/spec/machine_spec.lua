-- Machines in files: what a command may do, and that one which fails has no effect. Groups of replicas are
-- in tests/spec/machine_group_spec.lua.
local machine = require "perilune.machine"

local function start(text)
  local instance = assert(assert(machine.source(text, { name = "m.lua" })):start())
  return instance
end

-- An instance whose apply is the body of a function (state, command, ctx).
local function with_apply(body, head)
  return start(([[
    %s
    return {
      init = function() return { n = 0, list = { 1, 2, 3 }, at = { x = { deep = true } } } end,
      apply = function(state, command, ctx) %s end,
      query = function(state, query) return query and state[query] or state end,
      budget = { instructions = 1000000, memory = 4 << 20 },
    }]]):format(head or "", body))
end

local STATE = { n = 0, list = { 1, 2, 3 }, at = { x = { deep = true } } }

describe("a machine", function()
  it("applies commands and answers queries", function()
    local m <close> = with_apply "state.n = state.n + command return state.n"
    assert.equal(5, m:apply(5))
    assert.equal(7, m:apply(2))
    assert.equal(7, m:query "n")
    assert.same({ 1, 2, 3 }, m:query "list")
  end)

  it("gives commands a time, numbers and the client", function()
    local body = "return { ctx.now, ctx.index, ctx.client, ctx.random(100), ctx.random() }"
    local m <close> = with_apply(body)
    local first = m:apply(nil, { now = 12.5, seed = 7, client = 3 })
    assert.equal(12.5, first[1])
    assert.equal(1, first[2])
    assert.equal(3, first[3])
    local other <close> = with_apply(body)
    assert.same(first, other:apply(nil, { now = 12.5, seed = 7, client = 3 }))
    assert.equal(12.5, m:apply(nil, { now = 11 })[1]) -- time does not go back
  end)

  local state_uses = {
    { "pairs", "local s = '' for k in pairs(state) do s = s .. k end return s", "atlistn" },
    { "next", "return { next(state) == 'at', (next(state, 'list')) }", { true, "n" } },
    { "ipairs", "local s = 0 for _, v in ipairs(state.list) do s = s + v end return s", 6 },
    { "#", "return #state.list", 3 },
    { "insert", "table.insert(state.list, 1, 9) return state.list", { 9, 1, 2, 3 } },
    { "remove", "return { table.remove(state.list, 1), #state.list }", { 1, 2 } },
    { "sort", "table.sort(state.list, function(a, b) return a > b end) return state.list", { 3, 2, 1 } },
    { "concat", "return table.concat(state.list, '+')", "1+2+3" },
    { "unpack", "return { table.unpack(state.list) }", { 1, 2, 3 } },
    { "move", "return table.move(state.list, 1, 3, 2, {})", { nil, 1, 2, 3 } },
    { "rawget and rawset", "rawset(state, 'n', 4) return rawget(state, 'n') + rawlen(state.list)", 7 },
    { "new tables", "state.t = { a = { 1 } } state.t.a[2] = 2 return state.t", { a = { 1, 2 } } },
    { "tables that move", "local t = state.at state.at = nil state.to = t return state.to",
      { x = { deep = true } } },
  }
  for _, case in ipairs(state_uses) do
    it("has a state that works with " .. case[1], function()
      local m <close> = with_apply(case[2])
      local result, err = m:apply()
      assert.same(case[3], result, err)
    end)
  end

  local refused = {
    { "raises", "error('no', 0)", "no" },
    { "raises a table", "error { message = 'not so' }", "not so" },
    { "does half of it and raises",
      "table.remove(state.list) state.at.x.deep = nil state.at = 5 error('half', 0)", "half" },
    { "never ends", "while true do state.n = state.n + 1 end",
      "the budget of 1000000 instructions is spent" },
    { "never ends and catches errors",
      "while true do pcall(function() while true do state.n = 1 end end) end",
      "the budget of 1000000 instructions is spent" },
    { "never ends when it is closed",
      "local x <close> = setmetatable({}, { __close = function() while true do state.n = 1 end end })"
        .. " error()",
      "the budget of 1000000 instructions is spent" },
    { "makes strings without end", "local s = ('x'):rep(1000) while true do s = s .. s state.n = #s end",
      "the budget of 4 MiB of memory is spent" },
    { "makes tables without end", "local t = {} while true do t = { t } end",
      "the budget of 4 MiB of memory is spent" },
    { "catches the lack of memory",
      "pcall(function() local s = ('x'):rep(1000) while true do s = s .. s end end) state.n = 5",
      "the budget of 4 MiB of memory is spent" },
    { "draws random numbers", "state.n = math.random()",
      "math.random: not available in a machine: use ctx.random, which every replica draws alike" },
    { "reads a clock", "state.n = os.time()",
      "os.time: not available in a machine: use ctx.now, the time of the command" },
    { "walks tables by address", "state.n = 1 local t = { [{}] = 1, [print] = 2 } for _ in pairs(t) do end",
      "cannot be walked" },
    { "keeps a function", "state.n = print", "the state's field 'n' cannot be a function" },
    { "keeps a function further inside", "state.n = { { print } }", "a value in the state is no data" },
    { "keeps keys that are no data", "state.n = { [{}] = 1 }", "a key of the state is neither" },
    { "keeps a boolean key", "state[true] = 1", "a key of the state is a boolean" },
    { "keeps a metatable", "state.n = setmetatable({}, {})", "has a metatable" },
    { "keeps a table twice", "state.a = { 1 } state.b = state.a", "in two places" },
    { "keeps an old table twice", "state.b = state.at", "in two places" },
    { "keeps a cycle", "state.at.x.y = state", "in two places" },
    { "returns a function", "state.n = 9 return { print }", "result[1] is a function" },
    { "sets a global", "n = 1", "'n' is no local variable" },
    { "changes a library", "string.x = 1", "outside of the state" },
    { "changes a variable of the file", "count = count + 1", "the file's local variable 'count' was changed",
      "local count = 0" },
    { "changes a table of the file", "cache.x = 1", "outside of the state", "local cache = {}" },
    { "changes an inner table of the file", "config.limits.max = 1", "outside of the state",
      "local config = { limits = { max = 3 } }" },
  }
  for _, case in ipairs(refused) do
    it("undoes a command that " .. case[1], function()
      local m <close> = with_apply("if command == 'again' then return 'fine' end " .. case[2], case[4])
      local result, err = m:apply()
      assert.is_nil(result)
      assert.matches(case[3], err, 1, true)
      assert.same(STATE, m:query())
      assert.is_nil((m:apply())) -- bounded as well the second time
      assert.equal("fine", m:apply "again")
    end)
  end

  it("does not let a query change anything", function()
    local m <close> = start [[
      local seen = 0
      return {
        apply = function(state) return state.n end,
        query = function(state, what)
          if what == "state" then state.n = 1 else seen = seen + 1 end
        end,
      }]]
    assert.matches("only commands change the state", select(2, m:query "state"))
    assert.matches("local variable 'seen' was changed", select(2, m:query "variable"))
    assert.matches("local variable 'seen' was changed", select(2, m:query "variable"))
  end)

  it("goes on from a snapshot as if nothing had been", function()
    local body = [[
      state.n = state.n + #state.list
      state.list[#state.list + 1] = { ctx.random(1000) }
      return state.n]]
    local old <close> = with_apply(body)
    for i = 1, 20 do
      old:apply(i, { now = i, seed = i })
    end
    local new <close> = with_apply(body)
    assert(new:restore(old:snapshot(), 20))
    assert.equal(old:info().hash, new:info().hash)
    for i = 21, 40 do
      assert.equal(old:apply(i, { now = i, seed = i }), new:apply(i, { now = i, seed = i }))
    end
    assert.equal(old:info().hash, new:info().hash)
    assert.same(old:query(), new:query())
    assert.equal(old:snapshot(), new:snapshot())
    old:apply(1, { now = 1, seed = 1 })
    new:apply(1, { now = 1, seed = 2 })
    assert.not_equal(old:info().hash, new:info().hash)
  end)

  it("keeps what only its own snapshot holds", function()
    local m <close> = start [[
      return {
        init = function() return { a = 1, scratch = 2 } end,
        apply = function(state, v) state.a = v end,
        query = function(state) return { state.a, state.scratch } end,
        snapshot = function(state) return state.a end,
        restore = function(a) return { a = a, scratch = 2 } end,
      }]]
    m:apply(7)
    local bytes = m:snapshot()
    m:apply(8)
    assert(m:restore(bytes))
    assert.same({ 7, 2 }, m:query())
  end)

  it("undoes by the log, whatever came before", function()
    local m <close> = with_apply [[
      for i = 1, 50 do
        local key = "k" .. ctx.random(20)
        if ctx.random(3) == 1 then
          state[key] = nil
        elseif ctx.random(2) == 1 then
          state[key] = { ctx.random(9), inner = { ctx.random(9) } }
        elseif type(state[key]) == "table" then
          state[key].inner[ctx.random(3)] = ctx.random(9)
        else
          state[key] = ctx.random(99)
        end
      end
      if command == "fail" then error("fail", 0) end
    ]]
    for seed = 1, 200 do
      m:apply("go", { seed = seed, now = 1 })
      local before = m:snapshot():sub(-60)
      local same = m:query()
      assert.equal("fail", select(2, m:apply("fail", { seed = seed, now = 1 })))
      assert.same(same, m:query())
      assert.equal(before, m:snapshot():sub(-60))
    end
  end)
end)

describe("a machine's sessions", function()
  local function counter()
    return start [[
      return { apply = function(s, n) s.n = (s.n or 0) + n if n < 0 then error("no", 0) end return s.n end }]]
  end

  it("apply a command once, however often it is sent", function()
    local m <close> = counter()
    local id = assert(m:open_session(60))
    for _ = 1, 3 do
      assert.equal(5, m:apply(5, { client = id, sequence = 1 }))
    end
    assert.equal(7, m:apply(2, { client = id, sequence = 2 }))
    local _, err = m:apply(5, { client = id, sequence = 1 })
    assert.equal("command 1 of the session comes after 2, which was answered", err)
    assert.equal("no", select(2, m:apply(-1, { client = id, sequence = 3 })))
    assert.equal(8, m:apply(1, { client = id, sequence = 3 })) -- what failed had no effect
    local other <close> = counter()
    assert(other:restore(m:snapshot(), 9))
    assert.equal(8, other:apply(1, { client = id, sequence = 3 }))
    assert.equal(9, other:apply(1, { client = id, sequence = 4 }))
  end)

  it("end by the time of the log", function()
    local m <close> = counter()
    local id = assert(m:open_session(10, { now = 100 }))
    assert.equal(1, m:apply(1, { now = 109, client = id, sequence = 1 }))
    assert.equal(2, m:apply(1, { now = 118, client = id, sequence = 2 }))
    local _, err, code = m:apply(1, { now = 128, client = id, sequence = 3 })
    assert.same({ "there is no session 1, or it has ended", "ESESSION" }, { err, code })
    assert.equal(2, m:open_session(10, { now = 100 }))
  end)
end)

describe("an upgrade", function()
  local OLD = [[return { version = 1, init = function() return { n = 1, list = { 1 } } end,
    apply = function(s) s.n = s.n + 1 return s.n end, query = function(s) return s end }]]
  local NEW = [[return { version = 2, apply = function(s) s.count = s.count + 10 return s.count end,
    query = function(s) return s end,
    migrate = function(s, old) s.count, s.n, s.list = s.n * 100 + old, nil, { { 2 } } end }]]
  local BAD = [[return { version = 3, apply = print,
    migrate = function(s) s.count = nil s.list[1][1] = 9 error("cannot", 0) end }]]

  it("switches at one command, and migrates", function()
    local m <close> = start(OLD)
    assert.equal(2, m:apply())
    assert.equal(2, m:upgrade(assert(machine.source(NEW))))
    assert.same({ count = 201, list = { { 2 } } }, m:query())
    assert.equal(211, m:apply())
    assert.equal(2, m:info().version)
    local other <close> = start(OLD) -- a snapshot brings the code that it was taken with
    assert(other:restore(m:snapshot(), 3))
    assert.equal(221, other:apply())
    assert.equal(2, other:info().version)
  end)

  it("leaves all as it was when migrate raises, or it is only tried", function()
    local m <close> = start(OLD)
    assert.equal(2, m:upgrade(assert(machine.source(NEW)), { try = true }))
    assert.same({ n = 1, list = { 1 } }, m:query())
    assert.equal(2, m:upgrade(assert(machine.source(NEW))))
    local before = m:query()
    assert.equal("cannot", select(2, m:upgrade(assert(machine.source(BAD)))))
    assert.same(before, m:query())
    assert.equal(111, m:apply())
  end)

  it("tells by the hash that a replica would have migrated to something else", function()
    local one <close> = start(OLD)
    local two <close> = start(OLD)
    one:apply(nil, { now = 1, seed = 1 })
    two:apply(nil, { now = 1, seed = 1 })
    assert.equal(one:info().hash, two:info().hash)
    one:upgrade(assert(machine.source(NEW)), { try = true })
    two:upgrade(assert(machine.source((NEW:gsub("100", "101")))), { try = true })
    assert.not_equal(one:info().hash, two:info().hash)
    assert.same(one:query(), two:query())
  end)
end)

describe("a machine's file", function()
  local wrong = {
    { "does not compile", "return {", "m.lua:1: unexpected symbol" },
    { "raises", "error 'no'", "m.lua:1: no" },
    { "lacks apply", "return { init = function() end }", "m.lua: the machine has no function apply" },
    { "returns a function", "return function() end", "m.lua returns a function, but a machine is a table" },
    { "returns nothing", "local x = 1", "m.lua returns no value: nil, but a machine is a table" },
    { "has something else for apply", "return { apply = 1 }", "m.lua: apply is a function, not a number" },
    { "misspells a field", "return { apply = print, aply = 1 }", "m.lua: a machine has no field 'aply'" },
    { "snapshots what it cannot restore", "return { apply = print, snapshot = print }",
      "m.lua: the machine has snapshot but no restore" },
    { "has no version", "return { apply = print, version = 'x' }", "m.lua: version is an integer" },
    { "never returns", "while true do end", "instructions is spent" },
    { "sets globals", "function f() end return { apply = f }", "'f' is no local variable" },
    { "keeps a coroutine", "local co = coroutine.create(print) return { apply = function() return co end }",
      "keeps a coroutine" },
    { "asks for the world", "local f = io.open('x') return { apply = print }", "io.open: not available" },
    { "has a strange budget", "return { apply = print, budget = { memory = -1 } }",
      "m.lua: budget.memory is an integer from 1" },
    { "is bytecode", "\27Lua", "m.lua: bytecode is not available in a machine" },
  }
  for _, case in ipairs(wrong) do
    it("is refused when it " .. case[1], function()
      local program, err, code = machine.source(case[2], { name = "m.lua" })
      assert.is_nil(program)
      assert.matches(case[3], err, 1, true)
      assert.equal("ELUA", code)
    end)
  end

  it("is not found", function()
    local program, err, code = machine.load "no/such/file.lua"
    assert.is_nil(program)
    assert.matches("no/such/file.lua", err, 1, true)
    assert.equal("ENOENT", code)
  end)

  it("says when restore does not match snapshot", function()
    local m <close> = start [[
      return { init = function() return { a = 1, b = 2 } end, apply = function(s, v) s.b = v end,
        snapshot = function(s) return { s.a, s.b } end, restore = function(d) return { a = d[1], b = 2 } end,
      }]]
    assert(m:restore(m:snapshot()))
    m:apply(3)
    assert.matches("restore does not match snapshot", select(2, m:restore(m:snapshot())), 1, true)
  end)

  it("is refused when init gives no state", function()
    local program = assert(machine.source "return { apply = print, init = function() return 1 end }")
    local instance, err = program:start()
    assert.is_nil(instance)
    assert.matches("init gives the state, which is a table, not a number", err, 1, true)
  end)

  describe("bounds what makes and takes a whole state", function()
    local FILE = [[
      local function work(n) for _ = 1, n do end end
      local function bomb(n) local t = {} for i = 1, n do t[i] = { i } end return t end
      return { budget = { instructions = 5000, memory = 1 << 20 },
        apply = function(s, c) s.n = c end, %s }]]
    local DONE, ENDLESS = "work(1000)", "while true do end"
    local CAUGHT, BOMB = "pcall(function() while true do end end) while true do end", "bomb(1e9)"
    -- function, its text, how it is called
    local cases = {
      init = { "init = function() %s return {} end", function(program)
        return program:start()
      end },
      snapshot = { "snapshot = function(s) %s return s end, restore = function(s) return s end",
        function(program)
          local m <close> = assert(program:start())
          return m:snapshot()
        end },
      restore = { "snapshot = function(s) return s end, restore = function(s) %s return s end",
        function(program)
          local m <close> = assert(program:start())
          return m:restore(assert(m:snapshot()))
        end },
      migrate = { "migrate = function() %s end", function(program)
        local m <close> = start "return { apply = function(s, c) s.n = c end }"
        return m:upgrade(program)
      end },
    }
    for name, case in pairs(cases) do
      it(name, function()
        local times = name == "restore" and 32 or 16
        local spent = ("%s: the budget of %d instructions is spent"):format(name, times * 5000)
        local full = ("%s: the budget of %d MiB of memory is spent"):format(name, times)
        for body, why in pairs { [DONE] = false, [ENDLESS] = spent, [CAUGHT] = spent, [BOMB] = full } do
          local budget = body == BOMB and "1 << 30" or "5000"
          local text = FILE:format(case[1]:format(body)):gsub("5000", budget, 1)
          local result, err, code = case[2](assert(machine.source(text)))
          if why then
            assert.same({ nil, why, "ECPU" }, { result, err, code })
          else
            assert(result, err)
          end
        end
      end)
    end
  end)

  it("is refused when its snapshot changes a variable of the file", function()
    local m <close> = start [[
      local taken = 0
      return { apply = function(s) s.n = taken end, snapshot = function(s) taken = taken + 1 return s end,
        restore = function(s) return s end }]]
    assert.matches("local variable 'taken' was changed", select(2, m:snapshot()), 1, true)
  end)

  it("has a budget of its own", function()
    local m <close> = start [[
      return { apply = function(_, n) local x = 0 for i = 1, n do x = x + i end return x end,
        budget = { instructions = 5000 } }]]
    assert.equal(5050, m:apply(100))
    assert.matches("the budget of 5000 instructions is spent", select(2, m:apply(10000)))
  end)
end)
