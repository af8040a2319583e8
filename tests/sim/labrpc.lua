-- The tests of the simulated network of the MIT labs (6.824, 6.5840), by their names, over Perilune's own
-- network and RPC: args.test says which. What the labs call an end is a client's peer; an end that is
-- disabled is one whose link is cut.
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local M = { about = "the labs' tests of their simulated network", time = "30m" }

local JunkServer = {}

function JunkServer.handler1(text)
  return math.tointeger(tonumber(text))
end

-- H3 of the labs sleeps for 20 s, H4 and H5 are about types, H6 and H7 about bytes.
function JunkServer.handler3(number)
  perilune.sleep(20)
  return -number
end

function JunkServer.handler4(struct)
  return { reply = "pointer", x = struct.x }
end

function JunkServer.handler5(struct)
  return { reply = "no pointer", x = struct.x }
end

function JunkServer.handler6(text)
  return #text
end

function JunkServer.handler7(count)
  return ("y"):rep(count)
end

M.nodes = {}

function M.nodes.server(node)
  node.log2 = {}
  local functions = {}
  for name, handler in pairs(JunkServer) do
    functions["JunkServer." .. name] = handler
  end
  functions["JunkServer.handler2"] = function(number)
    table.insert(node.log2, number)
    return "handler2-" .. number
  end
  node.server = assert(rpc.serve(functions))
end

M.probes = {
  calls = function(node)
    return #node.log2, node.server:stats().calls
  end,
}

-- A client does what its first argument names, and gives what that gave.
local client = {}

function M.nodes.client(node, what, ...)
  return client[what](rpc.connect("server", { deadline = 30 }), node, ...)
end

function client.basic(peer)
  assert(peer:call("JunkServer.handler2", 111) == "handler2-111")
  assert(peer:call("JunkServer.handler1", "9099") == 9099)
end

function client.types(peer)
  for handler, expected in pairs { handler4 = "pointer", handler5 = "no pointer" } do
    local reply = assert(peer:call("JunkServer." .. handler, { x = 1, nested = { "a", { b = 2 } } }))
    assert(reply.reply == expected and reply.x == 1)
  end
end

function client.disconnect(peer, node)
  local answer, _, code = peer:with({ deadline = 8, wait = false }):call("JunkServer.handler2", 111)
  assert(answer == nil and code == "EUNREACHABLE", code)
  node:tell "has failed"
  node:receive()
  assert(peer:call("JunkServer.handler1", "9099") == 9099)
end

function client.counts(peer)
  for number = 1, 17 do
    assert(peer:call("JunkServer.handler2", number) == "handler2-" .. number)
  end
end

