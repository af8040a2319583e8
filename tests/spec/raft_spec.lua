-- Groups as Lua sees them: misuse, errors, and what a machine's errors are. Clusters are in
-- tests/spec/labs/raft_spec.lua.
local use_folder = require "tests.spec.support.folder"
local fiber = require "perilune.fiber"
local cli = require "tests.spec.support.binary"
local fs = require "perilune.fs"
local raft = require "perilune.raft"

local function counter()
  return {
    init = function() return { count = 0 } end,
    apply = function(state, command)
      if type(command) ~= "number" then
        error({ "not a number" })
      elseif command < 0 then
        error("it only grows", 0)
      end
      state.count = state.count + command
      return state.count
    end,
    query = function(state, query)
      return query and state[query] or state.count
    end,
  }
end

describe("raft", function()
  local folder = use_folder(before_each, after_each)

  local function open()
    return assert(raft.open { id = 1, path = folder:at "data", listen = "127.0.0.1:0", cluster = "specs" })
  end

  local function group_of(node)
    return assert(raft.group { id = 1, members = { node:address() }, machine = counter() })
  end

  it("applies commands in order and gives their results", function()
    local node <close> = open()
    local group = group_of(node)
    assert.equal(5, group:propose(5))
    assert.equal(7, group:propose(2, { deadline = "2s" }))
    assert.equal(7, group:read())
    assert.equal(7, group:read("count", { consistency = "stale" }))
    local status = group:status()
    assert.equal("leader", status.role)
    assert.equal(3, status.commit_index) -- with the leader's first entry
    assert.equal("voter", status.members[1].is)
  end)

  it("keeps what was acknowledged over a restart, with and without a snapshot", function()
    local node <close> = open()
    local group = group_of(node)
    assert.equal(5, group:propose(5))
    assert(group:snapshot())
    repeat
      local event = node:event()
    until event.type == "snapshot_taken"
    assert.equal(6, group:propose(1))
    node:close()
    local again <close> = open()
    assert.equal(6, group_of(again):read())
  end)

  it("hands on what the machine raises", function()
    local node <close> = open()
    local group = group_of(node)
    local result, err, code, details = group:propose(-1)
    assert.same({ nil, "it only grows", "ELUA" }, { result, err, code })
    assert.equal("ok", details.certainty)
    assert.equal(3, group:propose(3))
    result, err, code = group:read("nothing of that name")
    assert.same({ 3 }, { result, err, code })
  end)

  it("gives tokens that tell what became of a command", function()
    local node <close> = open()
    local group = group_of(node)
    assert.equal(0, group:read()) -- it leads
    local token = assert(group:propose(5, { wait = false }))
    assert.equal("unknown", group:outcome(token))
    while group:outcome(token) == "unknown" do
      fiber.sleep(0.01)
    end
    assert.equal(5, group:read())
    assert.equal("ok", group:outcome(token))
    assert.equal("never", group:outcome { index = token.index, term = token.term + 1 })
    assert.equal("unknown", group:outcome { index = token.index + 100, term = token.term })
  end)

  it("refuses what cannot be", function()
    assert.has_error(function() raft.open { id = 0, path = "x" } end,
      "raft.open: id must be an integer from 1, not 0")
    assert.has_error(function() raft.open { id = 1, path = "x", election = 0.01 } end,
      "raft.open: election must be longer than heartbeat; three times is usual")
    local node <close> = open()
    assert.has_error(function() raft.group { id = 1, members = {}, machine = counter() } end)
    assert.has_error(function() raft.group { id = 1, members = { node:address() }, machine = {} } end,
      "raft.group: the machine has no function apply")
    local group = group_of(node)
    assert.has_error(function() group:propose(print) end)
    assert.has_error(function() group:read(1, { consistency = "eventual" }) end)
    assert.has_error(function() group:propose(1, { dealine = 1 }) end)
    local again, _, code = raft.group { id = 1, members = { node:address() }, machine = counter() }
    assert.same({ nil, "EEXIST" }, { again, code })
    local _, _, lease = group:read(nil, { consistency = "lease" })
    assert.equal("EINVAL", lease)
  end)

  it("names the line that is wrong", function()
    local node <close> = open()
    local group = group_of(node)
    local wrong = {
      function() local _ = raft.open { path = "x" } end,
      function() local _ = raft.open { id = 1, path = "x", dealine = 1 } end,
      function() local _ = raft.open { id = 1, path = "x", heartbeat = "soon" } end,
      function() local _ = raft.group { id = 2, members = { "n1:1" }, machine = { fly = print } } end,
      function() local _ = raft.group { id = 2, members = { 1 }, machine = counter() } end,
      function() local _ = raft.recover { path = "x", group = 1, members = { 1 } } end,
      function() local _ = group:propose(1, { deadline = "soon" }) end,
      function() local _ = group:read(1, { deadline = "soon" }) end,
      function() local _ = group:remove(2, { deadline = "soon" }) end,
      function() local _ = group:remove(2, { dealine = 1 }) end,
      function() local _ = group:set_priority(5) end,
    }
    for _, call in ipairs(wrong) do
      local line = debug.getinfo(call, "S").linedefined
      local _, err = pcall(call)
      assert.matches(("raft_spec%%.lua:%d: "):format(line), err)
    end
  end)

  it("refuses the directory of another node and of another cluster", function()
    local node <close> = open()
    group_of(node):propose(1)
    node:close()
    for _, other in ipairs { { id = 2, cluster = "specs" }, { id = 1, cluster = "others" } } do
      other.path, other.listen = folder:at "data", "127.0.0.1:0"
      local opened, err, code = raft.open(other)
      assert.is_nil(opened)
      assert.equal("ECLUSTER", code, err)
    end
  end)

  it("ends requests when it is closed", function()
    local node <close> = open()
    local group = group_of(node)
    node:close()
    local result, _, code = group:propose(1)
    assert.same({ nil, "ECLOSED" }, { result, code })
    assert.same({ nil, "it was closed", "ECLOSED" }, { group:status() })
  end)

  it("has a tool that steps a recorder's file again", function()
    local node <close> = open()
    local group = group_of(node)
    assert.equal(1, group:propose(1))
    local bytes = assert(group:record())
    local path = folder:write("recorder-g1", bytes)
    local shown = cli.run { "run", "examples/tools/replay.lua", path }
    assert.equal(0, shown.status, shown.stderr)
    assert.matches("applied +leader term=1 last=2 commit=2\n", shown.stdout)
    assert.matches("%d+ events, each as it was\n$", shown.stdout)
    assert(fs.write(path, bytes:sub(1, -5) .. "\1\0\0\0"))
    local differs = cli.run { "run", "examples/tools/replay.lua", path }
    assert.equal(1, differs.status)
    assert.matches("event %d+ gives 0, and gave 1 then", differs.stderr)
    assert.equal(2, cli.run({ "run", "examples/tools/replay.lua" }).status)
  end)

  it("records the last events of its core", function()
    local node <close> = open()
    local group = group_of(node)
    assert.equal(1, group:propose(1))
    local bytes = assert(group:record())
    local steps = assert(raft.replay(bytes))
    local last = steps[#steps]
    assert.same({ "applied", "leader", 2 }, { last.event, last.role, last.commit_index })
    local other = bytes:sub(1, -5) .. "\1\0\0\0" -- as if the last step had been refused
    local none, err, code, before = raft.replay(other)
    assert.same({ nil, "ECORRUPT", #steps }, { none, code, #before })
    assert.matches("event %d+ gives 0, and gave 1 then", err)
    assert.equal("EFORMAT", (select(3, raft.replay "nonsense")))
  end)

  describe("store", function()
    -- Commands are { "put", key, value }, { "delete", key }, { "count", from, to } or { "spoil", key }.
    local commands = {
      put = function(store, key, value) store:put(key, value) return store:get(key) end,
      delete = function(store, key) store:delete(key) return store:get(key) == nil end,
      many = function(store, count)
        for i = 1, count do
          store:put(("k%05d"):format(i), ("v"):rep(i % 100))
        end
        return count
      end,
      spoil = function(store, key)
        store:put(key, "spoilt")
        store:delete "a"
        error("spoilt", 0)
      end,
    }
    local machine = {
      store = true,
      apply = function(state, command, ctx)
        assert(state == nil and ctx.index > 0 and ctx.term > 0)
        return commands[command[1]](ctx.store, table.unpack(command, 2))
      end,
      query = function(_, query, ctx)
        if query.write then
          ctx.store:put("a", "b")
        elseif query.key then
          return { ctx.store:get(query.key) }
        end
        local list = {}
        for key, value in ctx.store:range(query.from, query.to) do
          list[#list + 1] = query.keys and key or key .. "=" .. value
        end
        return list
      end,
    }

    local function store_group(node)
      return assert(raft.group { id = 1, members = { node:address() }, machine = machine })
    end

    it("keeps ordered keys, which a command sees at once and a failed one leaves alone", function()
      local node <close> = open()
      local group = store_group(node)
      assert.equal("1", group:propose { "put", "a", "1" })
      assert.equal("3", group:propose { "put", "c", "3" })
      assert.equal("2", group:propose { "put", "b", "2" })
      assert.same({ "a=1", "b=2", "c=3" }, group:read {})
      assert.same({ "b=2" }, group:read { from = "b", to = "c" })
      local _, err = group:propose { "spoil", "b" }
      assert.equal("spoilt", err)
      assert.same({ "a=1", "b=2", "c=3" }, group:read {})
      assert.is_true(group:propose { "delete", "b" })
      assert.same({ "a=1", "c=3" }, group:read {})
      assert.same({}, group:read { key = "b" })
    end)

    it("reads ranges of many pages, and goes on where it was after a restart", function()
      local node <close> = open()
      local group = store_group(node)
      assert(group:propose { "many", 1000 })
      local list = group:read { keys = true }
      assert.same({ 1000, "k00001", "k01000" }, { #list, list[1], list[1000] })
      assert(group:snapshot())
      repeat
        local event = node:event()
      until event.type == "snapshot_taken"
      assert.is_true(group:propose { "delete", "k00002" })
      local applied = node:stats().entries_applied
      node:close()
      local again <close> = open()
      group = store_group(again)
      list = group:read { keys = true }
      assert.same({ 999, "k00001", "k00003", "k01000" }, { #list, list[1], list[2], list[999] })
      assert.is_true(again:stats().entries_applied <= applied) -- not the thousand again
      assert.is_true(group:status().snapshot_index > 0)
    end)

    it("is there again when the group is closed and opened", function()
      local node <close> = open()
      local group = store_group(node)
      for i = 1, 3 do
        assert.equal(tostring(i), group:propose { "put", "a" .. i, tostring(i) })
        group:close()
        group = store_group(node)
        assert.equal(i, #group:read {})
      end
    end)

    it("refuses what cannot be", function()
      local node <close> = open()
      assert.has_error(function()
        raft.group { id = 1, members = { node:address() },
          machine = { store = true, apply = print, init = print } }
      end, "raft.group: a machine with store = true has no function init: its state is in ctx.store")
      local group = store_group(node)
      local _, err, code = group:read { write = true }
      assert.equal("ELUA", code)
      assert.matches("keys are written while a command is applied", err)
      _, err = group:propose { "put", ("k"):rep(5000), "v" }
      assert.matches("store: a key has at most 4096 bytes, not 5000", err)
      _, err = group:propose { "put", "number", 7 }
      assert.matches("string expected, got number", err)
      local kept
      local other = assert(raft.group { id = 2, members = { node:address() }, machine = {
        store = true,
        apply = function(_, _, ctx) kept = ctx.store end,
      } })
      other:propose(1)
      assert.has_error(function() kept:get "a" end,
        "store: it is for the functions of the machine, while they run")
    end)
  end)
end)
