-- Groups whose machine is a file: proposals, restarts, snapshots, and that a runaway command holds up nobody.
local cli = require "tests.spec.support.binary"
local fiber = require "perilune.fiber"
local machine = require "perilune.machine"
local raft = require "perilune.raft"
local use_folder = require "tests.spec.support.folder"

local COUNTER = [[
  return {
    init = function() return { count = 0 } end,
    apply = function(state, command)
      state.count = state.count + command
      if command < 0 then error("it only grows", 0) end
      while command == 13 do end
      return state.count
    end,
    query = function(state, query) return query and state[query] or state.count end,
  }]]

describe("a group with a machine in a file", function()
  local folder = use_folder(before_each, after_each)

  local function open()
    local node = assert(raft.open { id = 1, path = folder:at "data", listen = "127.0.0.1:0" })
    local program = assert(machine.source(COUNTER, { name = "counter.lua" }))
    return node, assert(raft.group { id = 1, members = { node:address() }, machine = program })
  end

  it("applies commands, and undoes those that fail", function()
    local node, group = open()
    local _ <close> = node
    assert.equal(5, group:propose(5))
    local result, err, code, details = group:propose(-1)
    assert.same({ nil, "it only grows", "ELUA" }, { result, err, code })
    assert.equal("ok", details.certainty)
    assert.equal(5, group:read())
    assert.equal(5, group:read("count", { consistency = "stale" }))
    assert.equal("counter.lua:4: attempt to perform arithmetic on a table value (local 'command')",
      select(2, group:propose { 1 }))
    assert.equal(7, group:propose(2))
  end)

  it("keeps all over a restart, with and without a snapshot", function()
    local node, group = open()
    assert.equal(5, group:propose(5))
    assert(group:snapshot())
    repeat
      local event = node:event()
    until event.type == "snapshot_taken"
    group:propose(-1)
    assert.equal(6, group:propose(1))
    local hash = group:machine().hash
    node:close()
    local again, same = open()
    local _ <close> = again
    assert.equal(6, same:read())
    assert.equal(hash, same:machine().hash)
  end)

  it("ends a runaway command, while others go on", function()
    local node, group = open()
    local _ <close> = node
    assert.equal(1, group:propose(1))
    local slept = 0
    local sleeper = fiber.every(0.005, function() slept = slept + 1 end)
    local result, err, code = group:propose(13)
    assert.same({ nil, "the budget of 10000000 instructions is spent", "ECPU" }, { result, err, code })
    sleeper:cancel()
    assert.is_true(slept > 3, "the loop stood still: " .. slept .. " naps")
    assert.equal(1, group:read())
  end)

  it("has sessions, and changes its code", function()
    local node, group = open()
    local _ <close> = node
    local session = assert(machine.session(group, { deadline = 3 }))
    assert.equal(5, session:propose(5))
    assert.equal(5, session:retry())
    assert.equal("it only grows", select(2, session:propose(-1)))
    local new = assert(machine.source((COUNTER:gsub("%+ command", "+ 2 * command")), { name = "new.lua" }))
    assert.equal(1, group:upgrade(new, { try = true }))
    assert.equal(6, group:propose(1))
    assert.equal(1, group:upgrade(new))
    assert.equal(8, session:propose(1))
    assert.equal(group:machine().hash, group:hash_at(group:status().applied_index))
    assert(session:close())
    assert.equal("ESESSION", select(3, session:propose(1)))
  end)

  it("takes a snapshot of a large state while commands go on", function()
    local large = [[return { init = function()
        local s = {} for i = 1, 30000 do s["key" .. i] = { id = i, name = "name" .. i } end return s end,
      apply = function(s, c) s.last = c s["key" .. c].id = -c return s.key30000.id end,
      query = function(s) return s.last end }]]
    local program = assert(machine.source(large))
    local node = assert(raft.open { id = 1, path = folder:at "data", listen = "127.0.0.1:0" })
    local group = assert(raft.group { id = 1, node = node, members = { node:address() }, machine = program })
    assert.equal(30000, group:propose(1))
    local taken
    fiber.spawn(function()
      repeat
        taken = node:event()
      until taken.type == "snapshot_taken"
    end)
    assert(group:snapshot())
    local last, during = 1, 0
    while not taken or taken.type ~= "snapshot_taken" do
      last, during = last + 1, during + 1
      assert.equal(30000, group:propose(last))
      assert.equal(last, group:read(nil, { consistency = "stale" }))
    end
    assert.is_true(taken.index < last, "no command was done while it was written")
    assert.is_true(during > 3, ("%d commands were done while it was written"):format(during))
    local hash = group:machine().hash
    node:close()
    node = assert(raft.open { id = 1, path = folder:at "data", listen = "127.0.0.1:0" })
    local _ <close> = node
    group = assert(raft.group { id = 1, node = node, members = { node:address() }, machine = program })
    assert.equal(last, group:read())
    assert.equal(hash, group:machine().hash)
  end)

  it("goes on when its own snapshot does not end, and tries again after as many entries", function()
    local script = folder:write("endless.lua", [[
      local machine, raft = require "perilune.machine", require "perilune.raft"
      local program = assert(machine.source [=[return { budget = { instructions = 10000 },
        apply = function(s, c) s.n = c return c end, query = function(s) return s.n end,
        snapshot = function() while true do end end, restore = function(s) return s end }]=])
      local node = assert(raft.open { id = 1, path = arg[1], listen = "127.0.0.1:0", snapshot_entries = 10 })
      local group = assert(raft.group { id = 1, members = { node:address() }, machine = program })
      for i = 1, 35 do
        assert(i == group:propose(i))
      end
      print(group:read(), group:status().snapshot_index)
      node:close()]])
    local result = cli.run { "run", script, folder:at "data" }
    assert.equal("35\t0\n", result.stdout, result.stderr)
    local line = "no snapshot of group 1 at %d+: snapshot: the budget of 160000 instructions is spent"
    assert.equal(3, select(2, result.stderr:gsub(line, "")), result.stderr)
  end)

  it("can be closed while a snapshot is made", function()
    for pause = 0, 4 do
      local node = assert(raft.open { id = 1, path = folder:at("d" .. pause), listen = "127.0.0.1:0" })
      local program = assert(machine.source [[return { init = function()
        local s = {} for i = 1, 5000 do s["key" .. i] = { i } end return s end, apply = function() end }]])
      local members = { node:address() }
      local group = assert(raft.group { id = 1, node = node, members = members, machine = program })
      assert(group:propose(1) == nil)
      assert(group:snapshot())
      fiber.sleep(pause * 0.002)
      group:close()
      node:close()
    end
  end)

  it("refuses a file that is no machine", function()
    local node = assert(raft.open { id = 1, path = folder:at "data", listen = "127.0.0.1:0" })
    local _ <close> = node
    local program = assert(machine.source("return { apply = print, init = function() error('no', 0) end }"))
    local group, err, code = raft.group { id = 1, members = { node:address() }, machine = program }
    assert.same({ nil, "no", "ELUA" }, { group, err, code })
  end)
end)