function client.bytes(peer, node)
  assert(peer:call("JunkServer.handler1", "0") == 0) -- the connection stands
  node:tell()
  node:receive()
  local text = ("1234567890123456789012345678901234567890123456789012345678901234567890x"):rep(4)
  for _ = 1, 17 do
    assert(peer:call("JunkServer.handler6", text) == 284)
  end
  node:tell()
  node:receive()
  for _ = 1, 17 do
    assert(#peer:call("JunkServer.handler7", 107) == 107)
  end
end

function client.ten_calls(peer, _, index)
  for number = index * 100 + 1, index * 100 + 10 do
    assert(peer:call("JunkServer.handler2", number) == "handler2-" .. number)
  end
  return 10
end

function client.one_call(peer, _, number)
  peer:call("JunkServer.handler1", "0") -- connects, and may be lost
  local started = perilune.now()
  local answer, _, code = peer:with({ deadline = 10 }):call("JunkServer.handler2", number)
  assert(answer == nil and code == "EDISCONNECTED" or answer == "handler2-" .. number)
  local took = perilune.now() - started
  assert(took <= 0.03, ("the call took %.3f s"):format(took))
  return answer ~= nil
end

function client.twenty_at_once(peer)
  local fibers = {}
  for number = 1, 20 do
    fibers[number] = perilune.spawn(function()
      assert(peer:call("JunkServer.handler2", number) == "handler2-" .. number)
    end)
  end
  assert(perilune.join(table.unpack(fibers)))
end

function client.regression(peer, node)
  assert(peer:call("JunkServer.handler1", "0") == 0)
  node:tell "is connected"
  node:receive() -- the link is cut
  local failed = 0
  for number = 1, 20 do
    perilune.spawn(function()
      local answer = peer:with({ deadline = 2 }):call("JunkServer.handler2", number)
      failed = failed + (answer == nil and 1 or 0)
    end)
  end
  perilune.sleep(0.1)
  node:tell "has called"
  node:receive() -- it is mended
  local started = perilune.now()
  assert(peer:call("JunkServer.handler2", 99) == "handler2-99")
  local took = perilune.now() - started
  assert(took <= 0.03, ("the call took %.3f s"):format(took))
  perilune.sleep(3)
  return failed
end

function client.killed(peer, node)
  assert(peer:call("JunkServer.handler1", "0") == 0)
  node:tell "is connected"
  local answer, err, code = peer:call("JunkServer.handler3", 99)
  return answer == nil, code, perilune.now(), err
end

function client.benchmark(peer, _, count)
  for number = 1, count do
    assert(peer:call("JunkServer.handler2", number) == "handler2-" .. number)
  end
end

function client.long_delays(peer, node)
  node:tell()
  local answer, _, code = peer:with({ deadline = 10 }):call("JunkServer.handler2", 1)
  return answer == nil, code
end

local tests = {}

local function run_client(sim, what, ...)
  sim:start("c-" .. what, "client", what, ...)
  return select(2, assert(sim:join("c-" .. what)))
end

function tests.TestBasic(sim)
  run_client(sim, "basic")
end

function tests.TestTypes(sim)
  run_client(sim, "types")
end

function tests.TestDisconnect(sim)
  sim:start("c-none", "client", "basic")
  sim:assert(sim:join "c-none")
  sim:start("c1", "client", "disconnect")
  sim:partition({ "c1" }, { "server" })
  assert(sim:receive())
  sim:assert(sim:probe("server", "calls") == 1, "the call over the cut has not arrived")
  sim:heal()
  sim:tell("c1", "connected")
  sim:assert(sim:join "c1")
end

function tests.TestCounts(sim)
  run_client(sim, "counts")
  local handled, counted = sim:probe("server", "calls")
  sim:assert(handled == 17 and counted == 17, ("17 calls, not %s and %s"):format(handled, counted))
end

-- The labs count arguments and answers, without what stands around them.
local MESSAGE_HEADER = 16

local function count_bytes(sim)
  local stats = sim:stats()
  return stats.bytes - stats.sent * MESSAGE_HEADER
end

function tests.TestBytes(sim)
  sim:start("c1", "client", "bytes")
  assert(sim:receive())
  local first = count_bytes(sim)
  sim:tell "c1"
  assert(sim:receive())
  local second = count_bytes(sim)
  sim:tell "c1"
  sim:assert(sim:join "c1")
  local large, small = second - first, count_bytes(sim) - second
  sim:log(("%d and %d bytes"):format(large, small))
  sim:assert(large >= 4828 and large <= 6000, ("17 calls with 284 bytes: %d bytes"):format(large))
  sim:assert(small >= 1800 and small <= 2500, ("17 answers with 107 bytes: %d bytes"):format(small))
end

local function run_clients(sim, count, what)
  for index = 1, count do
    sim:start("c" .. index, "client", what, index)
  end
  local results = {}
  for index = 1, count do
    results[index] = select(2, assert(sim:join("c" .. index)))
  end
  return results
end

function tests.TestConcurrentMany(sim)
  run_clients(sim, 20, "ten_calls")
  local handled, counted = sim:probe("server", "calls")
  sim:assert(handled == 200 and counted == 200, ("200 calls, not %s and %s"):format(handled, counted))
end

function tests.TestUnreliable(sim)
  sim:network { labs = { unreliable = true } }
  local answered = 0
  for _, is_answered in ipairs(run_clients(sim, 300, "one_call")) do
    answered = answered + (is_answered and 1 or 0)
  end
  sim:log(("%d of 300 calls succeeded"):format(answered))
  sim:assert(answered > 0 and answered < 300, "some calls succeed and some do not")
end

function tests.TestConcurrentOne(sim)
  run_client(sim, "twenty_at_once")
  local handled, counted = sim:probe("server", "calls")
  sim:assert(handled == 20 and counted == 20, ("20 calls, not %s and %s"):format(handled, counted))
end

function tests.TestRegression1(sim)
  sim:start("c1", "client", "regression")
  assert(sim:receive())
  sim:partition({ "c1" }, { "server" })
  sim:tell "c1"
  assert(sim:receive())
  sim:heal()
  sim:tell "c1"
  local _, failed = assert(sim:join "c1")
  sim:assert(failed == 20, ("the 20 calls over the cut fail, not %d"):format(failed))
  sim:assert(sim:probe("server", "calls") == 1, "the handler has run once")
end

function tests.TestKilled(sim)
  sim:start("c1", "client", "killed")
  assert(sim:receive())
  sim:sleep(1)
  sim:assert(select(3, sim:join("c1", "100ms")) == "EDEADLINE", "the call waits for its answer")
  local killed = sim:now()
  sim:kill "server"
  local _, has_failed, code = sim:join("c1", "100ms")
  sim:assert(has_failed, "the call fails within 100 ms")
  sim:log(("%s after %.3f s"):format(code, sim:now() - killed))
end

function tests.TestBenchmark(sim)
  run_client(sim, "benchmark", math.tointeger(tonumber(args.count or 100000)))
end

-- The network's settings change while a call to a server that is gone is outstanding.
function tests.TestLongDelayRace(sim)
  sim:kill "server"
  sim:network { labs = { long_delays = true } }
  sim:start("c1", "client", "long_delays")
  assert(sim:receive())
  sim:sleep(0.5)
  sim:network { labs = {} }
  local _, has_failed, code = sim:join("c1", "30s")
  sim:assert(has_failed, "the call has failed")
  sim:log(code)
end

function M.run(sim)
  sim:start("server", "server")
  sim:sleep(0.1)
  local test = tests[args.test] or error("--arg test= names a test")
  test(sim)
end

return M
