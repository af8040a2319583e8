local binary = require "support.binary"
local channel = require("perilune").channel
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local new_folder = require "support.folder"
local process = require "perilune.process"
local rpc = require "perilune.rpc"
local rpcs = require "support.rpc"
local closing, serving = rpcs.closing, rpcs.serving

local SECRET = "0123456789abcdef-a-secret"

describe("perilune.rpc: connections", function()
  local folder = new_folder(before_each, after_each)
  after_each(rpcs.close)

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

    it("outlive that this process stands still", function()
      local peer, server = serving({ sleep = fiber.sleep }, nil, { ping = "50ms" })
      peer:call("sleep", 0)
      local slow = fiber.spawn(function() return select("#", peer:call("sleep", 0.1)) end)
      fiber.sleep(0.03)
      os.execute "sleep 0.7"
      assert.are.same({ true, 0 }, { slow:join() })
      fiber.sleep(0.2)
      assert.is_true(peer:is_up() and peer:info().since > 0.9)
      assert.are.equal(1, server:stats().connections)
    end)

    it("over Unix sockets do the same", function()
      local where = assert(fs.tempdir "rpc")
      local peer = serving({ echo = function(x) return x end }, { listen = "unix:" .. where .. "/socket" })
      assert.are.equal(1, peer:call("echo", 1))
      assert(fs.remove(where, { recursive = true }))
    end)

    it("take durations as numbers of seconds or as texts", function()
      local peer = serving({ sleep = fiber.sleep }, nil, { deadline = "50ms", ping = "1s" })
      local function ends_after(seconds, _, err, code) -- here, or on the other side, which may be first
        assert.are.equal("EDEADLINE", code)
        local after = err:match "no reply within ([%d.]+) s"
          or err:match "it was not done in time after ([%d.]+) s"
        after = assert.truthy(tonumber(after), err)
        assert.is_true(after >= seconds - 0.005 and after < 10, err)
      end
      assert.are.equal(0, select("#", peer:with { deadline = "10s" }:call("sleep", 0))) -- is connected
      ends_after(0.05, peer:call("sleep", 60))
      ends_after(0.02, peer:with { deadline = "20ms" }:call("sleep", 60))
      local outcome = rpc.multicall({ peer, peer:with { deadline = 0.03 } }, "sleep", 60)[2]
      ends_after(0.03, nil, outcome.err, outcome.code)
      assert.matches("no item within 0.00?[1-9]%d* s",
        (select(2, peer:with { deadline = "10ms" }:stream("sleep", 60):recv())))
      for value, problem in pairs {
        ["5"] = "the duration '5' needs a unit: 5s, or 5ms", soon = "'soon' is not a duration",
        ["-1s"] = "'%-1s' is not a duration", [-1] = "from 0 to 31536000 seconds, not %-1",
        ["2000000h"] = "from 0 to 31536000 seconds, not 2000000h",
        [true] = "seconds or a text like 500ms, not a boolean",
      } do
        for name, call in pairs {
          connect = function() rpc.connect("127.0.0.1:1", { deadline = value }) end,
          with = function() peer:with { deadline = value } end,
        } do
          local ok, raised = pcall(call)
          assert.is_false(ok)
          assert.matches("rpc_connection_spec.lua:%d+: " .. name .. ": option deadline: " .. problem, raised)
        end
      end
      assert.error_matches(function() rpc.connect("127.0.0.1:1", { ping = "1ms" }) end,
        "connect: option ping: from 0.05 to 60 seconds, not 1ms")
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

  describe("peers of one address", function()
    local function echo(x) return x end

    -- Waits until the server has that many connections.
    local function settles_at(server, count)
      for _ = 1, 200 do
        if server:stats().connections == count then
          return true
        end
        fiber.sleep(0.01)
      end
      return false, server:stats().connections
    end

    it("share a connection, which closes with the last of them", function()
      local first, server = serving { echo = echo }
      local second = closing(rpc.connect(server:address(), { deadline = 1 }))
      local third = closing(rpc.connect(server:address(), { wait = false }))
      for number, peer in ipairs { first, second, third } do
        assert.are.equal(number, peer:call("echo", number))
      end
      assert.are.equal(1, server:stats().connections)
      assert.are.equal(3, second:info().calls)
      first:close()
      first:close()
      assert.are.equal(4, second:call("echo", 4))
      assert.are.same({ false, "ECLOSED" }, { first:is_up(), select(3, first:call("echo", 5)) })
      second:close()
      assert.are.equal(6, third:call("echo", 6))
      assert.are.equal(1, server:stats().connections)
      third:close()
      assert.is_true(settles_at(server, 0))
      assert.are.equal(7, closing(rpc.connect(server:address())):call("echo", 7)) -- a new connection
    end)

    it("may be made for one call each, and left to the collector", function()
      local script = folder:write("script.lua", [[
        local rpc = require "perilune.rpc"
        local server = assert(rpc.serve({ echo = function(...) return ... end }, { listen = "127.0.0.1:0" }))
        for number = 1, 3000 do
          assert(rpc.connect(server:address()):call("echo", number) == number)
        end
        server:close()]])
      local result = binary.run { "run", script }
      assert.are.same({ 0, "" }, { result.status, result.stderr })
    end)

    it("end their own calls and streams when they close", function()
      local gate = channel()
      local cancelled = 0
      local function wait()
        local _ <close> = setmetatable({}, { __close = function() cancelled = cancelled + 1 end })
        return gate:recv()
      end
      local function count()
        repeat until not rpc.yield(1)
      end
      local first, server = serving { wait = wait, count = count }
      local second = closing(rpc.connect(server:address()))
      local calls = {}
      for number, peer in ipairs { first, second, first:with { deadline = 9 } } do
        calls[number] = fiber.spawn(function() return peer:call "wait" end)
      end
      local streams = { first:stream "count", second:stream "count" }
      assert.are.equal(1, streams[1]:recv())
      first:close()
      for _, number in ipairs { 1, 3 } do
        local ok, _, _, code = calls[number]:join()
        assert.are.same({ true, "ECLOSED" }, { ok, code })
      end
      repeat
        local item, _, code = streams[1]:recv()
        assert.is_true(item == 1 or code == "ECLOSED")
      until not item
      assert.are.equal(1, streams[2]:recv())
      repeat
        fiber.sleep(0.005)
      until cancelled == 2 -- and only those
      gate:send "still here"
      assert.are.same({ true, "still here" }, { calls[2]:join() })
    end)

    it("have connections of their own when they differ in who calls or what is let in", function()
      local first, server = serving({ echo = echo }, { cluster = "blue" }, { cluster = "blue" })
      local address = server:address()
      local others = {
        closing(rpc.connect(address, { cluster = "blue", node = "n2" })),
        closing(rpc.connect(address, { cluster = "blue", inflight_max = 7 })),
        closing(rpc.connect(address, { cluster = "blue", body_max = 1 << 20 })),
        closing(rpc.connect(address, { cluster = "blue", ping = "500ms" })),
      }
      assert.are.equal(0, first:call("echo", 0))
      for number, peer in ipairs(others) do
        assert.are.equal(number, peer:call("echo", number))
      end
      assert.are.equal(5, server:stats().connections)
      local red = closing(rpc.connect(address, { cluster = "red" }))
      assert.are.equal("ECLUSTER", (select(3, red:call("echo", 1))))
      assert.are.equal(9, first:call("echo", 9))
    end)

    it("let the connection go when nobody refers to them any more", function()
      local server = closing(assert(rpc.serve({ echo = echo }, { listen = "127.0.0.1:0" })))
      for number = 1, 3 do
        assert.are.equal(number, rpc.connect(server:address()):call("echo", number))
      end
      collectgarbage()
      collectgarbage()
      assert.is_true(settles_at(server, 0))
    end)

    it("try at once where another one waits to try again", function()
      local probe = assert(rpc.serve({}, { listen = "127.0.0.1:0" }))
      local address = probe:address()
      probe:close()
      local first = closing(rpc.connect(address))
      repeat -- the pauses grow
        fiber.sleep(0.01)
      until first:info().attempts >= 6 -- the next one comes after 0.8 s at least
      serving({ echo = echo }, { listen = address })
      local started = fiber.now()
      assert.are.equal(1, closing(rpc.connect(address)):call("echo", 1))
      assert.is_true(fiber.now() - started < 0.7)
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

  describe("the log", function()
    -- How many lines have the pattern, and how many more they and the last line tell of.
    local function count(text, pattern)
      local lines, more = 0, tonumber(text:match "(%d+) lines like those before were left out") or 0
      for line in text:gmatch "[^\n]+" do
        if line:find(pattern) then
          lines, more = lines + 1, more + (tonumber(line:match "and (%d+) more since") or 0)
        end
      end
      return lines, more
    end

    local function run(script)
      local result = binary.run { "run", "-", input = [[
        local fiber = require "perilune.fiber"
        local rpc = require "perilune.rpc"
        ]] .. script }
      assert.are.equal(0, result.status)
      return result.stderr
    end

    it("cannot be filled by peers that are refused", function()
      local lines, more = count(run [[
        local server <close> = assert(rpc.serve({}, { listen = "127.0.0.1:0", secret = ("s"):rep(16) }))
        for number = 1, 100 do
          local peer <close> = rpc.connect(server:address(), { secret = ("x"):rep(16), node = "n" .. number })
          assert(select(3, peer:call "x") == "EAUTH")
        end]], 'msg="refused n%d+ %(127.0.0.1:%d+%): the client does not know the secret')
      assert.truthy(lines >= 1 and lines <= 20, lines)
      assert.are.equal(100, lines + more)
    end)

    it("cannot be filled by calls that are cancelled", function()
      local lines, more = count(run [[
        local server <close> = assert(rpc.serve({ wait = function()
          local _ <close> = setmetatable({}, { __close = function() error "no" end })
          fiber.sleep(60)
        end }, { listen = "127.0.0.1:0" }))
        local peer <close> = rpc.connect(server:address())
        local waiting = {}
        for number = 1, 100 do
          waiting[number] = fiber.spawn(function() peer:call "wait" end)
        end
        peer:with { deadline = "100ms" }:call "wait"
        for _, each in ipairs(waiting) do
          each:cancel()
        end
        fiber.sleep(0.2)]], "fiber rpc wait: error in a __close handler: .*no")
      assert.truthy(lines >= 1 and lines <= 20, lines)
      assert.are.equal(101, lines + more)
    end)
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
end)
