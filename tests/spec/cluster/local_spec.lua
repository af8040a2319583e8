-- perilune up, down, ps, logs, kill, pause, resume: real processes in a directory.
local cli = require "support.binary"
local eventually = require "support.eventually"
local fs = require "perilune.fs"
local json = require "perilune.json"
local process = require "perilune.process"
local rpc = require "perilune.rpc"
local new_cluster = require "support.cluster"

describe("perilune up", function()
  local cluster = new_cluster(before_each, after_each)

  it("starts three nodes, which take a put, lose their leader, and are stopped", function()
    local result = cluster:up()
    assert.equal(0, result.status, result.stderr)
    assert.matches("^3 nodes are up\n  n1  127.0.0.1:" .. cluster.base + 10, result.stdout)
    local nodes = cluster:ask("ps").nodes
    assert.equal(3, #nodes)
    local leaders = 0
    for id, node in ipairs(nodes) do
      leaders = leaders + (node.role == "leader" and 1 or 0)
      assert.equal("running", node.state)
      assert.is_true(node.ready)
      assert.equal(("127.0.0.1:%d"):format(cluster.base + 10 * id), node.address)
      assert.equal(("127.0.0.1:%d"):format(cluster.base + 10 * id + 1), node.resp)
      assert.equal(("127.0.0.1:%d"):format(cluster.base + 10 * id + 2), node.admin)
    end
    assert.equal(1, leaders)
    assert.equal("revision 1\n", cluster:run("kv", "put", "greeting", "hello").stdout)
    local killed = cluster:ask("kill", "leader").nodes
    assert.equal(1, #killed)
    assert.equal("hello\n", cluster:run("kv", "get", "greeting").stdout)
    assert.equal("dead", cluster:node(killed[1].name).state)
    assert.matches("which " .. killed[1].name .. " had to be started", cluster:run("up").stdout)
    assert.matches("are up already", cluster:run("up").stdout)
    assert.equal("3 nodes stopped\n", cluster:run("down").stdout)
    for _, node in ipairs(cluster:ask("ps").nodes) do
      assert.equal("stopped", node.state)
      assert.is_false(fs.exists(node.dir .. "/ready"))
    end
    assert.equal("no node was running\n", cluster:run("down").stdout)
    result = cluster:run("kv", "get", "greeting")
    assert.equal(1, result.status)
    assert.matches("no node of the cluster in .* runs\nhint: perilune up starts them", result.stderr)
  end)

  it("goes on with the data when all was killed, and nobody cleaned up", function()
    assert.equal(0, cluster:up("-n", "1").status)
    assert.equal(0, cluster:run("kv", "put", "a", "b").status)
    local before = cluster:node "n1"
    process.signal(before.pid, 9)
    fs.write(cluster.dir .. "/lock", json.encode { pid = before.pid, started = 1, boot = "another" })
    eventually(function() return cluster:node("n1").state == "dead" end)
    -- The id belongs to somebody else after a reboot: that one is left alone.
    fs.write(before.dir .. "/run.json", json.encode { pid = process.pid(), started = 1, boot = "another" })
    assert.equal("dead", cluster:node("n1").state)
    assert.equal(0, cluster:run("up").status)
    assert.equal("b\n", cluster:run("kv", "get", "a").stdout)
  end)

  it("pauses and resumes, by name, number and selector", function()
    assert.equal(0, cluster:up().status)
    assert.equal(0, cluster:run("pause", "followers").status)
    local paused = 0
    for _, node in ipairs(cluster:ask("ps").nodes) do
      paused = paused + (node.state == "paused" and 1 or 0)
    end
    assert.equal(2, paused)
    local result = cluster:run("kv", "put", "a", "b", "--deadline", "500ms")
    assert.equal(1, result.status)
    assert.matches("hint: perilune status says what is missing", result.stderr)
    assert.equal(2, #cluster:ask("resume", "all").nodes)
    assert.equal(0, cluster:run("pause", "2").status)
    result = cluster:run("pause", "n2")
    assert.equal(1, result.status)
    assert.matches("n2 is paused", result.stderr)
    assert.equal("paused", cluster:node("n2").state)
    assert.matches("which n2 had to be", cluster:run("up").stdout)
    assert.equal("running", cluster:node("n2").state)
    result = cluster:run("kill", "n7")
    assert.equal(1, result.status)
    assert.matches("'n7' is no node; did you mean n%d", result.stderr)
  end)

  it("says what stands in its way", function()
    local server <close> = assert(rpc.serve({}, { listen = "127.0.0.1:0", detached = true }))
    local port = tonumber(server:address():match ":(%d+)$")
    local result = cluster:run("up", "-n", "1", "--base-port", tostring(port - 11))
    assert.equal(1, result.status)
    assert.matches(("n1 cannot listen at 127.0.0.1:%d: Address already in use"):format(port),
      result.stderr, 1, true)
    assert.matches("hint: .*%-%-base%-port", result.stderr)
    assert.matches("there is no cluster in", cluster:run("ps").stderr)
    for _, verb in ipairs { "down", "logs", "kill" } do
      result = cluster:run(verb, verb == "kill" and "n1" or nil)
      assert.equal(1, result.status)
      assert.matches("hint: perilune up starts one", result.stderr)
    end
    assert.equal(2, cluster:run("up", "-n", "0").status)
    assert.equal(2, cluster:run("kill").status)
    assert.equal(0, cluster:up("-n", "1").status)
    result = cluster:run("up", "-n", "3")
    assert.equal(1, result.status)
    assert.matches("holds a cluster of 1 nodes already", result.stderr)
    assert.matches("holds a cluster with base port", cluster:run("up", "--base-port", "9000").stderr)
    assert.equal(0, cluster:run("pause", "n1").status)
    fs.write(cluster.dir .. "/lock", fs.read(cluster.dir .. "/n1/run.json"))
    assert.matches("another command %(process %d+%) is at work", cluster:run("down").stderr)
    fs.remove(cluster.dir .. "/lock")
  end)

  it("shows the last lines of a node that does not become ready", function()
    assert.equal(0, cluster:up("-n", "1").status)
    assert.equal(0, cluster:run("down").status)
    local file = cluster.dir .. "/n1/node.lua"
    local text = assert(fs.read(file))
    fs.write(file, (text:gsub("id = 1", "id = 1, dta = 2")))
    local result = cluster:run "up"
    assert.equal(1, result.status)
    assert.matches("n1 ended before it was ready", result.stderr)
    assert.matches("there is no 'dta'; did you mean data?", result.stderr, 1, true)
    assert.matches("hint: all it said: perilune logs n1", result.stderr)
    fs.write(file, text)
    assert.equal(0, cluster:run("up").status)
  end)

  it("shows what nodes say, and what they go on to say", function()
    assert.equal(0, cluster:up("-n", "2").status)
    assert.matches("n1 | .*msg=ready.*n2 | .*msg=ready", cluster:run("logs").stdout)
    assert.matches("^time=[^\n]*\n$", cluster:run("logs", "n1", "-l", "1").stdout)
    assert.matches("msg=ready", cluster:ask("logs", "n1", "-l", "1").line)
    local tail <close> = assert(process.spawn { cli.path, "logs", "-f", "n1", "-l", "1", "--dir", cluster.dir,
      stdout = "pipe", dies_with_parent = true })
    assert.truthy(tail:read_line())
    assert.equal(0, cluster:run("down").status)
    assert.matches("msg=ends signal=15", tail:read_line())
  end)
end)
