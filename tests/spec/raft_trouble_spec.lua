-- What goes wrong around groups: impossible changes, commands that are too long, lost majorities, damaged
-- disks, and members by force. Three nodes in one process, on real sockets and disks.
local use_folder = require "tests.spec.support.folder"
local cli = require "support.binary"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local json = require "perilune.json"
local raft = require "perilune.raft"

local machine = {
  init = function() return { count = 0 } end,
  apply = function(state, command)
    state.count = state.count + command
    return state.count
  end,
  query = function(state) return state.count end,
}

describe("a group in trouble", function()
  local nodes, groups, addresses

  after_each(function() -- before their folder goes
    for _, node in pairs(nodes) do
      node:close()
    end
  end)

  local folder = use_folder(before_each, after_each)

  local function open_node(id, options)
    options = options or {}
    options.id, options.path, options.cluster = id, folder:at("n" .. id), options.cluster or "specs"
    options.listen = addresses[id] or "127.0.0.1:0"
    nodes[id] = assert(raft.open(options))
    addresses[id] = nodes[id]:address()
    return nodes[id]
  end

  local function open_group(id)
    groups[id] = assert(raft.group { id = 1, node = nodes[id], members = addresses, machine = machine })
    return groups[id]
  end

  before_each(function()
    nodes, groups, addresses = {}, {}, {}
    for id = 1, 3 do
      open_node(id)
    end
    for id = 1, 3 do
      open_group(id)
    end
  end)

  local function close(id)
    nodes[id]:close()
    nodes[id], groups[id] = nil, nil
  end

  local function find_leader()
    for _ = 1, 500 do
      for id, group in pairs(groups) do
        if group:status().role == "leader" then
          return id, group
        end
      end
      fiber.sleep(0.02)
    end
    error "no leader"
  end

  -- Proposes wherever the leader is.
  local function propose(command)
    local result, err
    for _ = 1, 200 do
      local _, group = find_leader()
      result, err = group:propose(command)
      if result then
        return result
      end
      fiber.sleep(0.02)
    end
    error(err)
  end

  it("refuses changes that cannot be, and says why", function()
    propose(1)
    local _, leader = find_leader()
    local function refused(pattern, ...)
      local done, err, code, details = ...
      assert.same({ nil, "EINVAL", "never" }, { done, code, details.certainty })
      assert.matches(pattern, err, 1, true)
    end
    refused("no member 9", leader:remove(9))
    refused("no member 9", leader:promote(9))
    refused("member 2 is that already", leader:add(2, addresses[2]))
    assert.equal("EINVAL", (select(3, leader:transfer(9))))
  end)

  it("refuses commands above the limit", function()
    local _, leader = find_leader()
    local done, err, code, details = leader:propose(("x"):rep((8 << 20) + 1))
    assert.same({ nil, "ETOOBIG", "never" }, { done, code, details.certainty })
    assert.matches("are more than 8388608", err, 1, true)
  end)

  it("names the leader and its address to who asks another", function()
    propose(1)
    local id = find_leader()
    for other, group in pairs(groups) do
      if other ~= id then
        repeat
          fiber.sleep(0.01)
        until group:status().leader == id
        local _, err, code, details = group:propose(1)
        assert.same({ "ENOTLEADER", "never" }, { code, details.certainty })
        assert.matches(("node %d (%s) leads in term"):format(id, addresses[id]), err, 1, true)
      end
    end
  end)

  it("says who is missing since when, and what would help", function()
    propose(1)
    close(2)
    close(3)
    local result, err, code
    for _ = 1, 10 do -- the first may still be known to the leader that was
      result, err, code = groups[1]:read(nil, { deadline = 1 })
      assert.is_nil(result)
      if err:find "no leader" then
        break
      end
    end
    assert.equal("EDEADLINE", code)
    for _, part in ipairs { "the deadline passed: group 1 has no leader that node 1 knows of for",
        ("node 2 (%s) is down for"):format(addresses[2]), ("node 3 (%s) is down for"):format(addresses[3]),
        "a majority has to be there", "perilune recover" } do
      assert.matches(part, err, 1, true)
    end
    open_node(2)
    open_group(2)
    assert.equal(2, propose(1))
  end)

  it("takes no node of another cluster", function()
    propose(1)
    close(3)
    addresses[3] = "127.0.0.1:0"
    assert(fs.remove(folder:at "n3", { recursive = true }))
    open_node(3, { cluster = "others" })
    local group = open_group(3)
    local _, err, code = group:read(nil, { deadline = 1 })
    assert.equal("EDEADLINE", code)
    assert.matches("no leader", err)
    assert.equal(0, nodes[3]:stats().messages_heard)
    assert.equal(2, propose(1))
  end)

  it("repairs a log with a hole from the others", function()
    for i = 1, 5 do
      assert.equal(i, propose(1))
    end
    close(1)
    -- Every store of the log but what it began with: as if a directory had been lost.
    local log = folder:at "n1/log"
    for _, entry in ipairs(assert(fs.list(log))) do
      if (entry.name or entry):match "^%d+$" then
        assert(fs.remove(log .. "/" .. (entry.name or entry), { recursive = true }))
      end
    end
    assert.equal(6, propose(1))
    open_node(1)
    local group = open_group(1)
    for _ = 1, 500 do
      if group:status().health == "clean" then
        break
      end
      fiber.sleep(0.02)
    end
    assert.equal("clean", group:status().health)
    repeat
      fiber.sleep(0.01)
    until group:read(nil, { consistency = "stale" }) == 6
    close(2)
    assert.equal(7, propose(1)) -- it votes again, and counts
  end)

  describe("whose majority is lost for good", function()
    local function recover(...)
      return cli.run { "recover", folder:at "n1", env = { NO_COLOR = "1" }, ... }
    end

    local function lose_majority()
      assert.equal(1, propose(1))
      close(2)
      close(3)
    end

    it("shows what there is, and changes nothing without --force", function()
      lose_majority()
      local busy = recover "--json"
      assert.equal(1, busy.status)
      assert.equal("EBUSY", json.decode(busy.stdout).error.code)
      assert.matches("another perilune process uses " .. folder:at "n1" .. ": stop it",
        busy.stdout .. busy.stderr, 1, true)
      close(1)
      local found = recover()
      assert.same({ 0, "" }, { found.status, found.stderr })
      assert.matches("data of node 1\n", found.stdout, 1, true)
      assert.matches("1  clean %s*%d+  1%.%.%d+%s+%d+:%d+%s+none%s+1, 2, 3", found.stdout)
      local plan = recover("--group", "1", "--members", "1")
      assert.equal(0, plan.status)
      assert.matches("would get the members 1; nothing was changed", plan.stdout, 1, true)
      assert.matches("never start nodes 2, 3 again", plan.stderr, 1, true)
      assert.same({ 1, 2, 3 }, (function()
        local ids = {}
        for _, member in ipairs(assert(raft.inspect(folder:at "n1")).groups[1].members) do
          ids[#ids + 1] = member.id
        end
        return ids
      end)())
    end)

    it("goes on with the members that it is given", function()
      lose_majority()
      close(1)
      local before = assert(raft.inspect(folder:at "n1")).groups[1]
      local done = recover("--group", "1", "--members", "1", "--force", "--json")
      assert.equal(0, done.status, done.stderr)
      local result = json.decode(done.stdout)
      assert.same({ true, before.last_index + 1 }, { result.forced, result.index })
      assert.equal("", done.stderr) -- the warnings stand in the result
      assert.same({ "never start nodes 2, 3 again with the old data: they would be a second group",
        "what others acknowledged and this node does not hold is lost" }, result.warnings)
      open_node(1)
      local group = open_group(1)
      assert.equal(2, propose(1))
      local status = group:status()
      assert.is_true(status.term > result.term)
      assert.same({ "voter" }, { status.members[1].is, status.members[2] and status.members[2].is })
    end)

    -- Whoever holds less than another that stays would drop what that one holds.
    it("forces several members only upon logs that end alike", function()
      lose_majority()
      open_node(2)
      open_group(2)
      assert.equal(2, propose(1))
      close(2)
      close(1)
      local ends = {}
      for id = 1, 3 do
        local group = assert(raft.inspect(folder:at("n" .. id))).groups[1]
        ends[id] = { term = group.last_term, index = group.last_index }
      end
      assert.is_true(ends[1].index > ends[3].index)
      local function force(id, last)
        return cli.run { "recover", folder:at("n" .. id), "-g", "1", "-m", "1,3", "--force",
          env = { NO_COLOR = "1" }, last and "--last", last and ("%d:%d"):format(last.term, last.index) }
      end
      local without = force(3)
      assert.equal(2, without.status)
      assert.matches("several members may hold different logs", without.stderr, 1, true)
      local shorter = force(3, ends[1])
      assert.equal(1, shorter.status)
      assert.matches(("ends with %d:%d, not with %d:%d"):format(ends[3].term, ends[3].index,
        ends[1].term, ends[1].index), shorter.stderr, 1, true)
      local _, err, code = raft.recover { path = folder:at "n3", group = 1,
        members = { [1] = false, [3] = false }, last = ends[1] }
      assert.equal("EINVAL", code)
      assert.matches("ends with entry", err, 1, true)
      assert.equal(ends[3].index, assert(raft.inspect(folder:at "n3")).groups[1].last_index)
      assert.equal(0, force(1, ends[1]).status)
    end)

    it("says what is wrong with a path that holds no data of a node", function()
      assert(fs.write(folder:at "file", "x"))
      assert(fs.mkdir(folder:at "empty"))
      for name, code in pairs { file = "ENOTDIR", empty = "ENOENT", nowhere = "ENOENT" } do
        local path = folder:at(name)
        local result = cli.run { "recover", path, env = { NO_COLOR = "1" } }
        assert.equal(1, result.status)
        assert.equal(("perilune: recover %s: %s holds no data of a node: there is no directory %s/log\n"
          .. "hint: DIR is where a node keeps its data: the path of raft.open, or DIR of "
          .. "perilune kv serve DIR\n"):format(path, path, path), result.stderr)
        local as_json = cli.run { "recover", path, "--json" }
        assert.same({ 1, code }, { as_json.status, json.decode(as_json.stdout).error.code })
      end
      assert.same({}, fs.list(folder:at "empty"))
    end)

    it("refuses what cannot be meant", function()
      lose_majority()
      close(1)
      for _, case in ipairs {
        { "add --group N", "--members", "1" }, { "none of them", "-g", "1", "-m", "2" },
        { "'x' is no member", "-g", "1", "-m", "x" }, { "comes twice", "-g", "1", "-m", "1,1" },
        { "nothing to write", "--force" }, { "it says where", "--last", "7:1" },
        { "'7' is no entry", "-g", "1", "-m", "1,2", "--last", "7" },
        { "'n1' is no address of node 1", "-g", "1", "-m", "1=n1" },
        { "'n1:65536' is no address of node 1", "-g", "1", "-m", "1=n1:65536" },
      } do
        local result = recover(table.unpack(case, 2))
        assert.equal(2, result.status)
        assert.matches(case[1], result.stderr, 1, true)
      end
      local absent = recover("-g", "7")
      assert.equal(1, absent.status)
      assert.matches("node 1 holds no group 7\nhint: it holds group 1\n", absent.stderr, 1, true)
      assert.has_error(function() raft.recover { path = folder:at "n1", group = 1, members = {} } end,
        "raft.recover: members is empty")
      assert.same({ nil, "EINVAL" }, { (function(found, _, code) return found, code end)(
        raft.recover { path = folder:at "n1", group = 1, members = { [2] = false } }) })
    end)
  end)

  it("knows its disk by one copy of its birth, and without any says so", function()
    local path, blocks = folder:at "n3/log/birth", {}
    close(3)
    for block in assert(fs.read(path)):gmatch(("."):rep(8)) do
      blocks[#blocks + 1] = block
    end
    local stride = 4096 // 8
    assert.equal(2 * stride + 3, #blocks)
    for _, lost in ipairs { 1, 1 + stride } do
      blocks[lost] = ("x"):rep(8)
      assert(fs.write(path, table.concat(blocks)))
      open_node(3)
      close(3)
    end
    blocks[1 + 2 * stride] = ("x"):rep(8)
    assert(fs.write(path, table.concat(blocks)))
    local _, err = raft.open { id = 3, path = folder:at "n3", cluster = "specs", listen = "127.0.0.1:0" }
    assert.matches("log/birth is damaged", err)
  end)
end)
