--- Upgrades of a machine in two entries: prepared on all replicas, then decided. What migrate itself may do
--- is in tests/spec/machine_spec.lua.
local core = require "perilune.core.machine"
local entry = require "perilune.machine.entry"
local fiber = require "perilune.fiber"
local machine = require "perilune.machine"
local msgpack = require "perilune.msgpack"
local raft = require "perilune.raft"
local use_folder = require "tests.spec.support.folder"

local OLD = [[
  return { version = %d, init = function() return { n = 0 } end,
    apply = function(s, c) s.n = s.n + c return s.n end, query = function(s) return { s.n, s.from } end }]]
local NEW = [[
  return { version = 5, apply = function(s, c) s.n = s.n + 10 * c return s.n end,
    migrate = function(s, version) s.from = version if %s then error("no way", 0) end end,
    query = function(s) return { s.n, s.from } end }]]

local function old(version)
  return assert(machine.source(OLD:format(version or 1), { name = "m.lua" }))
end

local function new(condition)
  return assert(machine.source(NEW:format(condition or "false"), { name = "m.lua" }))
end

describe("an upgrade that is prepared", function()
  local box, index

  before_each(function()
    box, index = assert(core.open(old().text, "m.lua")), 0
    assert(box:init())
  end)

  after_each(function()
    box:close()
  end)

  local function apply(kind, body, given)
    index = index + 1
    local result, err, code = box:apply(entry.encode(kind, body, given), index)
    return result and (msgpack.decode(result)), err, code
  end

  local function add(n, now, given)
    given = given or {}
    given.now = now
    return apply(entry.COMMAND, assert(msgpack.encode(n)), given)
  end

  local function prepare(program, now)
    return apply(entry.PREPARE, entry.program(program, 10), { now = now })
  end

  local function ask()
    return (msgpack.decode((assert(box:query("\xc0", index)))))
  end

  it("keeps commands out, and the state as it was", function()
    assert.equal(3, add(3, 100))
    assert.same({ 5, 2 }, prepare(new(), 100))
    local result, err, code = add(1, 101)
    assert.same({ nil, "EBUSY" }, { result, code })
    assert.equal("an upgrade of the machine is being decided: try again", err)
    assert.equal("EBUSY", select(3, prepare(new(), 101)))
    assert.same({ 3 }, ask())
    assert.equal(1, box:info().version)
  end)

  it("happens when it is decided so, after a snapshot as well", function()
    add(3, 100)
    local prepared = prepare(new(), 100)
    local snapshot = assert(box:snapshot())
    local hash = box:info().hash
    box:close()
    box = assert(core.open(old().text, "m.lua"))
    assert(box:restore(snapshot))
    assert.equal(hash, box:info().hash)
    assert.equal("EBUSY", select(3, add(1, 101)))
    assert.equal(5, apply(entry.DECIDE, entry.decision(prepared[2], true), { now = 102 }))
    assert.same({ 3, 1 }, ask())
    assert.equal(13, add(1, 103))
    assert.equal(5, box:info().version)
  end)

  it("is forgotten when it is decided so", function()
    add(3, 100)
    local prepared = prepare(new(), 100)
    assert.is_false(apply(entry.DECIDE, entry.decision(prepared[2], false), { now = 101 }))
    assert.equal(4, add(1, 102))
    assert.same({ 4 }, ask())
    assert.equal("EINVAL", select(3, apply(entry.DECIDE, entry.decision(prepared[2], true), { now = 103 })))
  end)

  it("lapses by the time of the log", function()
    local prepared = prepare(new(), 100)
    assert.equal("EBUSY", select(3, add(1, 109.9)))
    assert.equal(1, add(1, 110))
    local _, err, code = apply(entry.DECIDE, entry.decision(prepared[2], true), { now = 110 })
    assert.equal("EINVAL", code)
    assert.matches("it has lapsed", err)
    assert.same({ 1 }, ask())
  end)

  it("is none when migrate raises", function()
    assert.equal("no way", select(2, prepare(new "true", 100)))
    assert.equal(1, add(1, 100))
    assert.same({ 1 }, ask())
  end)

  it("gives commands of sessions that were answered their results", function()
    local session = apply(entry.OPEN, entry.ttl(1000), { now = 100 })
    assert.equal(2, add(2, 100, { session = session, sequence = 1 }))
    prepare(new(), 100)
    assert.equal(2, add(2, 101, { session = session, sequence = 1 }))
    assert.equal("EBUSY", select(3, add(2, 101, { session = session, sequence = 2 })))
  end)
end)

describe("an upgrade of a group", function()
  local folder = use_folder(before_each, after_each)
  local nodes, groups, members

  local function open(id, version)
    local listen = members[id] or "127.0.0.1:0"
    nodes[id] = assert(raft.open { id = id, path = folder:at("n" .. id), listen = listen })
    members[id] = nodes[id]:address()
    return function()
      groups[id] = assert(raft.group { id = 1, node = nodes[id], members = members, machine = old(version) })
    end
  end

  local function open_all(versions)
    nodes, groups, members = {}, {}, {}
    local starts = {}
    for id, version in ipairs(versions) do
      starts[id] = open(id, version)
    end
    for _, start in ipairs(starts) do
      start()
    end
  end

  after_each(function()
    for _, node in pairs(nodes) do
      node:close()
    end
  end)

  local function on_leader(method, ...)
    local result, err, code
    for _ = 1, 200 do
      for id in pairs(nodes) do
        result, err, code = groups[id][method](groups[id], ...)
        if code ~= "ENOTLEADER" and code ~= "EDEADLINE" then
          return result, err, code
        end
      end
      fiber.sleep(0.02)
    end
    return nil, err, code
  end

  it("waits for all voters that answer, and not for one that is down", function()
    open_all { 1, 1, 1 }
    assert.equal(1, on_leader("propose", 1))
    local down = groups[1]:status().leader % 3 + 1
    nodes[down]:close()
    nodes[down] = nil
    assert.equal(5, on_leader("upgrade", new()))
    assert.equal(11, on_leader("propose", 1))
    open(down, 1)()
    assert.same({ 11, 1 }, groups[down]:read())
    assert.equal(5, groups[down]:machine().version)
    assert.is_nil(groups[down]:status().diverged)
  end)

  it("happens on none when migrate raises", function()
    open_all { 1, 1, 1 }
    assert.equal(1, on_leader("propose", 1))
    assert.equal("no way", select(2, on_leader("upgrade", new "true")))
    assert.equal(2, on_leader("propose", 1))
  end)

  it("happens on none when two come to different states", function()
    open_all { 1, 2 } -- somebody gave them different files: migrate keeps the version
    assert.equal(1, on_leader("propose", 1))
    local _, err, code = on_leader("upgrade", new())
    assert.equal("EDIVERGED", code)
    assert.matches("^the upgrade did not happen: node %d came to another state$", err)
    assert.equal(2, on_leader("propose", 1))
    for id = 1, 2 do
      assert.same({ 2 }, groups[id]:read())
      assert.equal(id, groups[id]:machine().version)
    end
  end)
end)
