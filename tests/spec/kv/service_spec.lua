-- Commands and queries that come by RPC and are answered without Lua (runtime/kv/service.c).
local use_folder = require "tests.spec.support.folder"
local fiber = require "perilune.fiber"
local kv = require "perilune.kv"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"

describe("a server of a store", function()
  local node, group, server, peer
  after_each(function() -- before the folder goes
    peer:close()
    server:close()
    node:close()
  end)
  local folder = use_folder(before_each, after_each)

  -- One node; with more members it has no quorum.
  local function open(...)
    node = assert(raft.open { id = 1, path = folder:at "n1", listen = "127.0.0.1:0" })
    group = assert(raft.group { id = 1, node = node, members = { node:address(), ... }, machine = "kv" })
    server = assert(kv.serve { group = group, listen = "127.0.0.1:0" })
    peer = rpc.connect(server:address())
  end

  local function refuses(code, certainty, pattern, ...)
    local id, ok, err, got, how, leader = peer:call(...)
    assert.equal(1, id)
    assert.is_false(ok)
    assert.matches(pattern, err)
    assert.equal(code, got)
    assert.equal(certainty, how)
    return leader
  end

  it("answers with the node, and what the store says", function()
    open()
    assert.same({ 1, true, { 0, 0, 1 } }, { peer:call("kv.command", 0, 0, "open", 60000) })
    local id, ok, result = peer:call("kv.command", 1, 1, "do", {}, { { "put", "a", "b", 0 } }, {})
    assert.same({ 1, true, 1, true, { 1 } }, { id, ok, result[1], result[3], result[4] })
    assert.same(result, select(3, peer:call("kv.command", 1, 1, "do", {}, { { "put", "a", "b", 0 } }, {})))
    for _, consistency in ipairs { "linearizable", "stale" } do
      local answer = table.pack(peer:call("kv.query", consistency, "get", "a", 0))
      assert.same({ "b", 1, 1, 1, 0 }, answer[3][3])
      assert.equal(consistency == "stale" and 0 or nil, answer[4])
    end
  end)

  it("refuses what is no command before it is in the log", function()
    open()
    assert(peer:call("kv.command", 0, 0, "open", 60000))
    local before = group:status().last_index
    refuses("EINVAL", "ok", "no command of that name", "kv.command", 0, 0, "nonsense")
    refuses("EINVAL", "ok", "", "kv.command")
    refuses("EINVAL", "ok", "", "kv.command", {}, 0, "open", 1)
    refuses("EINVAL", "ok", "", "kv.command", 0, 0, "open", 1, 2)
    refuses("ETOOBIG", "ok", "1024", "kv.command", 0, 0, "do", {}, { { "put", ("k"):rep(1025), "", 0 } }, {})
    refuses("EINVAL", "ok", "linearizable, lease or stale", "kv.query", "hopeful", "get", "a", 0)
    refuses("EINVAL", "ok", "linearizable, lease or stale", "kv.query", {}, "get", "a", 0)
    refuses("EINVAL", "ok", "", "kv.query", "stale")
    refuses("EINVAL", "ok", "revision 7", "kv.query", "stale", "get", "a", 7)
    refuses("EINVAL", "ok", "group 1 has no leases", "kv.query", "lease", "get", "a", 0)
    assert.equal(before, group:status().last_index)
    refuses("ESESSION", "ok", "", "kv.command", 99, 1, "do", {}, {}, {})
  end)

  it("says why nothing came of it while somebody still waits", function()
    open("127.0.0.1:1", "127.0.0.1:2")
    local calls = { { "kv.command", 0, 0, "open", 60000 }, { "kv.query", "linearizable", "get", "a", 0 } }
    for _, call in ipairs(calls) do
      local answer = table.pack(peer:with({ deadline = 1 }):call(table.unpack(call)))
      assert.same({ false, "EDEADLINE", "never" }, { answer[2], answer[4], answer[5] })
      assert.matches("node 3 (127.0.0.1:2) is down for", answer[3], 1, true)
    end
  end)

  it("forgets who waits no longer, and says so to who does when it ends", function()
    open("127.0.0.1:1", "127.0.0.1:2")
    local function await(requests)
      while group:status().requests ~= requests do
        fiber.sleep(0.01)
      end
    end
    local waiting = fiber.spawn(function() peer:call("kv.command", 0, 0, "open", 60000) end)
    await(1)
    waiting:cancel()
    await(0)
    local ended = fiber.spawn(function()
      return refuses("ECLOSED", "never", "closed", "kv.query", "linearizable", "get", "a", 0)
    end)
    await(1)
    group:close()
    ended:join()
    refuses("ECLOSED", "never", "", "kv.command", 0, 0, "open", 60000)
  end)
end)
