-- perilune.tcp: bytes to servers that speak a protocol of their own. Here Redis', as the store serves it.
local cli = require "support.binary"
local fiber = require "perilune.fiber"
local new_folder = require "support.folder"
local process = require "perilune.process"
local tcp = require "perilune.tcp"

describe("perilune.tcp", function()
  local folder = new_folder(before_each, after_each)
  local server, address

  before_each(function()
    server = assert(process.spawn {
      cli.path, "kv", "serve", folder:at "data", "--members", "127.0.0.1:0", "--listen", "127.0.0.1:0",
      "--resp", "127.0.0.1:0", stdout = "pipe", dies_with_parent = true,
    })
    address = assert(server:read_line()):match "Redis' at (.*)$"
  end)

  after_each(function()
    server:close()
  end)

  it("sends bytes, and gives them by lines and by numbers", function()
    local conn <close> = assert(tcp.connect(address))
    assert(conn:send "PING\r\nSET a ")
    assert(conn:send "hello\r\nGET a\r\n")
    assert.equal("+PONG", conn:recv_line())
    assert.equal("+OK", conn:recv_line())
    assert.equal("$5", conn:recv_line())
    assert.equal("hel", conn:recv_exact(3))
    assert.equal("lo\r\n", conn:recv_exact(4))
    conn:send "QUIT\r\n"
    assert.equal("+OK\r\n", conn:recv())
    assert.equal("ECLOSED", select(3, conn:recv()))
  end)

  it("gives large replies whole, however slowly they are taken", function()
    local value = ("0123456789"):rep(400000)
    local conn <close> = assert(tcp.connect(address))
    assert(conn:send(("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n"):format(#value, value)))
    assert.equal("+OK", conn:recv_line())
    assert(conn:send "GET a\r\n")
    fiber.sleep(0.2)
    assert.equal("$4000000", conn:recv_line())
    assert.is_true(conn:recv_exact(4000000) == value)
  end)

  it("says why there is no connection, or no more", function()
    local conn, why, code = tcp.connect "127.0.0.1:1"
    assert.is_nil(conn)
    assert.equal("ECONNREFUSED", code)
    assert.matches("127.0.0.1:1", why, 1, true)
    assert.equal("EINVAL", select(3, tcp.connect "nonsense:x"))
    conn = assert(tcp.connect(address))
    local reader = fiber.spawn(function() return conn:recv_line() end)
    fiber.sleep(0.05)
    assert.error_matches(function() conn:recv() end, "another fiber waits")
    server:kill(9)
    assert.is_nil(select(2, reader:join()))
    assert.is_nil((conn:send "PING\r\n"))
    conn:close()
    assert.equal("ECLOSED", select(3, conn:recv()))
  end)
end)
