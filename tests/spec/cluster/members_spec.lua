-- perilune status, members, transfer, add, remove: on real processes.
local eventually = require "support.eventually"
local fs = require "perilune.fs"
local json = require "perilune.json"
local new_cluster = require "support.cluster"

describe("a cluster's members", function()
  local cluster = new_cluster(before_each, after_each)

  local function ids()
    local list = {}
    for i, member in ipairs(cluster:ask("members").members) do
      list[i] = member.id
    end
    return list
  end

  it("are added, lead, and are removed, with a put at every step", function()
    assert.equal(0, cluster:up("-n", "2").status)
    assert.equal("revision 1\n", cluster:run("kv", "put", "a", "1").stdout)
    local result = cluster:run "add"
    assert.equal("n3 is a voter, at " .. cluster:node("n3").address .. "\n", result.stdout, result.stderr)
    assert.same({ 1, 2, 3 }, ids())
    assert.equal("n3 leads now\n", cluster:run("transfer", "n3").stdout)
    assert.equal("n3 leads already\n", cluster:run("transfer", "3").stdout)
    assert.equal("revision 2\n", cluster:run("kv", "put", "a", "2").stdout)
    result = cluster:run("remove", "leader")
    assert.equal("n3 is no member any more\n", result.stdout, result.stderr)
    assert.same({ 1, 2 }, ids())
    assert.is_nil(cluster:node "n3")
    assert.is_true(fs.exists(cluster.dir .. "/n3/data"))
    assert.equal("2\n", cluster:run("kv", "get", "a").stdout)
    assert.matches("the next node is n4: a number never comes back", cluster:run("add", "n3").stderr)
    assert.equal("n4", cluster:ask("add", "n4").name)
    local before = cluster:ask("status").leader
    assert.not_equal(before, cluster:ask("transfer").name) -- whoever is furthest
    assert.equal(0, cluster:run("remove", "2", "--at", cluster:node("n1").address).status)
    assert.same({ 1, 4 }, ids())
    local status = cluster:run "status"
    assert.matches("! n2 .*no member", status.stdout)
    assert.matches("perilune members lists them", cluster:run("transfer", "n9").stderr)
    assert.equal(2, cluster:run("transfer", "x").status)
    assert.equal(1, cluster:run("remove", "followers,n1").status)
  end)

  it("show in status who leads, and who is missing when nobody does", function()
    assert.equal(0, cluster:up().status)
    assert.equal(0, cluster:run("kv", "put", "a", "1").status)
    local status = cluster:ask "status"
    assert.same({}, status.problems)
    assert.equal(3, status.voters)
    assert.equal(1, status.revision)
    assert.is_true(status.leads_for >= 0)
    for _, node in ipairs(status.nodes) do
      assert.equal("running", node.process)
      assert.is_true(node.disk > 0)
      eventually(function() return cluster:ask("status").nodes[node.id].lag == 0 end)
    end
    assert.equal(0, cluster:run("kill", "followers").status)
    eventually(function() return cluster:run("status").status == 1 end)
    eventually(function() return cluster:run("status").stdout:find "no majority for" end)
    local text = cluster:run("status").stdout
    assert.matches("^nobody leads\n", text)
    assert.matches("n%d, n%d are not there\n    1 more voter is needed", text)
    assert.matches("! n%d is dead.-\n    perilune up starts it again", text)
    assert.matches("nobody leads the group: perilune status", cluster:run("transfer").stderr)
    assert.equal(0, cluster:run("up").status)
    eventually(function() return #cluster:ask("status").problems == 0 end)
    assert.equal(0, cluster:run("down").status)
    local result = cluster:run "status"
    assert.equal(1, result.status)
    assert.matches("n1 +stopped", result.stdout)
    assert.matches("no node runs", cluster:run("members").stderr)
  end)

  it("are asked elsewhere with --at", function()
    assert.equal(0, cluster:up("-n", "1").status)
    local address = cluster:node("n1").address
    local found = json.decode(cluster:run("members", "--json", "--at", address).stdout)
    assert.same({ { id = 1, name = "n1", is = "voter", address = address, leads = true } }, found.members)
    assert.matches("^n1 leads", cluster:run("status", "--at", address).stdout)
    local result = cluster:run("status", "--at", "127.0.0.1:1")
    assert.equal(1, result.status)
    assert.matches("no node answers; .*127.0.0.1:1", result.stderr)
    assert.equal(2, cluster:run("status", "--at", "nonsense").status)
    assert.matches("it is the only member", cluster:run("remove", "n1").stderr)
  end)
end)
