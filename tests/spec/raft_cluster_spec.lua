-- Groups of several nodes as Lua sees them, over real sockets and disks: members, leadership, reads, status,
-- outcomes, events.
local eventually = require "tests.spec.support.eventually"
local use_folder = require "tests.spec.support.folder"
local raft = require "perilune.raft"

local function adder()
  return {
    apply = function(state, command)
      state.sum = (state.sum or 0) + command
      return state.sum
    end,
    query = function(state)
      return state.sum or 0
    end,
  }
end

describe("a group of several nodes", function()
  local nodes, groups, members

  after_each(function() -- before the folder goes
    for _, node in pairs(nodes) do
      node:close()
    end
  end)

  local folder = use_folder(before_each, after_each)

  local function open_node(id)
    nodes[id] = assert(raft.open {
      id = id, path = folder:at("n" .. id), listen = members[id] or "127.0.0.1:0", cluster = "specs",
    })
  end

  local function open_group(id)
    groups[id] = assert(raft.group { id = 1, members = members, machine = adder(), node = nodes[id] })
  end

  before_each(function()
    nodes, groups, members = {}, {}, {}
    for id = 1, 3 do
      open_node(id)
    end
    for id = 1, 3 do
      members[id] = nodes[id]:address()
    end
    for id = 1, 3 do
      open_group(id)
    end
  end)

  -- The group at whoever leads, and the leader's id.
  local function leader()
    return eventually(function()
      for _, group in pairs(groups) do
        local status = group:status()
        if status and status.role == "leader" then
          return group
        end
      end
    end, "nobody leads")
  end

  -- Does something at the leader, whoever that is by then; gives what it gives.
  local function at_leader(method, ...)
    local arguments = table.pack(...)
    return eventually(function()
      local group = leader()
      local result, _, code = group[method](group, table.unpack(arguments, 1, arguments.n))
      assert(result or code == "ENOTLEADER" or code == "EBUSY", code)
      return result
    end)
  end

  local function follower()
    local leading = leader():status().id
    return groups[leading % 3 + 1], leading
  end

  it("reads on every node what was acknowledged on one", function()
    assert.equal(5, at_leader("propose", 5))
    for id = 1, 3 do
      assert.equal(5, groups[id]:read())
      assert.is_number(groups[id]:read(nil, { consistency = "stale" }))
    end
  end)

  it("names the leader to who proposes elsewhere", function()
    at_leader("propose", 1)
    local group, leading = follower()
    local result, err, code, details = group:propose(1)
    assert.same({ nil, "ENOTLEADER", "never" }, { result, code, details.certainty })
    assert.matches(("node %d %%(%s%%) leads"):format(leading, members[leading]:gsub("%p", "%%%0")), err)
  end)

  it("says how far each member is", function()
    at_leader("propose", 1)
    local group = leader()
    local status = eventually(function()
      local now, level = group:status(), true
      for id, member in pairs(now.members) do
        level = level and (id == now.id or member.match_index == now.last_index)
      end
      return level and now
    end)
    assert.is_nil(status.quorum_missing)
    for id, member in pairs(status.members) do
      assert.equal("voter", member.is)
      assert.equal(members[id], member.address)
      if id ~= status.id then
        assert.same({ "replicate", true, 0 }, { member.progress, member.answers, member.in_flight })
        assert.equal(status.last_index + 1, member.next_index)
        assert.is_true(member.answered < 5 and member.heard < 5)
      end
    end
    local other = follower():status()
    assert.is_true(other.members[status.id].answers)
    for id, member in pairs(other.members) do -- a follower does not ask other followers
      assert.is_true(id == status.id or id == other.id or member.answers == nil)
    end
    assert.is_nil(other.members[status.id].progress)
  end)

  it("takes in members, promotes and removes them", function()
    at_leader("propose", 1)
    open_node(4)
    open_group(4)
    members[4] = nodes[4]:address()
    assert.is_true(at_leader("add_learner", 4, members[4]))
    assert.equal("learner", leader():status().members[4].is)
    assert.is_true(at_leader("promote", 4))
    eventually(function() return leader():status().members[4].is == "voter" end)
    assert.is_true(at_leader("remove", 4))
    assert.is_nil(leader():status().members[4])
    open_node(5)
    open_group(5)
    members[5] = nodes[5]:address()
    assert.is_true(at_leader("add", 5, members[5]))
    eventually(function() return leader():status().members[5].is == "voter" end)
    assert.equal(3, at_leader("propose", 2))
    assert.equal(3, groups[5]:read())
    local _, err, code = leader():remove(99)
    assert.equal("EINVAL", code, err)
  end)

  it("hands leadership over, and tells observers", function()
    at_leader("propose", 1)
    local group, leading = follower()
    local to = group:status().id
    assert.is_true(groups[leading]:transfer(to))
    eventually(function() return group:status().role == "leader" end)
    local seen
    repeat
      seen = assert(nodes[to]:event())
    until seen.type == "role" and seen.role == "leader" and seen.leader == to
    assert.same({ 1, group:status().term }, { seen.group, seen.term })
    repeat
      seen = assert(nodes[leading]:event())
    until seen.type == "role" and seen.leader == to
    assert.equal("follower", seen.role)
    at_leader("remove", leading)
    repeat
      seen = assert(nodes[to]:event())
    until seen.type == "members"
    assert.is_true(seen.index > 1)
  end)

  it("has those lead that shall", function()
    at_leader("propose", 1)
    for id = 1, 2 do
      assert.is_true(groups[id]:set_priority(0))
    end
    eventually(function() return groups[3]:status().role == "leader" end)
    assert.equal(0, groups[1]:status().priority)
    assert.equal(2, at_leader("propose", 1))
    assert.is_true(groups[1]:set_priority(2))
    nodes[3]:close()
    groups[3] = nil
    eventually(function() return groups[1]:status().role == "leader" end)
    assert.equal(3, at_leader("propose", 1))
    assert.has_error(function() groups[1]:set_priority(5) end,
      "group:set_priority: priority is an integer from 0, which never leads, to 4, not 5")
  end)

  it("takes snapshots and cuts the log", function()
    for i = 1, 20 do
      at_leader("propose", i)
    end
    local group = leader()
    assert.is_true(group:snapshot())
    eventually(function() return group:status().snapshot_index >= 20 end)
  end)

  it("does not know what became of a command without a quorum, and finds out", function()
    at_leader("propose", 1)
    local group = leader()
    local id = group:status().id
    for other = 1, 3 do
      if other ~= id then
        nodes[other]:close()
      end
    end
    local result, err, code, details = group:propose(2, { deadline = 0.2 })
    assert.is_nil(result, err)
    assert.same({ "EDEADLINE", "unknown" }, { code, details.certainty })
    assert.equal("unknown", group:outcome(details.token))
    local status = eventually(function()
      local now = group:status()
      return now.quorum_missing and now.role ~= "leader" and now
    end)
    assert.is_true(status.quorum_missing > 0.2 and status.quorum_missing < 20)
    for other, member in pairs(status.members) do
      assert.is_true(other == id or not member.answers)
    end
    for other = 1, 3 do
      if other ~= id then
        open_node(other)
        open_group(other)
      end
    end
    local became = eventually(function()
      local outcome = group:outcome(details.token)
      return outcome ~= "unknown" and outcome
    end)
    assert.equal(became == "ok" and 3 or 1, group:read()) -- never: the others led first
    assert.is_nil(group:status().quorum_missing)
  end)
end)
