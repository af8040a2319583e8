--- The labs' own tests of their simulated network, by their names, over TCP on this machine. Those that
--- are about the network's faults run in the simulator.
local binary = require "support.binary"
local channel = require("perilune").channel
local fiber = require "perilune.fiber"
local process = require "perilune.process"
local rpc = require "perilune.rpc"

describe("labrpc over TCP", function()
  local server, peers, ran

  local junk = {
    Handler1 = function(text) return math.tointeger(text) end,
    Handler2 = function(n)
      ran[#ran + 1] = n
      return "handler2-" .. n
    end,
    Handler3 = function(n)
      fiber.sleep(20)
      return -n
    end,
    Handler4 = function(args) return { X = args.X, kind = "pointer" } end,
    Handler5 = function(args) return { X = args.X, kind = "no pointer" } end,
    Handler6 = function(text) return #text end,
    Handler7 = function(n) return ("y"):rep(n) end,
  }

  local function serve(address)
    server = assert(rpc.serve(junk, { listen = address or "127.0.0.1:0" }))
    return server:address()
  end

  local function connect(options)
    local peer = rpc.connect(server:address(), options)
    peers[#peers + 1] = peer
    return peer
  end

  before_each(function()
    ran, peers = {}, {}
    serve()
  end)

  after_each(function()
    for _, peer in ipairs(peers) do
      peer:close()
    end
    server:close()
  end)

  it("TestBasic", function()
    local peer = connect()
    assert.are.equal("handler2-111", peer:call("Handler2", 111))
    assert.are.equal(9099, peer:call("Handler1", "9099"))
  end)

  it("TestTypes", function()
    local peer = connect()
    assert.are.same({ X = 7, kind = "pointer" }, peer:call("Handler4", { X = 7 }))
    assert.are.same({ X = 7, kind = "no pointer" }, peer:call("Handler5", { X = 7 }))
  end)

  it("TestDisconnect", function()
    local address = server:address()
    local peer = connect { deadline = 0.2 }
    server:close()
    assert.is_nil((peer:call("Handler2", 111)))
    assert.are.same({}, ran)
    serve(address)
    assert.are.equal(9099, peer:with { deadline = 5 }:call("Handler1", "9099"))
  end)

  it("TestCounts", function()
    local peer = connect()
    for i = 1, 17 do
      assert.are.equal("handler2-" .. i, peer:call("Handler2", i))
    end
    assert.are.equal(17, server:stats().calls)
  end)

  it("TestBytes", function()
    local peer = connect()
    local text = ("x"):rep(71):rep(2):rep(2)
    for _ = 1, 17 do
      assert.are.equal(284, peer:call("Handler6", text))
    end
    local stats = server:stats()
    assert.truthy(stats.bytes >= 4828 and stats.bytes <= 6000, stats.bytes)
    for _ = 1, 17 do
      assert.are.equal(107, #peer:call("Handler7", 107))
    end
    local more = server:stats().bytes - stats.bytes
    assert.truthy(more >= 1800 and more <= 3000, more)
  end)

  it("TestConcurrentMany", function()
    local fibers = {}
    for client = 1, 20 do
      local peer = connect { node = "client" .. client } -- peers of one node share a connection
      fibers[client] = fiber.spawn(function()
        for i = 1, 10 do
          local n = client * 100 + i
          assert(peer:call("Handler2", n) == "handler2-" .. n)
        end
      end)
    end
    assert.is_true(fiber.join(table.unpack(fibers)))
    assert.are.equal(200, server:stats().calls)
    assert.are.equal(200, #ran)
  end)

  it("TestConcurrentOne", function()
    local peer, fibers = connect(), {}
    for i = 1, 20 do
      fibers[i] = fiber.spawn(function() assert(peer:call("Handler2", i) == "handler2-" .. i) end)
    end
    assert.is_true(fiber.join(table.unpack(fibers)))
    table.sort(ran)
    assert.are.equal(20, #ran)
    for i = 1, 20 do
      assert.are.equal(i, ran[i])
    end
  end)

  it("TestRegression1", function()
    local address = server:address()
    server:close()
    local peer, fibers = rpc.connect(address, { deadline = 0.1 }), {}
    peers[1] = peer
    for i = 1, 20 do
      fibers[i] = fiber.spawn(function() return (peer:call("Handler2", i)) end)
    end
    for _, each in ipairs(fibers) do
      assert.are.same({ true }, { each:join() })
    end
    serve(address)
    assert.are.equal("handler2-99", peer:with { deadline = 5 }:call("Handler2", 99))
    local fastest = math.huge -- of a few: the machine may be busy
    for n = 100, 104 do
      local started = fiber.now()
      assert.are.equal("handler2-" .. n, peer:call("Handler2", n))
      fastest = math.min(fastest, fiber.now() - started)
    end
    assert.truthy(fastest < 0.03)
    assert.are.same({ 99, 100, 101, 102, 103, 104 }, ran)
  end)

  it("TestKilled", function()
    local script = [[
      local rpc, fiber = require "perilune.rpc", require "perilune.fiber"
      print(assert(rpc.serve({ Handler3 = function(n) fiber.sleep(20) return -n end },
        { listen = "127.0.0.1:0" })):address())
      io.stdout:flush()]]
    local child = assert(process.spawn { binary.path, "run", "-", stdin = "pipe", stdout = "pipe" })
    child:write(script)
    child:close_stdin()
    local peer = rpc.connect(child:read_line(), { deadline = 30 })
    peers[1] = peer
    local failed = channel(1)
    fiber.spawn(function() failed:send((select(3, peer:call("Handler3", 99)))) end)
    fiber.sleep(0.5)
    assert.are.equal("EBUSY", (select(3, failed:try_recv())))
    child:kill(9)
    assert.are.equal("EDISCONNECTED", fiber.deadline(1, function() return failed:recv() end))
    child:wait()
  end)

  it("TestBenchmark", function()
    local peer = connect()
    for i = 1, 100000 do
      assert(peer:call("Handler2", i) == "handler2-" .. i)
    end
    assert.are.equal(100000, #ran)
  end)
end)
