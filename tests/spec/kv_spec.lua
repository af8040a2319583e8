-- The key/value store as its clients see it: in one process, and over three nodes on real sockets and disks.
local eventually = require "tests.spec.support.eventually"
local fails = require "tests.spec.support.fails"
local use_folder = require "tests.spec.support.folder"
local use_store = require "tests.spec.support.use_store"
local fiber = require "perilune.fiber"
local kv = require "perilune.kv"
local raft = require "perilune.raft"

describe("a store in the process", function()
  local store
  local folder = use_store(before_each, after_each, function(opened)
    store = opened or store
    return store
  end)

  it("holds what was put, with its revision and version", function()
    assert.same({}, { store:get "a" })
    assert.equal(1, store:put("a", "one"))
    assert.equal(2, store:put("a", "two\0\xff"))
    local value, info = store:get "a"
    assert.equal("two\0\xff", value)
    assert.same({ revision = 2, created = 1, version = 2, lease = 0 }, info)
    assert.is_true(store:delete "a")
    assert.is_false(store:delete "a")
    assert.same({}, { store:get "a" })
    assert.equal(4, store:put("a", ""))
    value, info = store:get "a"
    assert.equal("", value)
    assert.equal(1, info.version)
  end)

  it("appends and counts", function()
    assert.equal(2, store:append("text", "ab"))
    assert.equal(3, store:append("text", "c"))
    assert.equal("abc", (store:get "text"))
    assert.equal(1, store:increment "count")
    assert.equal(-9, store:increment("count", -10))
    local details = fails("EINVAL", "no integer", store:increment "text")
    assert.equal("ok", details.certainty)
    assert.equal(-9, store:increment("count", 0))
  end)

  it("puts and deletes only what is as it was", function()
    assert.equal(1, store:put("a", "1", { revision = 0 }))
    fails("EEXIST", "another revision", store:put("a", "2", { revision = 0 }))
    fails("EEXIST", "another revision", store:put("a", "2", { version = 2 }))
    assert.equal(2, store:put("a", "2", { version = 1 }))
    fails("EEXIST", "another revision", store:delete("a", { revision = 1 }))
    assert.is_true(store:delete("a", { revision = 2 }))
  end)

  it("does several things, or none", function()
    local compares = { { "version", "from", "=", 0 } }
    local puts = { { "put", "from", "10", 0 }, { "put", "to", "0", 0 } }
    local holds, results, revision = store:transact(compares, puts)
    assert.is_true(holds)
    assert.same({ 1, 1 }, results)
    assert.equal(1, revision)
    local gets = { { "get", "nothing" }, { "get", "from" } }
    holds, results = store:transact(compares, { { "put", "from", "99", 0 } }, gets)
    assert.is_false(holds)
    assert.is_nil(results[1])
    assert.equal("10", results[2][1])
    local move = { { "increment", "from", -4 }, { "increment", "to", 4 }, { "range", "", "", 10, 0 } }
    holds, results = store:transact({ { "value", "from", ">", "1" } }, move)
    assert.is_true(holds)
    assert.equal(2, results[3][3])
    fails("EINVAL", "no integer", store:transact({}, { { "put", "to", "x", 0 }, { "increment", "to", 1 } }))
    assert.equal("4", (store:get "to"))
    fails("EINVAL", "no operation", store:transact({}, { { "move", "to" } }))
  end)

  it("walks keys in order, over many pages", function()
    for first = 1, 1100, 100 do
      local puts = {}
      for i = first, first + 99 do
        puts[#puts + 1] = { "put", ("k/%04d"):format(i), tostring(i), 0 }
      end
      assert(store:transact({}, puts))
    end
    assert(store:put("k0", "behind"))
    local items, next_key = store:range { prefix = "k/", limit = 3 }
    assert.same({ "k/0001", "k/0002", "k/0003" }, { items[1].key, items[2].key, items[3].key })
    assert.equal("k/0004", next_key)
    items, next_key = store:range { from = "k/1099", keys_only = true }
    assert.equal(3, #items)
    assert.is_nil(items[1].value)
    assert.is_nil(next_key)
    local at = 0
    for key, value, info in store:each { prefix = "k/" } do
      at = at + 1
      assert.equal(("k/%04d"):format(at), key)
      assert.equal(tostring(at), value)
      assert.equal(1, info.version)
      if at == 10 then
        assert(store:delete "k/1050") -- the walk sees the revision that it began with
      end
    end
    assert.equal(1100, at)
    at = 0
    for _ in store:each { from = "k/0002", limit = 1050 } do
      at = at + 1
    end
    assert.equal(1050, at)
    local keys = {}
    for key in store:each { key = "k/0007" } do
      keys[#keys + 1] = key
    end
    assert.same({ "k/0007" }, keys)
    assert.equal(1099, store:count { prefix = "k/" })
    assert.equal(1100, store:count())
    assert.equal(0, store:count { prefix = "x" })
  end)

  it("remembers until it is compacted", function()
    for i = 1, 5 do
      assert(store:put("a", tostring(i)))
    end
    assert.equal("2", (store:get("a", { revision = 2 })))
    assert.equal("3", store:range({ revision = 3 })[1].value)
    fails("EINVAL", "still to come", store:get("a", { revision = 6 }))
    assert.is_true(store:compact(4))
    assert.equal("4", (store:get("a", { revision = 4 })))
    fails("ECOMPACTED", "history begins at 4", store:get("a", { revision = 3 }))
    assert.equal(4, store:status().compacted)
  end)

  it("ends keys with their lease, all at once", function()
    local lease = assert(store:lease "500ms")
    assert(store:put("a", "1", { lease = lease }))
    assert(store:put("b", "2", { lease = lease.id }))
    assert(store:put("a", "3", { lease = true }))
    assert.equal(2, lease:status().keys)
    for _ = 1, 4 do
      fiber.sleep(0.25)
      assert.is_true(lease:keep())
    end
    assert.equal("3", (store:get "a"))
    local watch = assert(store:watch())
    eventually(function() return store:get "a" == nil end)
    local first, second = watch:recv(), watch:recv()
    assert.same({ "delete", "a", "delete", "b" }, { first.type, first.key, second.type, second.key })
    assert.equal(first.revision, second.revision)
    assert.is_nil(lease:status())
    fails("ELEASE", "has ended", lease:keep())
    fails("ELEASE", "has ended", store:put("c", "4", { lease = lease }))
    local other = assert(store:lease(10))
    assert(store:put("d", "5", { lease = other }))
    assert.equal(1, other:revoke())
    assert.is_nil((store:get "d"))
    watch:close()
  end)

  it("tells what happens to keys, from a revision on", function()
    assert(store:put("w/1", "one"))
    assert(store:put("other", "x"))
    assert(store:delete "w/1")
    local watch <close> = assert(store:watch { prefix = "w/", revision = 1 })
    assert.same({
      type = "put", key = "w/1", value = "one", revision = 1, created = 1, version = 1, lease = 0,
    }, watch:recv())
    assert.same({ type = "delete", key = "w/1", revision = 3 }, watch:recv())
    local waiting = fiber.spawn(function() return watch:recv() end)
    fiber.sleep(0.05)
    assert(store:put("other", "y"))
    assert(store:put("w/2", "two"))
    local _, event = waiting:join()
    assert.equal("w/2", event.key)
    assert(store:compact(4))
    local late <close> = assert(store:watch { revision = 4 })
    fails("ECOMPACTED", "history begins at 5", late:recv())
  end)

  it("carries out writes of many fibers once each", function()
    local fibers = {}
    for i = 1, 20 do
      fibers[i] = fiber.spawn(function()
        for _ = 1, 5 do
          assert(store:increment "n")
        end
      end)
    end
    for _, each in ipairs(fibers) do
      assert(each:join())
    end
    assert.equal("100", (store:get "n"))
  end)

  it("says what became of a write", function()
    assert(store:put("a", "1"))
    local session = store.sessions[1]
    assert.equal("ok", store:outcome { session = session.id, sequence = session.sequence })
    assert.equal("never", store:outcome { session = session.id, sequence = session.sequence + 1 })
    assert.equal("ended", store:outcome { session = session.id, sequence = session.sequence })
    assert.equal("ended", store:outcome { session = 99, sequence = 1 })
  end)

  it("has no caches where nobody serves them", function()
    fails("ENOFUNCTION", "no caches", store:cache())
  end)

  it("replaces a session that has ended, and ends its own when it leaves", function()
    assert(store:put("a", "1"))
    local session = store.sessions[1]
    assert(store:ask("kv.command", session.id, session.sequence + 1, "close"))
    assert.equal(2, store:put("a", "2"))
    assert.equal(1, store:status().sessions)
    assert.not_equal(session.id, store.sessions[1].id)
    store:leave()
    store = assert(kv.open(folder:at "kv"))
    assert.equal(0, store:status().sessions)
  end)

  it("is there again when it is opened again", function()
    assert(store:put("a", "1"))
    store:close()
    fails("ECLOSED", "closed", store:get "a")
    store = assert(kv.open(folder:at "kv"))
    assert.equal("1", (store:get "a"))
    assert.equal(2, store:put("a", "2"))
  end)

  it("refuses what is too large", function()
    fails("ETOOBIG", "1024", store:put(("k"):rep(1025), ""))
    fails("EINVAL", "at least one byte", store:put("", ""))
    fails("ETOOBIG", "1 to 1000", store:range { limit = 1001 })
    local operations = {}
    for i = 1, 129 do
      operations[i] = { "get", "a" }
    end
    fails("ETOOBIG", "128", store:transact({}, operations))
    local half = ("v"):rep(5 << 20)
    local details = fails("ETOOBIG", "more than 8388608",
      store:transact({}, { { "put", "a", half, 0 }, { "put", "b", half, 0 } }))
    assert.equal("ok", details.certainty)
    assert.equal(1, store:put("a", "1"))
  end)

  it("raises for misuse", function()
    local function raises(pattern, method, ...)
      local given = table.pack(...)
      local ok, err = pcall(function()
        local _ = store[method](store, table.unpack(given, 1, given.n))
      end)
      assert.is_false(ok)
      assert.matches(pattern, err)
      assert.matches("kv_spec", err)
    end
    raises("the key is a string, not a number", "put", 1, "x")
    raises("the value is a string, not a nil", "put", "x")
    raises("lease is a lease", "put", "x", "y", { lease = "z" })
    raises("revision is an integer", "put", "x", "y", { revision = -1 })
    raises("consistency is", "get", "x", { consistency = "eventual" })
    raises("exclude each other", "range", { prefix = "x", from = "y" })
    raises("an integer", "increment", "x", 1.5)
    raises("ttl", "lease", 0)
    -- A condition that is misspelt must not be a write without one.
    raises("store:put: unknown option revison; did you mean revision", "put", "x", "y", { revison = 1 })
    raises("store:delete: unknown option vresion", "delete", "x", { vresion = 1 })
    raises("store:delete: options must be a table", "delete", "x", true)
    raises("unknown option fense; did you mean fence", "append", "x", "y", { fense = "1:a" })
    raises("unknown option fense", "increment", "x", 1, { fense = "1:a" })
    raises("unknown option fense", "transact", {}, {}, {}, { fense = "1:a" })
    raises("unknown option consistancy", "get", "x", { consistancy = "stale" })
    raises("unknown option prefx", "range", { prefx = "x" })
    raises("unknown option prefx", "each", { prefx = "x" })
    raises("unknown option limit", "count", { limit = 1 })
    raises("unknown option limit", "status", { limit = 1 })
    raises("unknown option prefx", "watch", { prefx = "x" })
    assert.has_error(function() kv.connect {} end)
    assert.has_error(function() kv.serve {} end)
    assert.has_error(function() kv.open(1) end)
  end)
end)

describe("a store of three nodes", function()
  local nodes, groups, servers, members, addresses, store
  after_each(function() -- before the folder goes
    store:close()
    for _, node in pairs(nodes) do
      node:close()
    end
  end)
  local folder = use_folder(before_each, after_each)

  local function open_node(id)
    nodes[id] = assert(raft.open {
      id = id, path = folder:at("n" .. id), listen = members[id] or "127.0.0.1:0", snapshot_entries = 20,
      trailing_entries = 5,
    })
    members[id] = nodes[id]:address()
  end

  local function open_store(id)
    groups[id] = assert(raft.group { id = 1, node = nodes[id], members = members, machine = "kv" })
    local listen = addresses[id] or "127.0.0.1:0"
    servers[id] = assert(kv.serve { group = groups[id], listen = listen, history = 10, caches = true })
    addresses[id] = servers[id]:address()
  end

  local function stop(id)
    servers[id]:close()
    nodes[id]:close()
  end

  local function leader()
    local found
    eventually(function()
      for id, group in pairs(groups) do
        local status = group:status()
        found = status and status.role == "leader" and id or found
      end
      return found
    end)
    return found
  end

  before_each(function()
    nodes, groups, servers, members, addresses = {}, {}, {}, {}, {}
    for id = 1, 3 do
      open_node(id)
    end
    for id = 1, 3 do
      open_store(id)
    end
    store = kv.connect(addresses, { deadline = 10 })
  end)

  it("goes on without its leader, and each write happens once", function()
    local gone
    for i = 1, 40 do
      if i == 10 then
        gone = leader()
        stop(gone)
        groups[gone] = nil
      elseif i == 30 then
        open_node(gone)
        open_store(gone)
      end
      assert.equal(i, store:increment "n")
    end
    for id = 1, 3 do
      local other <close> = kv.connect(addresses[id])
      assert.equal("40", (other:get "n"))
    end
    eventually(function() return store:status().compacted > 0 end, "old history goes by itself")
  end)

  it("has caches that answer alone, and are told of writes before these happen", function()
    local cache <close> = assert(store:cache())
    local other <close> = kv.connect(addresses, { deadline = 10 })
    assert(store:put("a", "0"))
    eventually(function() return cache:get "a" == "0" and cache.hits > 0 end)
    for i = 1, 20 do
      local last = tostring(i)
      assert(other:put("a", last))
      assert.equal(last, (cache:get "a"))
      eventually(function()
        local hits = cache.hits
        assert.equal(last, (cache:get "a"))
        return cache.hits > hits
      end)
    end
    assert.is_true(other:delete "a")
    assert.is_nil((cache:get "a"))
    local gone = leader()
    stop(gone) -- the next leader lets its leases pass
    groups[gone] = nil
    assert(other:put("a", "new"))
    assert.equal("new", (cache:get "a"))
    eventually(function()
      assert.equal("new", (cache:get "a"))
      local hits = cache.hits
      cache:get "a"
      return cache.hits > hits
    end)
    local slow <close> = assert(other:cache()) -- nobody acknowledges for it: its lease has to pass
    eventually(function() return slow:get "a" == "new" and slow.hits > 0 end)
    slow.closed = true
    local asked = fiber.now()
    assert(store:put("a", "newer"))
    assert.is_true(fiber.now() - asked < 5)
  end)

  it("reads a replica as it is, and says how old that is", function()
    assert(store:put("a", "1"))
    local other <close> = kv.connect(addresses[leader() % 3 + 1])
    local value, info
    eventually(function()
      value, info = other:get("a", { consistency = "stale" })
      return value == "1"
    end)
    assert.is_true(info.age >= 0 and info.age < 5)
  end)

  it("tells what happens although servers go", function()
    local watch <close> = assert(store:watch { prefix = "w" })
    local seen = {}
    local watcher = fiber.spawn(function()
      for event in watch:events() do
        seen[#seen + 1] = event.value
      end
    end)
    for i = 1, 8 do
      assert(store:put("w", tostring(i)))
      if i == 3 then
        stop(store.at)
        groups[store.at] = nil
      end
    end
    eventually(function() return #seen == 8 end)
    assert.same({ "1", "2", "3", "4", "5", "6", "7", "8" }, seen)
    watch:close()
    assert(watcher:join())
  end)

  it("says unknown when nobody answers, and what became of it when somebody does", function()
    assert(store:put("a", "1"))
    local last = leader()
    for id = 1, 3 do
      if id ~= last then
        stop(id)
      end
    end
    store.settings.deadline = 1.5
    local value, err, code, details = store:put("a", "2")
    assert.is_nil(value)
    assert.matches("no answer within 1.5 s;", err)
    assert.equal("EDEADLINE", code)
    assert.equal("unknown", details.certainty)
    store.settings.deadline = 20
    for id = 1, 3 do
      if id ~= last then
        open_node(id)
        open_store(id)
      end
    end
    local outcome = store:outcome(details.token)
    assert.equal(outcome == "ok" and "2" or "1", (store:get "a"))
    assert.is_true(outcome == "ok" or outcome == "never")
  end)
end)
