-- Clients of Redis that behave badly, and the store that serves them: bytes that are no commands, thousands
-- that say nothing, and those that never read. None costs more than its connection.
local fiber = require "perilune.fiber"
local process = require "perilune.process"
local resp_nodes = require "support.resp_nodes"
local use_folder = require "support.folder"

local with_cli = resp_nodes.has_cli and it or pending
local IDLE, IDLE_BYTES = 10000, 8 << 10 -- connections, and what one may cost
local MIB = 1 << 20

describe("a client of Redis", function()
  local nodes
  local folder = use_folder(before_each, after_each)
  after_each(function()
    nodes:close()
  end)

  local function start(env)
    nodes = resp_nodes.start(folder, 1, env)
  end

  local function is_well()
    assert.equal("+PONG\r\n", nodes:send(1, "PING\r\nQUIT\r\n"):sub(1, 7))
  end

  local is_sanitized = assert(io.open "/proc/self/maps"):read "a":find "libasan" ~= nil

  -- Memory of the node, in bytes; a sanitizer's is none of ours.
  local function memory()
    if is_sanitized then
      return 0
    end
    local status = assert(io.open(("/proc/%d/status"):format(nodes[1]:pid()))):read "a"
    return tonumber(status:match "VmRSS:%s*(%d+)") << 10
  end

  local function eventually(what, condition)
    for _ = 1, 400 do
      if condition() then
        return
      end
      fiber.sleep(0.05)
    end
    error(what)
  end

  it("that sends garbage hears why, and is disconnected", function()
    start()
    for bytes, why in pairs {
      ["*2\r\n$3\r\nGET\r\n$x\r\n"] = "invalid bulk length",
      ["*x\r\n"] = "invalid multibulk length",
      ["*1\r\n:1\r\n"] = "expected '$', got ':'",
      ["*2\r\n$3\r\nGET\r\n$99999999999\r\n"] = "invalid bulk length",
      ["*3\r\n$3\r\nSET\r\n$1\r\na\r\n$8388609\r\n"] = "invalid bulk length",
      ["*2000000\r\n"] = "invalid multibulk length",
      [("x"):rep(70000)] = "too big inline request",
    } do
      local seconds = 5 -- the answer ends before: the node closes
      assert.matches("-ERR Protocol error: " .. why, nodes:send(1, bytes, seconds), 1, true)
    end
    assert.matches("^%-ERR unknown command", nodes:send(1, "\0\1\2\3\r\nQUIT\r\n"))
    is_well()
  end)

  it("that sends half a command keeps nobody waiting", function()
    start()
    local large = "*2\r\n$3\r\nGET\r\n$8000000\r\n" .. ("x"):rep(100000)
    for _, bytes in ipairs { "*", "*2\r\n$3\r\nGE", large, "GE" } do
      assert.equal("", nodes:send(1, bytes, 0.3))
      is_well()
    end
    assert.equal("+OK\r\n$1\r\nb\r\n", nodes:send(1, "SET a b\r\nGET a\r\nGET", 0.3))
  end)

  it("that gives a password where there is none, or another one, is told", function()
    start()
    assert.matches("^%-ERR AUTH <password> called without any password configured",
      nodes:send(1, "AUTH x\r\nQUIT\r\n"))
    nodes:close()
    start { PERILUNE_SECRET = "0123456789abcdef" }
    assert.equal("-WRONGPASS invalid username-password pair or user is disabled.\r\n+OK\r\n+PONG\r\n+OK\r\n",
      nodes:send(1, "AUTH x\r\nAUTH default 0123456789abcdef\r\nPING\r\nQUIT\r\n"))
  end)

  with_cli("that subscribes hears of changes of keys, and of nothing else", function()
    start()
    local listener <close> = assert(process.spawn { "redis-cli", "-p", tostring(nodes:port(1)), "psubscribe",
      "__key*:*", "news", stdout = "pipe", dies_with_parent = true })
    for _ = 1, 6 do
      listener:read_line()
    end
    assert.matches("unknown command 'publish'", nodes:cli(1, "publish news x"))
    assert.equal("OK\n1", nodes:cli(1, "set a 1", "del a"))
    local heard = {}
    for i = 1, 4 do
      assert.equal("pmessage", listener:read_line())
      assert.equal("__key*:*", listener:read_line())
      heard[i] = listener:read_line() .. " " .. listener:read_line()
    end
    assert.same({ "__keyspace@0__:a set", "__keyevent@0__:set a", "__keyspace@0__:a del",
      "__keyevent@0__:del a" }, heard)
    listener:kill(9)
  end)

  with_cli("that subscribes and never reads is disconnected, and the log says why", function()
    nodes = resp_nodes.start(folder, 1, nil, "pipe")
    local patterns = {}
    for i = 1, 10 do
      patterns[i] = ("__key%s*"):format(("?"):rep(i))
    end
    local before = memory()
    local reader <close> = assert(process.spawn { "bash", "-c",
      ("exec 3<>/dev/tcp/127.0.0.1/%d; echo PSUBSCRIBE %s >&3; sleep 600"):format(nodes:port(1),
        table.concat(patterns, " ")), dies_with_parent = true })
    eventually("nobody subscribes", function() return nodes:info(1, "connected_clients") == 2 end)
    local line = { "mset" }
    for i = 1, 100 do
      line[#line + 1] = ("k%03d"):format(i) .. ("x"):rep(900) .. " 1"
    end
    line = table.concat(line, " ")
    eventually("it is never disconnected", function()
      nodes:cli(1, line, line)
      return nodes:info(1, "connected_clients") == 1
    end)
    assert.is_true(memory() - before < 96 * MIB, ("%d MiB more"):format((memory() - before) // MIB))
    is_well()
    assert.matches("client %d+ at .* is disconnected: it does not read", nodes[1]:stderr_read_line())
    reader:kill(9)
  end)

  with_cli("that asks for much at once gets it as fast as it reads", function()
    start()
    local get = ("GET a\r\n"):rep(20)
    assert.equal("+OK\r\n", nodes:send(1, "SET a " .. ("x"):rep(60000) .. "\r\n"))
    assert.equal("OK", nodes:cli(1, 'eval "local a = redis.call(\'get\', KEYS[1]) '
      .. 'return redis.call(\'set\', KEYS[1], a:rep(20))" 1 a'))
    local _, found = nodes:send(1, get .. "QUIT\r\n", 20):gsub("%$1200000\r\n", "")
    assert.equal(20, found)
  end)

  with_cli("that asks and never reads waits, and the others do not", function()
    start()
    local set = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n" .. ("x"):rep(1000000) .. "\r\nQUIT\r\n"
    assert.equal("+OK\r\n+OK\r\n", nodes:send(1, set))
    local before = memory()
    local reader <close> = assert(process.spawn { "bash", "-c",
      ("exec 3<>/dev/tcp/127.0.0.1/%d; yes 'GET a' | head -n 20000 >&3; sleep 600"):format(nodes:port(1)),
      dies_with_parent = true })
    eventually("it has not asked", function() return nodes:info(1, "connected_clients") == 2 end)
    for _ = 1, 20 do
      is_well()
      fiber.sleep(0.05)
    end
    assert.is_true(memory() - before < 64 * MIB, ("%d MiB more"):format((memory() - before) // MIB))
    reader:kill(9)
  end)

  with_cli("that says nothing costs a few KiB, and ten thousand of them no more than that", function()
    start()
    local limit = tonumber(process.run({ "bash", "-c", "ulimit -Hn" }).stdout) or math.huge
    if limit < IDLE + 100 then
      pending(("this process may open %d files only"):format(limit))
      return
    end
    local before = memory()
    local crowd <close> = assert(process.spawn { "bash", "-c",
      ("ulimit -n %d; exec redis-benchmark -p %d -I -c %d"):format(IDLE + 90, nodes:port(1), IDLE),
      stdout = "pipe", dies_with_parent = true })
    eventually("they do not come", function() return nodes:info(1, "connected_clients") > IDLE end)
    local each = (memory() - before) // IDLE
    assert.is_true(each < IDLE_BYTES, ("%d bytes each"):format(each))
    is_well()
    assert.equal("OK", nodes:cli(1, "set a 1"))
    crowd:kill(9)
    eventually("they do not go", function() return nodes:info(1, "connected_clients") == 1 end)
  end)
end)
