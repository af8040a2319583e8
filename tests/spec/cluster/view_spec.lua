-- What perilune status makes of the nodes' answers.
local view_of = require "perilune.cluster.view"

describe("the view of a cluster", function()
  local NOW = 1000

  local function member(fields)
    local all = { is = "voter", address = "h:1", match_index = 10, heard = 0.01 }
    for name, value in pairs(fields or {}) do
      all[name] = value
    end
    return all
  end

  local function answer(id, group, fields)
    local all = { term = 3, last_index = 10, role = "follower", health = "clean", fenced = false,
      members = { member { address = "h:1" }, member { address = "h:2" }, member { address = "h:3" } } }
    for name, value in pairs(group or {}) do
      all[name] = value
    end
    local status = { id = id, address = "h:" .. id, group = all, disk = 5, leader_since = 990 }
    for name, value in pairs(fields or {}) do
      status[name] = value
    end
    return { address = "h:" .. id, status = status }
  end

  local function silent(id)
    return { address = "h:" .. id, err = "it is gone", code = "EUNREACHABLE" }
  end

  local function problems(...)
    local texts = {}
    for i, problem in ipairs(view_of.make({ ... }, {}, NOW).problems) do
      texts[i] = (problem.node and problem.node .. " " or "") .. problem.what
    end
    return texts
  end

  it("says who leads, since when, and how far the others are", function()
    local members = { member(), member { match_index = 7 }, member() }
    local view = view_of.make({ answer(1, { role = "leader", members = members }), answer(2), answer(3) },
      {}, NOW)
    assert.equal("n1", view.leader)
    assert.equal(10, view.leads_for)
    assert.equal(3, view.voters)
    assert.equal(0, view.missing)
    assert.same({ 0, 3, 0 }, { view.nodes[1].lag, view.nodes[2].lag, view.nodes[3].lag })
    assert.same({}, view.problems)
  end)

  it("believes the leader of the newest term", function()
    local view = view_of.make({ answer(1, { role = "leader" }),
      answer(2, { role = "leader", term = 4 }) }, {}, NOW)
    assert.equal("n2", view.leader)
    assert.equal(4, view.term)
  end)

  it("names who is missing, since when, and how many would do", function()
    local candidate = answer(2, { role = "candidate", quorum_missing = 2.5 })
    local view = view_of.make({ silent(1), candidate, silent(3) }, {}, NOW)
    assert.is_nil(view.leader)
    assert.equal(1, view.missing)
    assert.equal("nobody leads, and there has been no majority for 2.5 s: n1, n3 are not there",
      view.problems[1].what)
    assert.equal("1 more voter is needed; if they never come back: perilune recover", view.problems[1].todo)
    assert.equal("does not answer: it is gone", view.problems[2].what)
  end)

  it("knows what can be wrong with a node", function()
    local leader = answer(1, { role = "leader" })
    local function found(group, as)
      local members = { member(), member(as), member() }
      return problems(answer(1, { role = "leader", members = members, last_index = 5000 }), answer(2, group),
        answer(3))[1]
    end
    assert.same({ "n2 does not answer: it is gone" }, problems(leader, silent(2), answer(3)))
    assert.equal("n2 takes part no more: its disk failed", found { fenced = true })
    assert.equal("n2 is damaged: entries 3 to 7", found { health = "damaged", why = "entries 3 to 7" })
    assert.equal("n2 has another state than a majority since entry 9", found { diverged = 9 })
    assert.equal("n2 does not vote (joining)", found({}, { is = "joining" }))
    assert.equal("n2 has not been heard by its leader for 4.0 s", found({}, { heard = 4 }))
    assert.equal("n2 is 4000 entries behind", found({}, { match_index = 1000 }))
    assert.same({ "nobody leads" }, problems(answer(1), answer(2), answer(3))) -- an election is under way
    assert.same({ "n4 runs, and is no member" }, problems(leader, answer(2), answer(3), answer(4)))
  end)

  it("says no more than is known when nobody answers", function()
    local locals = { { id = 1, name = "n1", address = "h:1", process = "running" } }
    local view = view_of.make({ silent(1) }, locals, NOW)
    assert.same({ { node = "n1", what = "does not answer: it is gone", todo = "perilune logs n1" } },
      view.problems)
  end)

  it("knows the processes of this machine", function()
    local locals = {
      { id = 1, name = "n1", address = "h:1", process = "running" },
      { id = 2, name = "n2", address = "h:2", process = "paused" },
      { id = 3, name = "n3", address = "h:3", process = "dead" },
    }
    local view = view_of.make({ answer(1, { role = "leader" }) }, locals, NOW)
    assert.same({ { node = "n2", what = "is paused", todo = "perilune resume n2" },
      { node = "n3", what = "is dead: it was killed, or ended by itself",
        todo = "perilune up starts it again; perilune logs n3" } }, view.problems)
  end)
end)
