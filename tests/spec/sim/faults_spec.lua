-- Every fault that a scenario can ask for is seen by the Lua of its nodes.
local new_folder = require "support.folder"
local scenario = require "support.scenario"

describe("a scenario's", function()
  local folder = new_folder(before_each, after_each)

  -- A server "s" that notes what arrives and when, a client "c" that is told what to do; body(sim, ask) is
  -- the rest of run, where ask(what, ...) has the client do it and gives what that gave.
  local PAIR = [==[
    local fs = require "perilune.fs"
    local perilune = require "perilune"
    local rpc = require "perilune.rpc"
    local M = { network = { latency = "1ms" } }
    local doing = {}
    function doing.ping(peer)
      local started = perilune.now()
      local answer, _, code = peer:call "ping"
      return answer or code, perilune.now() - started
    end
    function doing.pings(peer, count)
      local answered = 0
      for _ = 1, count do answered = answered + (peer:call "ping" and 1 or 0) end
      return answered
    end
    function doing.times(peer, count)
      local times = {}
      for i = 1, count do times[i] = select(2, doing.ping(peer)) end
      table.sort(times)
      return times
    end
    function doing.casts(peer, count)
      for i = 1, count do peer:cast("note", i) end
    end
    function doing.big(peer, bytes)
      local started = perilune.now()
      assert(peer:call("size", ("x"):rep(bytes)) == bytes)
      return perilune.now() - started
    end
    M.nodes = {
      server = function(node)
        node.noted = {}
        assert(rpc.serve {
          ping = function() return "pong" end,
          size = function(text) return #text end,
          note = function(value) table.insert(node.noted, value) end,
        })
      end,
      client = function(node)
        local peer = rpc.connect("s", { deadline = 1 })
        while true do
          local what = table.pack(node:receive())
          perilune.spawn(function() node:tell(doing[what[1]](peer, table.unpack(what, 2, what.n))) end)
        end
      end,
    }
    M.probes = { noted = function(node) return node.noted end }
    local function body(sim, ask)
      %s
    end
    function M.run(sim)
      sim:start("s", "server")
      sim:start("c", "client")
      local function ask(...)
        sim:tell("c", ...)
        return select(2, sim:receive())
      end
      assert(ask "ping" == "pong")
      body(sim, ask)
    end
    return M]==]

  local NETWORK = {
    { "constant latency", [[
      sim:network { latency = "50ms" }
      local _, took = ask "ping"
      assert(math.abs(took - 0.1) < 0.001, took)]] },
    { "uniform latency", [[
      sim:network { latency = { "uniform", "10ms", "30ms" } }
      local times = ask("times", 200)
      assert(times[1] >= 0.02 and times[200] <= 0.06 and times[200] - times[1] > 0.02)]] },
    { "exponential latency", [[
      sim:network { latency = { "exponential", "10ms", "10ms" } }
      local times = ask("times", 300)
      assert(times[1] >= 0.02 and times[300] > 0.06 and times[150] > 0.03 and times[150] < 0.045)]] },
    { "long tail", [[
      sim:network { latency = { "long_tail", "1ms", "2ms", "500ms" } }
      local times = ask("times", 2000)
      assert(times[1000] < 0.005 and times[2000] > 0.02)]] },
    { "loss", [[
      sim:network { loss = 0.2 }
      local answered = ask("pings", 100)
      assert(answered > 40 and answered < 85, answered)
      assert(sim:stats().lost > 20)]] },
    { "duplication, of which each call sees one", [[
      sim:network { duplicate = 1 }
      ask("casts", 50)
      sim:sleep(1)
      assert(sim:stats().duplicated >= 50)
      assert(#sim:probe("s", "noted") == 50)]] },
    { "reordering", [[
      sim:network { reorder = 0.5, latency = { "uniform", "1ms", "100ms" } }
      for i = 1, 50 do ask("casts", 1) end
      sim:tell("c", "casts", 50)
      sim:sleep(1)
      local noted, turned = sim:probe("s", "noted"), 0
      for i = 2, #noted do turned = turned + (noted[i] < noted[i - 1] and 1 or 0) end
      assert(#noted == 100 and turned > 0, turned)]] },
    { "corruption, which ends the connection", [[
      sim:network { corrupt = 1 }
      assert(ask "ping" ~= "pong")
      assert(sim:stats().corrupted > 0)
      sim:network { corrupt = 0 }
      sim:sleep(5)
      assert(ask "ping" == "pong")]] },
    { "reset", [[
      sim:network { reset = 1 }
      assert(ask "ping" ~= "pong")
      sim:network { reset = 0 }
      sim:sleep(5)
      assert(ask "ping" == "pong")]] },
    { "bandwidth", [[
      local fast = ask("big", 100000)
      sim:network { bandwidth = "1MB" }
      local slow = ask("big", 100000)
      assert(fast < 0.05 and slow > 0.1, ("%f %f"):format(fast, slow))]] },
    { "link, in one direction", [[
      sim:link("c", "s", { latency = "100ms" })
      local _, took = ask "ping"
      assert(math.abs(took - 0.101) < 0.001, took)]] },
    { "one-way cut", [[
      sim:cut("s", "c")
      ask("casts", 1)
      assert(ask "ping" == "EDEADLINE")
      assert(#sim:probe("s", "noted") == 1)
      sim:mend("s", "c")
      assert(ask "ping" == "pong")]] },
    { "hold", [[
      sim:hold("c", "s")
      ask("casts", 3)
      sim:sleep(1)
      assert(#sim:probe("s", "noted") == 0)
      sim:release("c", "s")
      sim:sleep(0.1)
      assert(#sim:probe("s", "noted") == 3)]] },
    { "partition and heal", [[
      sim:partition({ "c" }, { "s" })
      assert(ask "ping" == "EDEADLINE")
      sim:heal()
      assert(ask "ping" == "pong")
      sim:isolate "s"
      assert(ask "ping" == "EDEADLINE")
      sim:heal()
      assert(ask "ping" == "pong")]] },
    { "labs network", [[
      sim:network { labs = { unreliable = true } }
      local answered = ask("pings", 200)
      assert(answered > 130 and answered < 190, answered)
      local times = ask("times", 200) -- also of those that are lost
      assert(times[#times] <= 0.027, times[#times])]] },
    { "labs network, which tells of a lost call", [[
      sim:network { labs = { unreliable = true } }
      local codes = {}
      for _ = 1, 100 do codes[ask "ping"] = true end
      assert(codes.pong and codes.EDISCONNECTED)
      codes.pong, codes.EDISCONNECTED = nil
      assert(next(codes) == nil, next(codes))]] },
    { "labs network, which tells of a cut answer", [[
      assert(ask "ping" == "pong")
      sim:network { labs = {} }
      sim:cut("s", "c")
      local answer, took = ask "ping"
      assert(answer == "EDISCONNECTED" and took < 0.11, took)]] },
    { "pause", [[
      sim:after(0.2, function() sim:resume "s" end)
      sim:pause "s"
      local answer, took = ask "ping"
      assert(answer == "pong" and took > 0.19, took)]] },
    { "crash of a paused node, which hears again afterwards", [[
      sim:pause "c"
      sim:tell("c", "ping")
      sim:sleep(0.1)
      sim:crash "c"
      sim:restart "c"
      local answer = ask "ping"
      assert(answer == "pong", answer)]] },
    { "slow processor", [[
      sim:process("s", { turn_delay = "300ms" })
      local _, took = ask "ping"
      assert(took > 0.3, took)]] },
    { "killed node, which its peers hear of", [[
      sim:tell("c", "ping")
      sim:pause "s"
      sim:kill "s"
      local _, answer, took = sim:receive()
      assert(answer == "EDISCONNECTED" and took < 0.1, answer)]] },
    { "crashed node, of which nobody hears", [[
      sim:crash "s"
      local answer, took = ask "ping"
      assert(answer == "EDEADLINE" and took >= 1, answer)]] },
  }
  for _, case in ipairs(NETWORK) do
    it(case[1] .. " is seen", function()
      scenario.pass(folder, (PAIR:gsub("%%s", function() return case[2] end)), { verify = true })
    end)
  end

  local DISK = [==[
    local fs = require "perilune.fs"
    local perilune = require "perilune"
    local M = {}
    local doing = {}
    function doing.write(name, text, sync)
      local started = perilune.now()
      local ok, _, code = fs.write(name, text, { sync = sync })
      return ok or code, perilune.now() - started
    end
    function doing.read(name)
      local text, _, code = fs.read(name)
      return text or code
    end
    M.nodes = {
      machine = function(node)
        while true do
          local what = table.pack(node:receive())
          node:tell(doing[what[1]](table.unpack(what, 2, what.n)))
        end
      end,
    }
    function M.run(sim)
      sim:start("n", "machine")
      local function ask(...)
        sim:tell("n", ...)
        return select(2, sim:receive())
      end
      local function crash() sim:crash "n" sim:restart "n" end
      %s
    end
    return M]==]

  local DISKS = {
    { "slow disk", [[
      sim:disk("n", { delay = "100ms" })
      local _, took = ask("write", "a", "x")
      assert(took >= 0.1, took)]] },
    { "slow sync", [[
      sim:disk("n", { sync_delay = "200ms" })
      local _, plain = ask("write", "a", "x")
      local _, synced = ask("write", "a", "x", true)
      assert(plain < 0.2 and synced >= 0.2)]] },
    { "slow background work", [[
      sim:process("n", { work_delay = "300ms" })
      local _, took = ask("write", "a", "x")
      assert(took >= 0.3, took)]] },
    { "stall", [[
      sim:disk("n", { stall = "5s" })
      local _, took = ask("write", "a", "x")
      assert(took >= 5, took)
      _, took = ask("write", "a", "x")
      assert(took < 1, took)]] },
    { "write error", [[
      sim:disk("n", { write_error = 1 })
      assert(ask("write", "a", "x") == "EIO")]] },
    { "read error", [[
      ask("write", "a", "x")
      sim:disk("n", { read_error = 1 })
      assert(ask("read", "a") == "EIO")]] },
    { "sync error, after which the data is gone", [[
      ask("write", "a", "old", true)
      sim:disk("n", { sync_error = 1 })
      assert(ask("write", "b", "new", true) == "EIO")
      sim:disk("n", { sync_error = 0, keep = 0 })
      crash()
      assert(ask("read", "a") == "old")
      assert(ask("read", "b") ~= "new")]] },
    { "lying sync", [[
      sim:disk("n", { sync_lie = 1, keep = 0 })
      assert(ask("write", "a", "x", true) == true)
      crash()
      assert(ask("read", "a") == "ENOENT")]] },
    { "full disk", [[
      sim:disk("n", { capacity = 1000 })
      assert(ask("write", "a", ("x"):rep(2000)) == "ENOSPC")
      assert(ask("write", "b", ("x"):rep(10)) == true)]] },
    { "flipped bit", [[
      ask("write", "a", ("x"):rep(100), true)
      sim:disk("n", { flip = 1 })
      assert(ask("read", "a") ~= ("x"):rep(100))]] },
    { "kept unsynced write", [[
      sim:disk("n", { keep = 1 })
      ask("write", "a", "x")
      crash()
      assert(ask("read", "a") == "x")]] },
    { "lost unsynced write", [[
      sim:disk("n", { keep = 0 })
      ask("write", "a", "x")
      crash()
      assert(ask("read", "a") == "ENOENT")]] },
    { "torn write", [[
      ask("write", "a", ("o"):rep(4096), true)
      sim:disk("n", { keep = 0, tear = 1 })
      ask("write", "a", ("n"):rep(4096))
      crash()
      local text = ask("read", "a")
      assert(text ~= ("o"):rep(4096) and text ~= ("n"):rep(4096), text)]] },
  }
  for _, case in ipairs(DISKS) do
    it(case[1] .. " is seen", function()
      scenario.pass(folder, (DISK:gsub("%%s", function() return case[2] end)), { verify = true })
    end)
  end
end)
