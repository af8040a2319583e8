-- ctx.store: a machine whose state is ordered keys on disk.
local fiber = require "perilune.fiber"
local machine = require "perilune.machine"
local raft = require "perilune.raft"
local use_folder = require "tests.spec.support.folder"

-- A machine whose commands and queries are code, which sees store and ctx.
local TEXT = [[
  local function run(code, ctx)
    return assert(load("local store, ctx = ... " .. code, "=code"))(ctx.store, ctx)
  end
  return {
    store = true,
    apply = function(state, command, ctx) assert(state == nil) return run(command, ctx) end,
    query = function(state, query, ctx) return run(query, ctx) end,
    budget = { instructions = 1000000, memory = 4 << 20 },
  }]]

local LIST = [[
  local function list(...)
    local out = {}
    for key, value in store:range(...) do out[#out + 1] = key .. "=" .. tostring(value) end
    return table.concat(out, " ")
  end ]]

local function start(text)
  local program = assert(machine.source(text or TEXT, { name = "m.lua" }))
  return assert(program:start())
end

local function fill(m)
  assert.is_true(m:apply [[
    for i = 1, 5 do store:put("a" .. i, i) end
    store:put("b", { 1, { x = "y" } }) store:put("c\255", true) store:put("", 1.5)
    return true]])
end

describe("ctx.store", function()
  it("keeps plain values by key", function()
    local m <close> = start()
    fill(m)
    assert.same({ 1, { x = "y" } }, m:query "return store:get 'b'")
    assert.same({ 1.5, true, 3 }, m:query "return { store:get '', store:get 'c\255', store:get 'a3' }")
    assert.is_nil(m:query "return store:get 'a9'")
    assert.is_nil(m:apply "store:delete 'a3' store:delete 'nothing' return store:get 'a3'")
    assert.is_nil(m:query "return store:get 'a3'")
    assert.equal("store: 1", m:query "return tostring(store)")
  end)

  local ranges = {
    { "", "=1.5 a1=1 a2=2 a3=3 a4=4 a5=5 c=0 c\255=true" },
    { "{ prefix = 'a' }", "a1=1 a2=2 a3=3 a4=4 a5=5" },
    { "{ prefix = 'a', reverse = true }", "a5=5 a4=4 a3=3 a2=2 a1=1" },
    { "{ prefix = 'a', limit = 2 }", "a1=1 a2=2" },
    { "{ prefix = 'a', reverse = true, limit = 2 }", "a5=5 a4=4" },
    { "{ limit = 0 }", "" },
    { "{ from = 'a2', to = 'a4' }", "a2=2 a3=3" },
    { "{ from = 'a2', to = 'a4', reverse = true }", "a3=3 a2=2" },
    { "{ prefix = 'a', from = 'a4' }", "a4=4 a5=5" },
    { "{ prefix = 'a', to = 'z', reverse = true, limit = 1 }", "a5=5" },
    { "{ from = 'b', to = 'a' }", "" },
    { "{ prefix = 'c\255' }", "c\255=true" },
    { "'a4'", "a4=4 a5=5 c=0 c\255=true" },
    { "nil, 'a2'", "=1.5 a1=1" },
  }

  it("walks keys in order", function()
    local m <close> = start()
    fill(m)
    assert.equal(nil, m:apply "store:delete 'b' store:put('c', 0)")
    for _, case in ipairs(ranges) do
      assert.equal(case[2], m:query(LIST .. ("return list(%s)"):format(case[1])), case[1])
    end
  end)

  it("walks what the command has written, too, and what the loop writes in front of it", function()
    local m <close> = start()
    fill(m)
    for _, case in ipairs(ranges) do
      local code = LIST .. [[store:put("c", 0) store:delete "b" store:put("a3", 3)
        store:put("a1", 7) store:put("a1", 1) store:put("a", 1) store:delete "a" return list(%s)]]
      assert.equal(case[2], m:apply(code:format(case[1])), case[1])
    end
    assert.equal("a1 a2 a4 a4x a5 ", m:apply [[
      local keys = ""
      for key in store:range { prefix = "a" } do
        keys = keys .. key .. " "
        if key == "a2" then store:delete "a3" store:put("a4x", 0) store:put("a1x", 0) end
      end
      return keys]])
    assert.equal("a5 a4x a4 a2 a1x a1 ", m:apply [[
      local keys = ""
      for key in store:range { prefix = "a", reverse = true } do
        keys = keys .. key .. " " store:delete(key)
      end
      return keys]])
    assert.is_nil(m:query "for key in store:range { prefix = 'a' } do return key end")
  end)

  local refused = {
    { "raising", "store:put('a1', 9) store:delete 'a2' store:put('new', 1) error('no', 0)", "no" },
    { "an endless loop", "store:put('a1', 9) while true do store:put('a2', 1) end",
      "the budget of 1000000 instructions is spent" },
    { "an endless loop of deletions", "while true do pcall(store.delete, store, 'a1') end",
      "the budget of 1000000 instructions is spent" },
    { "an endless loop of ranges", "while true do for _ in store:range() do end end",
      "the budget of 1000000 instructions is spent" },
    { "a memory bomb", "local v = ('x'):rep(1 << 18) for i = 1, 100 do store:put('v', v) end",
      "the budget of 4 MiB of memory is spent" },
    { "a value that is no data", "store:put('a1', 9) store:put('f', { g = print })",
      "value.g is a function" },
    { "a nil value", "store:put('a1')",
      "a value of the store is not nil: ctx.store:delete(key) removes a key" },
    { "a key that is no string", "store:put(1, 1)", "a key of the store is a string, not a number" },
    { "a key that is too long", "store:put(('k'):rep(4096), 1)",
      "a key of the store has at most 4095 bytes, not 4096" },
    { "a dot", "store.put('k', 1)", "store.put is called with a colon: ctx.store:put(...)" },
    { "an option that is none", "store:range { prefx = 'a' }",
      "store:range has no option 'prefx'; it has from, limit, prefix, reverse, to" },
    { "a limit that is none", "store:range { limit = -1 }", "store:range: limit is an integer from 0" },
    { "a read while something is loaded", "assert(load(function() return store:get 'a1' end))",
      "ctx.store cannot be read by a function that a library function calls" },
    { "a read in a handler of errors",
      "error(select(2, xpcall(error, function() return store:get 'a1' end)), 0)",
      "error in error handling" },
    { "a read in a coroutine", "coroutine.wrap(function() store:get 'a1' end)()",
      "ctx.store cannot be read inside of a coroutine" },
    { "a result that is no data", "store:put('a1', 9) return print", "result is a function" },
  }
  for _, case in ipairs(refused) do
    it("is as before after " .. case[1], function()
      local m <close> = start()
      fill(m)
      local before = m:query(LIST .. "return list()")
      local _, err = m:apply(case[2])
      assert.truthy(err and err:find(case[3], 1, true), err)
      assert.equal(before, m:query(LIST .. "return list()"))
    end)
  end

  it("is not written by queries", function()
    local m <close> = start()
    fill(m)
    assert.equal("code:1: only commands change the store: not a query",
      select(2, m:query "store:put('a1', 9)"))
    assert.equal("code:1: only commands change the store: not a query",
      select(2, m:query "store:delete('a1')"))
    assert.equal(1, m:query "return store:get 'a1'")
  end)

  it("is part of the hash, and of snapshots", function()
    local a <close> = start()
    local b <close> = start()
    fill(a)
    fill(b)
    local id = assert(a:open_session(60))
    assert.equal(id, b:open_session(60))
    assert.equal(7, a:apply("store:put('n', 7) return 7", { client = id, sequence = 1 }))
    assert.equal(7, b:apply("store:put('n', 7) return 7", { client = id, sequence = 1 }))
    assert.equal(a:info().hash, b:info().hash)
    local c <close> = start()
    assert.is_true(c:restore(a:snapshot(), 3))
    assert.equal(a:info().hash, c:info().hash)
    assert.equal(7, c:apply("error 'again'", { client = id, sequence = 1 }))
    assert.equal(a:query(LIST .. "return list()"), c:query(LIST .. "return list()"))
    a:apply "store:put('n', 8)"
    b:apply "store:put('n', 9)"
    assert.not_equal(a:info().hash, b:info().hash)
    for _, bytes in ipairs { "", "nonsense", "\144", "\146\161h\161x", a:snapshot():sub(1, -2) } do
      assert.same({ nil, "EFORMAT" }, { c:restore(bytes), (select(3, c:restore(bytes))) })
    end
  end)

  it("is changed by migrate, or not at all", function()
    local m <close> = start()
    fill(m)
    local function new(body)
      return assert(machine.source(([[return { store = true, version = 2,
        apply = function(_, c, ctx) return ctx.store:get(c) end,
        migrate = function(_, old, ctx)
          for key, value in ctx.store:range { prefix = "a" } do
            ctx.store:delete(key) ctx.store:put("n" .. key, value * 2)
          end
          %s
        end }]]):format(body), { name = "new.lua" }))
    end
    assert.equal("no", select(2, m:upgrade(new "error('no', 0)")))
    assert.equal(1, m:query "return store:get 'a1'")
    assert.equal(2, m:upgrade(new "", { try = true }))
    assert.equal(1, m:query "return store:get 'a1'")
    assert.equal(2, m:upgrade(new ""))
    assert.equal(10, m:apply "na5")
    assert.is_nil(m:apply "a5")
    local again <close> = start()
    assert.is_true(again:restore(m:snapshot(), 9))
    assert.equal(10, again:apply "na5")
    assert.equal(2, again:info().version)
  end)

  it("is in place of a state", function()
    local _, err = machine.source "return { store = true, apply = print, init = print }"
    assert.equal("machine: a machine with store = true has no function init: its state is in ctx.store", err)
    _, err = machine.source "return { store = 1, apply = print }"
    assert.equal("machine: store is true or false, not a number", err)
    local m <close> = start()
    local tables = assert(machine.source "return { apply = print }")
    assert.equal("an upgrade cannot move the state: the file that runs has store = true",
      select(2, m:upgrade(tables)))
    local other <close> = assert(tables:start())
    assert.equal("an upgrade cannot move the state: the file that runs does not have store = true",
      select(2, other:upgrade(assert(machine.source(TEXT)))))
  end)
end)

describe("a group of a machine with ctx.store", function()
  local folder = use_folder(before_each, after_each)

  local function open(options)
    local node = assert(raft.open { id = 1, path = folder:at "data", listen = "127.0.0.1:0",
      snapshot_entries = options and options.snapshot_entries })
    local program = assert(machine.source(TEXT, { name = "m.lua" }))
    return node, assert(raft.group { id = 1, members = { node:address() }, machine = program })
  end

  it("goes on where its disk is", function()
    local node, group = open()
    local session = assert(machine.session(group, { deadline = 3 }))
    assert.equal(1, session:propose "store:put('k', 'v') return 1")
    assert.equal("half", select(2, group:propose "store:put('k', 'w') error('half', 0)"))
    for i = 1, 300 do
      assert.equal(i, group:propose(("store:put('n%03d', %d) return %d"):format(i, i, i)))
    end
    local hash = group:machine().hash
    node:close()
    for _ = 1, 2 do
      node, group = open()
      assert.equal("v", group:read "return store:get 'k'")
      assert.equal(hash, group:machine().hash)
      assert.equal(hash, group:hash_at(group:status().applied_index))
      assert.equal("n300 n299 n298", group:read [[
        local out = {}
        for key in store:range { prefix = "n", reverse = true, limit = 3 } do out[#out + 1] = key end
        return table.concat(out, " ")]])
      assert.equal(45150, group:read [[
        local sum = 0
        for _, value in store:range { prefix = "n" } do sum = sum + value end
        return sum]])
      node:close()
    end
  end)

  it("reads what is not in memory, in walks inside of walks", function()
    local node, group = open()
    assert.is_true(group:propose [[
      for i = 1, 40 do for j = 1, 12 do store:put(("g%02d/%02d"):format(i, j), j) end end return true]])
    node:close()
    node, group = open()
    local _ <close> = node
    assert.equal(78 * 40, group:read [[
      local sum, walks = 0, {}
      for i = 1, 40 do walks[i] = store:range { prefix = ("g%02d/"):format(i) } end
      for j = 1, 12 do
        for i = 1, 40 do local _, value = walks[i]() sum = sum + value end
      end
      return sum]])
    assert.equal(480, group:propose [[
      local n = 0
      for key, value in store:range { reverse = true } do
        assert(store:get(key) == value) store:delete(key) n = n + 1
      end
      return n]])
    assert.is_nil(group:read "return (store:range()())")
  end)

  it("changes its code, and remembers which", function()
    local node, group = open()
    local new = assert(machine.source((TEXT:gsub("return run%(query", "return 'new', run(query")),
      { name = "new.lua" }))
    assert.equal(1, group:propose "store:put('k', 1) return 1")
    assert.equal(1, group:upgrade(new))
    node:close()
    node, group = open()
    local _ <close> = node
    assert.equal("new", group:read "return 1")
    assert.equal(2, group:propose "store:put('k', 2) return store:get 'k'")
  end)

  it("holds up nobody while it reads", function()
    local node, group = open()
    local _ <close> = node
    local slept = 0
    local sleeper <const> = fiber.every(0.005, function() slept = slept + 1 end)
    local _, err = group:propose "while true do store:get 'nothing' end"
    assert.equal("the budget of 1000000 instructions is spent", err)
    sleeper:cancel()
    assert.is_nil(group:read "return store:get 'k'")
  end)
end)
