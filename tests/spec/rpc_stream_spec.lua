local channel = require("perilune").channel
local fiber = require "perilune.fiber"
local rpc = require "perilune.rpc"
local rpcs = require "support.rpc"
local serving = rpcs.serving

describe("perilune.rpc: streams and long messages", function()
  after_each(rpcs.close)

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
      assert.matches("are more than its body_max of 1048576, which is set where it serves", err, 1, true)
      _, err, code = peer:call("give", 3 << 20)
      assert.are.equal("ETOOBIG", code)
      local limit = "have more than 2097152 bytes, the caller's body_max, which is an option"
      assert.matches("the results " .. limit, err, 1, true)
      assert.are.equal(10, #peer:call("give", 10))
      _, err, code = peer:call("size", ("x"):rep(3 << 20))
      assert.are.equal("ETOOBIG", code)
      assert.matches("size: the arguments " .. limit, err, 1, true)
      local deep = {}
      for _ = 1, 1000 do
        deep = { deep }
      end
      _, err, code = peer:call("size", deep)
      assert.are.equal("ETOOBIG", code)
      assert.matches("is nested too deep", err, 1, true)
    end)

    it("that a server has no room for end with what limits it", function()
      local peer = serving({ give = function(n) return ("x"):rep(n) end }, { body_max = 1 << 20 },
        { body_max = 16 << 20 })
      local _, err, code = peer:call("give", 5 << 20)
      assert.are.equal("ENOMEM", code)
      assert.matches("no room for the answer of 5242886 bytes: long messages of 0 wait to be sent, and "
        .. "4194304 may, by our body_max", err, 1, true)
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
end)
