-- The store as Redis' clients see it: redis-cli against three nodes, and bytes that are no commands.
local fiber = require "perilune.fiber"
local resp_nodes = require "support.resp_nodes"
local use_folder = require "support.folder"

local with_cli = resp_nodes.has_cli and it or pending

describe("Redis' clients", function()
  local nodes
  after_each(function()
    nodes:close()
  end)
  local folder = use_folder(before_each, after_each)

  local function start(count)
    nodes = resp_nodes.start(folder, count)
  end

  local function cli(...)
    return nodes:cli(...)
  end

  local function says(expected, ...)
    assert.equal(expected, cli(1, ...))
  end

  with_cli("find strings, with times to live and conditions", function()
    start(1)
    says("PONG", "ping")
    says("OK\n1\n2", "set a 1", "get a", "incr a", "get b")
    says("\nOK\n2", "set b 1 xx", "set b 2 nx", "get b")
    says("2\n5\n3", "set b 5 get", "get b", "append b 50")
    says("OK\n550\nOK\n1", "set b 550", "getset b x", "set c y px 60000", "persist c")
    says("1.5\n4\n-1", "incrbyfloat f 1.5", "incrby n 4", "ttl c")
    says("OK\n1\n2\n2", "mset x 1 y 2", "mget x y z", "exists x y z")
    says("0\n1\n1\n100\n2", "msetnx x 3 w 4", "msetnx v 3 w 4", "expire w 100", "ttl w", "del v w")
    says("ERR value is not an integer or out of range", "incr c")
    says("ERR syntax error", "set a b what")
    says("ERR unknown command 'lpush'", "lpush a b")
  end)

  with_cli("lose keys whose time is over", function()
    start(1)
    says("OK\n1", "set a 1 px 150", "get a")
    fiber.sleep(0.4)
    says("\n0\n-2\n1", "get a", "exists a", "ttl a", "setnx a 2")
    says("-1", "ttl a")
  end)

  with_cli("see how much of its time is left to a key, although nothing else happens", function()
    start(1)
    says("OK", "set a 1 px 20000")
    fiber.sleep(0.5)
    local left_ms = tonumber(cli(1, "pttl a"))
    assert.is_true(left_ms > 0 and left_ms <= 19500, ("%d ms"):format(left_ms))
  end)

  with_cli("walk over keys", function()
    start(1)
    says("OK", "mset k:1 a k:2 b l:1 c")
    says("k:1\nk:2", "keys k:*")
    assert.matches("^%d+\nk:1\nk:2$", cli(1, "scan 0 count 2"))
    says("3\nOK\n0", "dbsize", "flushall", "dbsize")
    assert.matches("invalid cursor", cli(1, "scan 77"))
  end)

  with_cli("have transactions that happen whole or not at all", function()
    start(1)
    says("OK\nQUEUED\nQUEUED\nOK\n2", "multi", "set a 1", "incr a", "exec")
    says("OK\nQUEUED\nQUEUED\nEXECABORT Transaction rolled back: value is not an integer or out of range\n2",
      "multi", "set a text", "incr a", "exec", "get a")
    says("OK\nOK\nQUEUED\nOK", "watch a", "multi", "set a 3", "discard")
    says("OK\nOK\nOK\nQUEUED\n9", "watch a", "set a 9", "multi", "set a 3", "exec", "get a")
    says("OK\nOK\n1\nOK\nQUEUED", "watch new", "set new 1", "del new", "multi", "set a 3", "exec")
    says("OK\nOK\nOK\nQUEUED\nOK", "watch new", "set other 1", "multi", "set new 2", "exec")
    says("ERR EXEC without MULTI", "exec")
  end)

  with_cli("write on every node, also while the leader is killed", function()
    start(3)
    local acknowledged = 0
    for i = 1, 30 do
      local id = i % 3 + 1
      if nodes[id] and cli(id, "incr n"):find "^%d+$" then
        acknowledged = acknowledged + 1
      end
      if i == 12 then
        local leader = nodes:leader(1)
        nodes:kill(leader)
      end
    end
    local alive = nodes[1] and 1 or 2
    local found = tonumber(cli(alive, "get n"))
    assert.is_true(acknowledged >= 20 and found >= acknowledged, ("%d of %d"):format(found, acknowledged))
  end)

  with_cli("keep their keys for as long as somebody led, whoever they ask", function()
    start(3)
    local asked = nodes:leader(1) == 1 and 2 or 1
    assert.equal("1", cli(asked, "incr n"))
    assert.equal("OK", cli(asked, "set a 1 px 4000"))
    for id = 1, 3 do -- the node that was asked is alone, and nobody leads
      if id ~= asked then
        nodes:kill(id)
      end
    end
    fiber.sleep(3)
    local other = asked % 3 + 1
    nodes:spawn(other)
    assert.equal("2", cli(asked, "incr n"))
    local left_ms = tonumber(cli(asked, "pttl a"))
    assert.is_true(left_ms > 2000 and left_ms <= 4000, ("%d ms"):format(left_ms))
  end)
end)
