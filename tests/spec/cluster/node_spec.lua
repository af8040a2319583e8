-- perilune node: a real process, alone and joined by others.
local cli = require "support.binary"
local eventually = require "support.eventually"
local fs = require "perilune.fs"
local json = require "perilune.json"
local process = require "perilune.process"
local rpc = require "perilune.rpc"
local new_folder = require "support.folder"

describe("perilune node", function()
  local nodes
  local folder = new_folder(before_each, after_each)
  before_each(function()
    nodes = {}
  end)
  after_each(function()
    for _, node in ipairs(nodes) do
      node:close()
    end
  end)

  -- Starts a node; where it serves.
  local function start(id, ...)
    local node = assert(process.spawn {
      cli.path, "node", "--id", tostring(id), "--data", folder:at("n" .. id), "--listen", "0",
      "--json", stdout = "pipe", stderr = "null", dies_with_parent = true, ...,
    })
    nodes[#nodes + 1] = node
    return json.decode(node:read_line()), node
  end

  local function stop(node)
    node:kill(15)
    return node:wait()
  end

  local function status(place)
    local peer <close> = rpc.connect(place.address)
    return assert(peer:call "cluster.status")
  end

  it("serves a store alone, says when it is ready, and ends with 0", function()
    local ready = folder:at "ready"
    local place, node = start(1, "--ready-file", ready)
    eventually(function() return fs.exists(ready) end)
    assert.same(place, json.decode(fs.read(ready)))
    assert.equal(0, cli.run({ "kv", "--at", place.address, "put", "a", "b" }).status)
    local found = status(place)
    assert.equal(1, found.id)
    assert.equal("leader", found.group.role)
    assert.equal(1, found.store.revision)
    assert.is_true(found.leader_since >= found.started)
    assert.is_true(found.disk > 0)
    assert.equal(0, stop(node).status)
    assert.is_false(fs.exists(ready))
    place = start(1)
    assert.equal("b\n", cli.run({ "kv", "--at", place.address, "get", "a" }).stdout)
  end)

  it("tells the service manager when it is ready, and when it stops", function()
    if not os.execute "command -v python3 >/dev/null 2>&1" then
      return pending "python3 is not there"
    end
    local manager <close> = assert(process.spawn { "python3", "-c", [[
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(listener.recv(1000).decode().replace("\n", " "), flush=True)
]], folder:at "notify", stdout = "pipe", dies_with_parent = true })
    assert.equal("bound", manager:read_line())
    local node = assert(process.spawn { cli.path, "node", "--data", folder:at "n1", "--listen", "0",
      env = { NOTIFY_SOCKET = folder:at "notify" }, stdout = "null", stderr = "null",
      dies_with_parent = true })
    nodes[1] = node
    assert.matches("^READY=1 STATUS=serves at 127.0.0.1:%d+$", manager:read_line())
    assert.equal(0, stop(node).status)
    assert.equal("STOPPING=1", manager:read_line())
  end)

  it("says why it cannot start", function()
    local place = start(1)
    local result = cli.run { "node", "--id", "1", "--data", folder:at "n1", "--listen", "127.0.0.1:0" }
    assert.equal(1, result.status)
    assert.matches("hint: is it running already%?", result.stderr)
    result = cli.run { "node", "--data", folder:at "x", "--listen", place.address, "--json" }
    assert.equal(1, result.status)
    assert.equal("EADDRINUSE", json.decode(result.stdout).error.code)
    assert.is_false(fs.exists(folder:at "x"))
    result = cli.run { "node", "--data", folder:at "x", "--listen", "127.0.0.1:0", "--resp", place.address }
    assert.matches("already in use", result.stderr)
    assert.is_false(fs.exists(folder:at "x"))
  end)

  it("joins a cluster, votes in it, and takes over when the leader is stopped", function()
    local first, leader = start(1)
    assert.equal(0, cli.run({ "kv", "--at", first.address, "put", "a", "b" }).status)
    local second = start(2, "--join", first.address)
    local third, third_node = start(3, "--join", first.address)
    eventually(function()
      local members = status(first).group.members
      return members[3] and members[2].is == "voter" and members[3].is == "voter"
    end)
    assert.equal(0, stop(leader).status) -- it hands over first
    local led = status(second).group.leader
    assert.is_true(led == 2 or led == 3)
    assert.equal("b\n", cli.run({ "kv", "--at", third.address, "get", "a" }).stdout)
    local put = cli.run { "kv", "--at", (led == 2 and third or second).address, "put", "a", "c" }
    assert.equal("revision 2\n", put.stdout, put.stderr)
    assert.equal(0, stop(third_node).status)
    -- It knows the others, and is a member already.
    third = start(3, "--join", "127.0.0.1:1", "--listen", third.address)
    eventually(function() return status(third).group.leader end)
    assert.equal("c\n", cli.run({ "kv", "--at", third.address, "get", "a" }).stdout)
  end)
end)
