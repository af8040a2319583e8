local binary = require "support.binary"
local channel = require("perilune").channel
local fiber = require "perilune.fiber"
local msgpack = require "perilune.msgpack"
local process = require "perilune.process"
local rpc = require "perilune.rpc"

local SECRET = "0123456789abcdef-a-secret"

describe("perilune.rpc", function()
  local open = {}

  local function closing(object)
    open[#open + 1] = object
    return object
  end

  -- A server on a free port and a peer of it.
  local function serving(functions, options, peer_options)
    options = options or {}
    options.listen = options.listen or "127.0.0.1:0"
    local server = closing(assert(rpc.serve(functions, options)))
    return closing(rpc.connect(server:address(), peer_options)), server
  end

  after_each(function()
    for index = #open, 1, -1 do
      open[index]:close()
    end
    open = {}
  end)

  describe("a call", function()
    it("gives what the function returns", function()
      local peer = serving { echo = function(...) return ... end }
      assert.are.same(table.pack(1, "two", nil, { 4, five = 5.5 }, false),
        table.pack(peer:call("echo", 1, "two", nil, { 4, five = 5.5 }, false)))
      assert.are.equal(0, select("#", peer:call "echo"))
    end)

    it("carries what MessagePack carries, to the last bit", function()
      local peer = serving { echo = function(x) return x end }
      for _, value in ipairs { math.maxinteger, math.mininteger, -129, 0.1, 1 / 0, "\0\xff", ("x"):rep(70000),
        { { { "deep" } } }, { [1] = "a", [3] = "hole" }, { [true] = 1, [2.5] = 2 } } do
        assert.are.same(value, peer:call("echo", value))
      end
    end)

    it("refuses what is no data by its place", function()
      local peer = serving { give = function() return 1, { f = print } end, echo = function(x) return x end }
      assert.has_error(function() peer:call("echo", 1, { list = { 2, print } }) end,
        "echo: argument 2.list[2] is a function")
      local cycle = {}
      cycle.me = cycle
      assert.has_error(function() peer:call("echo", cycle) end, "echo: argument 1.me is a cycle")
      local value, err, code = peer:call "give"
      assert.is_nil(value)
      assert.matches("result 2.f is a function", err)
      assert.are.equal("EFORMAT", code)
    end)

    it("passes on the function's own nil, err, code", function()
      local peer = serving { find = function() return nil, "not there", "ENOENT" end }
      assert.are.same({ n = 3, nil, "not there", "ENOENT" }, table.pack(peer:call "find"))
    end)

    it("names a function that nobody serves", function()
      local peer = serving({}, { node = "n2" })
      local value, err, code, details = peer:call "nope"
      assert.is_nil(value)
      assert.matches("^call nope to n2 %(127.0.0.1:%d+%): there is no function nope$", err)
      assert.are.equal("ENOFUNCTION", code)
      assert.is_false(details.retryable)
    end)

    it("brings the other side's error with its traceback", function()
      local function inner() error "it broke" end
      local peer = serving({ boom = function() inner() end }, { node = "n2" })
      local _, err, code, details = peer:call "boom"
      assert.matches("call boom to n2 .*rpc_spec.lua:%d+: it broke", err)
      assert.are.equal("ELUA", code)
      assert.matches("in upvalue 'inner'.*in function", details.traceback)
      assert.are.equal("n2", details.node)
      assert.is_true(details.remote)
    end)

    it("brings errors that are hard to bring", function()
      local function mute() error "no" end
      local raised = {
        index = setmetatable({}, { __index = mute }), text = setmetatable({}, { __tostring = mute }),
        long = ("é"):rep(20 << 20), code = { code = ("C"):rep(20 << 20), message = "m" },
      }
      local peer = serving { raise = function(what) error(raised[what], 0) end }
      for what, pattern in pairs { index = "cannot be read was raised: .*no$", text = "cannot be read.*no$",
        long = "éé$", code = ": m$" } do
        local _, err, code = peer:call("raise", what)
        assert.matches(pattern, err)
        assert.matches(what == "code" and "^C+$" or "^ELUA$", code)
        assert.is_true(#err < 100000 and #code < 100000 and utf8.len(err) ~= nil)
      end
    end)

    it("brings an error's own code", function()
      local peer = serving {
        busy = function() error { code = "EMINE", message = "later", retryable = true } end,
        odd = function() error(setmetatable({}, { __tostring = function() return "odd" end })) end }
      local _, err, code, details = peer:call "busy"
      assert.matches(": later$", err)
      assert.are.equal("EMINE", code)
      assert.is_true(details.retryable)
      _, err, code = peer:call "odd"
      assert.matches(": odd$", err)
      assert.are.equal("ELUA", code)
    end)

    it("lets functions wait, and other calls pass", function()
      local gate = channel()
      local peer = serving { wait = function() return gate:recv() end, open = function(x) gate:send(x) end }
      local waiting = fiber.spawn(function() return peer:call "wait" end)
      peer:call("open", "through")
      assert.are.same({ true, "through" }, { waiting:join() })
    end)

    it("is not heard by two functions of one name", function()
      assert.has_error(function() rpc.serve { [1] = print } end,
        "serve: 1 is a function; names are strings and values functions")
      assert.has_error(function() rpc.serve({}, { lisen = ":1" }) end,
        "serve: unknown option lisen; did you mean listen?")
      assert.has_error(function() rpc.connect("no port:x") end)
    end)
  end)

  describe("deadlines", function()
    it("end a call, say what is known, and cancel the other side's fiber", function()
      local ended = channel(1)
      local peer = serving({ never = function()
        local _ <close> = setmetatable({}, { __close = function() ended:try_send(true) end })
        fiber.sleep(60)
      end }, { node = "n2" })
      peer:call "warm up"
      local started = fiber.now()
      local value, err, code = peer:with { deadline = 0.1 }:call "never"
      assert.is_nil(value)
      assert.are.equal("EDEADLINE", code)
      assert.matches("^call never to n2 %(127.0.0.1:%d+%): no reply within 0.1 s; connected for [%d.]+ s, "
        .. "last heard [%d.]+ s ago$", err)
      assert.truthy(fiber.now() - started < 1)
      assert.is_true(fiber.deadline(1, function() return ended:recv() end))
    end)

    it("travel as the time that is left, over hops", function()
      local last = serving { left = function() return rpc.caller().deadline end }
      local first = serving { relay = function()
        fiber.sleep(0.1)
        return last:call "left"
      end }
      local left = assert(first:with { deadline = 0.5 }:call "relay")
      assert.truthy(left <= 0.4 and left > 0)
      assert.truthy(assert(first:with { deadline = 4 }:call "relay") > 2)
    end)

    it("are inherited by what a function spawns", function()
      local last = serving { left = function() return rpc.caller().deadline end }
      local first = serving { relay = function()
        return select(2, fiber.spawn(function() return last:call "left" end):join())
      end }
      assert.truthy(assert(first:with { deadline = 0.5 }:call "relay") <= 0.5)
    end)

    it("of the calling fiber count as well", function()
      local peer = serving { left = function() return rpc.caller().deadline end }
      assert.truthy(fiber.deadline(0.3, function() return peer:call "left" end) <= 0.3)
    end)
  end)

  describe("cancelling", function()
    it("reaches the other side", function()
      local started, ended = channel(1), channel(1)
      local peer = serving { never = function()
        local _ <close> = setmetatable({}, { __close = function() ended:try_send(true) end })
        started:send(true)
        fiber.sleep(60)
      end }
      local caller = fiber.spawn(function() return peer:call "never" end)
      started:recv()
      caller:cancel()
      assert.is_true(fiber.deadline(1, function() return ended:recv() end))
      assert.is_true(peer:is_up())
    end)

    it("happens when the connection breaks, on both sides", function()
      local started, ended = channel(1), channel(1)
      local peer, server = serving { never = function()
        local _ <close> = setmetatable({}, { __close = function() ended:try_send(true) end })
        started:send(true)
        fiber.sleep(60)
      end }
      local caller = fiber.spawn(function() return (select(3, peer:call "never")) end)
      started:recv()
      peer:close()
      assert.are.same({ true, "ECLOSED" }, { caller:join() })
      assert.is_true(fiber.deadline(1, function() return ended:recv() end))
      assert.are.equal(0, server:stats().in_flight)
    end)

    it("does not touch the fiber's next call", function()
      local peer = serving { echo = function(x) return x end, never = function() fiber.sleep(60) end }
      for i = 1, 20 do
        assert.are.equal("EDEADLINE", (select(3, peer:with { deadline = 0.005 }:call "never")))
        assert.are.equal(i, peer:call("echo", i))
      end
    end)

    -- The sanitizer tells when the program ends.
    it("of a fiber whose answer is already there leaves nothing behind", function()
      local peer = serving { echo = function(x) return x end }
      for _ = 1, 20 do
        local fibers, answered = {}, 0
        for i = 1, 10 do
          fibers[i] = fiber.spawn(function()
            assert(peer:call("echo", i) == i)
            answered = answered + 1
            for j, other in ipairs(fibers) do
              if j ~= i then
                other:cancel()
              end
            end
          end)
        end
        for _, one in ipairs(fibers) do
          one:join()
        end
        assert.is_true(answered >= 1)
      end
      assert.are.equal("again", peer:call("echo", "again"))
    end)

    it("of a function by its own program is an error to the caller", function()
      local peer = serving { quit = function() fiber.self():cancel "enough" end }
      local _, err, code = peer:call "quit"
      assert.are.equal("ECANCELLED", code)
      assert.matches("was cancelled: enough", err)
    end)
  end)

  describe("connections", function()
    it("are waited for", function()
      local probe = assert(rpc.serve({}, { listen = "127.0.0.1:0" }))
      local address = probe:address()
      probe:close()
      local peer = closing(rpc.connect(address))
      local early = fiber.spawn(function() return peer:call("echo", 7) end)
      fiber.sleep(0.12)
      serving({ echo = function(x) return x end }, { listen = address })
      assert.are.same({ true, 7 }, { early:join() })
    end)

    it("are not waited for when told so, and say why", function()
      local peer = closing(rpc.connect("127.0.0.1:1", { wait = false, deadline = 0.2 }))
      assert.are.equal("EUNREACHABLE", (select(3, peer:call "echo")))
      local _, err, code, details = peer:with { wait = true }:call "echo"
      assert.matches("not connected within 0.2 s: .*refused %(%d+ attempts, the last [%d.]+ s ago%)", err)
      assert.are.equal("EUNREACHABLE", code)
      assert.is_true(details.retryable)
      assert.is_false(peer:is_up())
    end)

    it("come back after the server has", function()
      local peer, server = serving { echo = function(x) return x end }
      assert.are.equal(1, peer:call("echo", 1))
      local address = server:address()
      server:close()
      fiber.sleep(0.02)
      serving({ echo = function(x) return -x end }, { listen = address })
      assert.are.equal(-2, peer:call("echo", 2))
    end)

    it("over Unix sockets do the same", function()
      local folder = assert(require("perilune.fs").tempdir "rpc")
      local peer = serving({ echo = function(x) return x end }, { listen = "unix:" .. folder .. "/socket" })
      assert.are.equal(1, peer:call("echo", 1))
      assert(require("perilune.fs").remove(folder, { recursive = true }))
    end)

    it("carry no more calls than inflight_max", function()
      local gate = channel()
      local peer = serving({ wait = function() return gate:recv() end }, nil, { inflight_max = 3 })
      local fibers = {}
      for i = 1, 4 do
        fibers[i] = fiber.spawn(function() return peer:call "wait" end)
      end
      local ok, _, err, code = fibers[4]:join()
      assert.are.same({ true, "EBUSY" }, { ok, code })
      assert.matches("3 calls are under way already", err)
      for _ = 1, 3 do
        gate:send(true)
      end
      assert.is_true(fiber.join(fibers[1], fibers[2], fibers[3]))
    end)
  end)

  describe("secrets", function()
    local function attempt(server_options, peer_options)
      peer_options.deadline = 5
      return serving({ echo = function(x) return x end }, server_options, peer_options):call("echo", 1)
    end

    it("let in who knows the same one", function()
      assert.are.equal(1, attempt({ secret = SECRET }, { secret = SECRET }))
    end)

    it("keep out who does not", function()
      for _, secret in ipairs { SECRET .. "x", "" } do
        local _, err, code = attempt({ secret = SECRET }, { secret = secret ~= "" and secret or nil })
        assert.are.equal("EAUTH", code)
        assert.matches(secret ~= "" and "the client does not know the secret"
          or "the client has no secret, the server has one", err)
      end
      assert.are.equal("EAUTH", (select(3, attempt({}, { secret = SECRET }))))
    end)

    it("are not needed to learn that the clusters differ", function()
      local _, err, code = attempt({ cluster = "blue" }, { cluster = "red" })
      assert.are.equal("ECLUSTER", code)
      assert.matches('is of cluster "red", the server of cluster "blue"', err)
    end)

    it("have a least length", function()
      assert.has_error(function() rpc.connect("x", { secret = "short" }) end,
        "connect: option secret needs at least 16 bytes; make one with: openssl rand -hex 32")
    end)
  end)

  describe("long messages", function()
    it("travel in chunks, both ways", function()
      local peer = serving { echo = function(x) return x end }
      local long = ("0123456789abcdef"):rep(200000)
      assert.is_true(long == peer:call("echo", long))
    end)

    it("that are too long end with ETOOBIG and harm nobody", function()
      local peer = serving({ give = function(n) return ("x"):rep(n) end, size = function(x) return #x end },
        { body_max = 1 << 20 }, { body_max = 2 << 20 })
      local _, err, code = peer:call("size", ("x"):rep((1 << 20) + 4096))
      assert.are.equal("ETOOBIG", code)
      assert.matches("are more than its body_max of 1048576", err)
      _, err, code = peer:call("give", 3 << 20)
      assert.are.equal("ETOOBIG", code)
      assert.matches("result 1", err)
      assert.are.equal(10, #peer:call("give", 10))
      assert.are.equal("ETOOBIG", (select(3, peer:call("size", ("x"):rep(3 << 20)))))
    end)

    it("do not keep short ones waiting", function()
      local size = 100 << 20
      local functions = { big = function() return ("x"):rep(size) end, ping = function() return "pong" end }
      local peer = serving(functions, { body_max = 128 << 20 }, { body_max = 128 << 20, deadline = 60 })
      peer:call "ping"
      local big = fiber.spawn(function() return #assert(peer:call "big") end)
      local pings, slowest = 0, 0
      while big:status() ~= "done" and big:status() ~= "failed" do
        local started = fiber.now()
        assert(peer:call "ping")
        slowest = math.max(slowest, fiber.now() - started)
        pings = pings + 1
      end
      assert.are.same({ true, size }, { big:join() })
      assert.truthy(pings > 20, ("only %d pings went past, the slowest took %.3f s"):format(pings, slowest))
    end)
  end)

  describe("casts", function()
    it("run without an answer", function()
      local seen = channel(10)
      local peer = serving { note = function(x) seen:send(x) end }
      assert.is_true(peer:cast("note", "early"))
      peer:call "connect"
      assert.is_true(peer:cast("note", "late"))
      assert.are.equal("early", seen:recv())
      assert.are.equal("late", seen:recv())
    end)
  end)

  describe("streams", function()
    local function count(limit)
      for i = 1, limit do
        assert(rpc.yield(i, i * i))
      end
    end

    it("bring items in order and end", function()
      local peer = serving { count = count }
      local sum, squares = 0, 0
      for item, square in peer:stream("count", 1000) do
        sum, squares = sum + item, squares + square
      end
      assert.are.same({ 500500, 333833500 }, { sum, squares })
      for _ in peer:stream("count", 0) do
        error "there is no item"
      end
    end)

    it("wait for a reader that is slow", function()
      local sent = 0
      local peer = serving { count = function()
        for i = 1, 1000 do
          rpc.yield(i)
          sent = i
        end
      end }
      local stream <close> = peer:stream "count"
      assert.are.equal(1, stream:recv())
      fiber.sleep(0.1)
      assert.truthy(sent < 100, sent .. " items were sent to a reader that took one")
    end)

    it("end on the other side when the reader stops", function()
      local ended = channel(1)
      local peer, server = serving { count = function()
        local _ <close> = setmetatable({}, { __close = function() ended:try_send(true) end })
        count(math.maxinteger)
      end }
      for item in peer:stream "count" do
        if item == 100 then
          break
        end
      end
      assert.is_true(fiber.deadline(1, function() return ended:recv() end))
      fiber.sleep(0.01)
      assert.are.equal(0, server:stats().in_flight)
    end)

    it("raise where they break, and say so to those who ask", function()
      local peer = serving { boom = function() rpc.yield(1) error { code = "EMINE", message = "mid" } end }
      local seen = {}
      local ok, err = pcall(function()
        for item in peer:stream "boom" do
          seen[#seen + 1] = item
        end
      end)
      assert.are.same({ false, "EMINE" }, { ok, err.code })
      assert.matches("^stream boom to .*: mid$", tostring(err))
      local stream <close> = peer:stream "nope"
      local item, _, code = stream:recv()
      assert.are.same({ n = 2, nil, "ENOFUNCTION" }, table.pack(item, code))
    end)

    it("end with a deadline when no item comes", function()
      local peer = serving { quiet = function() rpc.yield(1) fiber.sleep(60) end }
      local stream <close> = peer:with { deadline = 0.1 }:stream "quiet"
      assert.are.equal(1, stream:recv())
      local _, err, code = stream:recv()
      assert.are.equal("EDEADLINE", code)
      assert.matches("stream quiet to .*: no item within 0.1 s", err)
    end)

    it("carry long items", function()
      local peer = serving { big = function()
        for i = 1, 8 do
          rpc.yield(i, ("x"):rep(1 << 20))
        end
      end }
      local bytes = 0
      for _, item in peer:stream "big" do
        bytes = bytes + #item
      end
      assert.are.equal(8 << 20, bytes)
    end)

    it("are not for functions that were called", function()
      local peer = serving { count = count }
      assert.matches("rpc.yield: call it inside of a function that was called with peer:stream",
        (select(2, peer:call("count", 1))))
      assert.has_error(function() rpc.yield(1) end)
    end)
  end)

  describe("multicall", function()
    it("gives an outcome for each peer", function()
      local good = serving { add = function(a, b) return a + b, "more" end }
      local bad = serving { add = function() error "no" end }
      local gone = closing(rpc.connect("127.0.0.1:1", { deadline = 0.1 }))
      local outcomes = rpc.multicall({ good, bad, gone }, "add", 1, 2)
      assert.are.same({ ok = true, n = 2, 3, "more" }, outcomes[1])
      assert.are.same({ false, "ELUA" }, { outcomes[2].ok, outcomes[2].code })
      assert.are.same({ false, "EUNREACHABLE" }, { outcomes[3].ok, outcomes[3].code })
    end)
  end)

  it("tells misuse of it from what the world does", function()
    local peer = serving { echo = function(x) return x end }
    assert.error_matches(function() rpc.multicall({ peer, peer }, "echo", print) end,
      "argument 1 is a function")
    assert.error_matches(function() rpc.multicall({ peer, 5 }, "echo") end, "index a number value")
    assert.error_matches(function() rpc.multicall({ peer }) end, "a list of peers and a function's name")
    assert.error_matches(function() rpc.serve { ["a\0b"] = print } end, "zero byte")
    assert.error_matches(function() rpc.connect "127.0.0.1:1\0x" end, "zero byte")
  end)

  it("says who calls", function()
    local peer = serving({ who = function() return rpc.caller() end }, { cluster = "blue" },
      { node = "c1", cluster = "blue" })
    local caller = assert(peer:call "who")
    assert.are.same({ "c1", "blue", "who" }, { caller.node, caller.cluster, caller.name })
    assert.matches("^127.0.0.1:%d+$", caller.address)
    assert.are.equal("integer", math.type(caller.incarnation))
    assert.is_nil(rpc.caller())
  end)

  describe("the port", function()
    -- Sends bytes, then waits for the other side to close; what it said and how long it took.
    local function send_raw(server, script)
      local port = server:address():match ":(%d+)$"
      local started = fiber.now()
      local talk = "trap '' PIPE; exec 3<>/dev/tcp/127.0.0.1/%s; { %s; } >&3 2>/dev/null; cat <&3 | wc -c"
      local result = assert(process.run { "timeout", "10", "bash", "-c", talk:format(port, script) })
      assert.are.equal(0, result.status)
      return tonumber(result.stdout), fiber.now() - started
    end

    local bad = {
      ["random bytes"] = "head -c 100000 /dev/urandom",
      ["a frame that is too long"] = [[printf '\xff\xff\xff\x7f\0\0\0\0']],
      ["an empty frame"] = [[printf '\0\0\0\0\0\0\0\0']],
      ["a wrong checksum"] = [[printf '\x10\0\0\0\0\0\0\0\1\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0']],
    }
    for name, script in pairs(bad) do
      it("closes after " .. name, function()
        local peer, server = serving { echo = function(x) return x end }
        local _, seconds = send_raw(server, script)
        assert.truthy(seconds < 1.9, seconds) -- before the handshake's time is over
        assert.are.equal(1, server:stats().refused)
        assert.are.equal(1, peer:call("echo", 1))
      end)
    end

    it("gives a handshake two seconds, however slowly it comes", function()
      local peer, server = serving { echo = function(x) return x end }
      local slowly = [[printf '\x40'; for i in 1 2 3 4 5 6 7; do sleep 0.4; printf '\0'; done]]
      local _, seconds = send_raw(server, slowly)
      assert.truthy(seconds >= 1.9 and seconds < 8, seconds)
      assert.are.equal(1, peer:call("echo", 1))
      assert.are.equal(1, server:stats().refused)
    end)
  end)

  it("counts", function()
    local peer, server = serving { echo = function(x) return x end }
    peer:call "echo"
    peer:call "nope"
    local stats = server:stats()
    assert.are.same({ 1, 2, 1, 0, 0 },
      { stats.connections, stats.calls, stats.failed, stats.in_flight, stats.repeated })
    assert.is_true(peer:info().up)
  end)

  it("closes the server with the fiber that serves", function()
    local address = channel(1)
    local owner = fiber.spawn(function()
      address:send(assert(rpc.serve({}, { listen = "127.0.0.1:0" })):address())
      fiber.sleep(60)
    end)
    local peer = closing(rpc.connect(address:recv()))
    assert.are.equal("ENOFUNCTION", (select(3, peer:call "x")))
    owner:cancel()
    fiber.sleep(0.05)
    assert.are.equal("EUNREACHABLE", (select(3, peer:with { deadline = 0.2 }:call "x")))
  end)

  it("lets anybody close anything first", function()
    for round = 1, 9 do
      local server
      server = assert(rpc.serve({
        bye = function() server:close() end,
        slow = function() fiber.sleep(0.01) end,
        child = function() fiber.spawn(fiber.sleep, 0.005) return 2 end,
        count = function() for i = 1, 1000 do rpc.yield(i) end end,
        deep = function(n)
          if n == 0 then
            return fiber.self():name()
          end
          local next_peer <close> = rpc.connect(server:address())
          return next_peer:call("deep", n - 1)
        end,
      }, { listen = "127.0.0.1:0" }))
      local peer = rpc.connect(server:address(), { deadline = 1 })
      assert.are.equal(2, peer:call "child")
      assert.are.equal("rpc deep", peer:call("deep", 5))
      local fibers = {}
      for i = 1, 10 do
        fibers[i] = fiber.spawn(function() peer:call "slow" end)
      end
      fibers[3]:cancel()
      assert.are.equal(1, (peer:stream("count")):recv()) -- and the stream is forgotten
      local stream = peer:stream "count"
      fiber.spawn(pcall, function() -- which may find the peer closed
        for item in peer:stream "count" do
          if item == 3 then
            fiber.self():cancel()
          end
        end
      end)
      collectgarbage()
      fiber.sleep(0.005)
      local function bye()
        peer:call "bye"
      end
      local ends = { function() peer:close() end, bye, function() server:close() end }
      ends[round % 3 + 1]()
      repeat
        local item = stream:recv()
      until item == nil
      for i = 1, 10 do
        fibers[i]:join()
      end
      peer:close()
      server:close()
    end
  end)

  it("prints calls for perilune run --trace-rpc", function()
    local script = [[
      local rpc = require "perilune.rpc"
      local server <close> = assert(rpc.serve({ echo = function(x) return x end },
        { listen = "127.0.0.1:0", node = "n2", detached = true }))
      local peer <close> = rpc.connect(server:address(), { node = "n1" })
      peer:call("echo", "hello")
      peer:call "nope"]]
    local result = binary.run { "run", "--trace-rpc", "-", input = script }
    assert.are.equal(0, result.status)
    local clock = "%d%d:%d%d:%d%d%.%d%d%d%d%d%d "
    local cost = " %d+ B, %d+ B in %d+%.%d%d%d ms: "
    assert.matches(clock .. "%-> n2 %(127.0.0.1:%d+%) call echo" .. cost .. "ok\n", result.stderr)
    assert.matches(clock .. "<%- n1 %(127.0.0.1:%d+%) call echo" .. cost .. "ok\n", result.stderr)
    assert.matches(clock .. "%-> n2 %(127.0.0.1:%d+%) call nope" .. cost .. "ENOFUNCTION\n", result.stderr)
  end)

  it("does not mistake MessagePack for Lua", function()
    local peer = serving { echo = function(x) return x end }
    local bytes = msgpack.encode { 1, 2 }
    assert.are.equal(bytes, peer:call("echo", bytes))
  end)
end)
