local binary = require "support.binary"
local channel = require("perilune").channel
local fiber = require "perilune.fiber"
local msgpack = require "perilune.msgpack"
local rpc = require "perilune.rpc"
local rpcs = require "support.rpc"
local closing, serving = rpcs.closing, rpcs.serving

describe("perilune.rpc", function()
  after_each(rpcs.close)

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
    assert.error_matches(function() rpc.multicall({ peer, 5 }, "echo") end,
      "peers%[2%] is a number, not a peer")
    assert.error_matches(function() peer.call("echo", 1) end, "write peer:call%(...%), with a colon")
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

  it("counts", function()
    local peer, server = serving { echo = function(x) return x end }
    peer:call "echo"
    peer:call "nope"
    local stats = server:stats()
    assert.are.same({ 1, 2, 1, 0, 0 },
      { stats.connections, stats.calls, stats.failed, stats.in_flight, stats.repeated })
    assert.is_true(peer:info().up)
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
