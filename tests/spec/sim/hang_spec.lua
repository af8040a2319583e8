local new_folder = require "support.folder"
local scenario = require "support.scenario"

-- Scenarios that would not end.
describe("a scenario that", function()
  local folder = new_folder(before_each, after_each)
  local run, failure = scenario.runner(folder)

  it("waits for ever names every fiber and what it waits for", function()
    local got = failure [[
      return { nodes = { a = function(node) node:receive() end },
        run = function(sim) sim:start("n1", "a")
          sim:join "n1" end }]]
    assert.equal("deadlock", got.kind)
    assert.matches("controller: fiber main: sim:join n1 at %S*:3 since 0.000000 s, without a deadline\n",
      got.fibers)
    assert.matches("n1: fiber main: receive at .*scenario.lua:1 since", got.fibers)
  end)

  it("waits for ever in many fibers names the first hundred", function()
    local got = failure [[
      local perilune = require "perilune"
      return { run = function()
        for _ = 1, 150 do perilune.spawn(function() perilune.channel():recv() end) end
        perilune.channel():recv()
      end }]]
    assert.equal("deadlock", got.kind)
    assert.equal(101, select(2, got.fibers:gsub("\n", "\n")))
    assert.matches("... and 51 more\n$", got.fibers)
  end)

  it("does not end is ended at its virtual time", function()
    local source = [[
      local perilune = require "perilune"
      return { time = "30s", nodes = { a = function() while true do perilune.sleep(1) end end },
        run = function(sim) sim:start("n1", "a") sim:join "n1" end }]]
    local result = run(source)
    assert.equal("time", result.failure.kind)
    assert.equal(30, result.time)
    assert.matches("n1: fiber main: fiber.sleep at .*scenario.lua:2", result.failure.fibers)
    assert.equal(5, run(source, { time = "5s" }).time)
  end)

  describe("leaves pings of connections alone at work", function()
    local SOURCE = [[
      local perilune, rpc = require "perilune", require "perilune.rpc"
      return { time = "2m", network = { latency = "1ms" }, nodes = {
        server = function()
          local never = perilune.channel()
          assert(rpc.serve { echo = function(x) return x end, hang = function() never:recv() end })
        end,
        client = function(node)
          local server = rpc.connect "s1"
          assert(server:call("echo", 1))
          %s
        end },
        run = function(sim)
          sim:start("s1", "server")
          sim:start({ name = "c1", role = "client", clock = { drift = "1%%" } })
          sim:join "c1"
        end }]]

    it("and is deadlocked", function()
      local result = run(SOURCE:format "perilune.sleep(2) node:receive()")
      assert.equal("deadlock", result.failure.kind)
      assert.equal(120, result.time)
      assert.matches("^no fiber has run since 1.98%d+ s, and each waits without a deadline",
        result.failure.message)
      assert.matches("controller: fiber main: sim:join c1 at %S*:15 since 0.000000 s, without a deadline\n",
        result.failure.fibers)
      assert.matches("c1: fiber main: receive at %S*:10 since 1.98%d+ s, without a deadline\n",
        result.failure.fibers)
    end)

    it("and is not while a fiber still has a deadline", function()
      for code, pattern in pairs {
        ["perilune.sleep(10000)"] = "fiber.sleep at %S*:10 since 0.00%d+ s, until 990%d.%d+ s\n",
        ["node:receive '200s'"] = "receive at %S*:10 since 0.00%d+ s, until 198.%d+ s\n",
        ["server:with { deadline = 500 }:call 'hang'"] = "peer:call at .* since 0.00%d+ s, until 495.%d+ s\n",
      } do
        local got = failure(SOURCE:format(code))
        assert.equal("time", got.kind)
        assert.matches("c1: fiber main: " .. pattern, got.fibers)
      end
    end)
  end)

  local SPINS = {
    { "a loop", "while true do end" },
    { "a loop that catches errors", "while true do pcall(function() while true do end end) end" },
    { "a comparison", "table.sort({ 3, 1, 2 }, function() while true do end end)" },
  }
  for _, case in ipairs(SPINS) do
    it("computes for ever is stuck: " .. case[1], function()
      local got = failure(([[
        return { nodes = { a = function() %s end },
          run = function(sim) sim:start("n1", "a") sim:sleep(1) end }]])
        :format(case[2]), { watchdog = 0.2 })
      assert.equal("stuck", got.kind)
      assert.equal("n1", got.node)
      assert.matches("fiber main computes and never waits", got.message)
      assert.matches("scenario.lua:1: in", got.message)
    end)
  end

  local RESTLESS = {
    { "sleeping for no time", "while true do perilune.sleep(0) end" },
    { "yielding", "while true do perilune.yield() end" },
    { "asking what never becomes true", [[
        perilune.spawn({ name = "other" }, function() perilune.sleep(0.001) perilune.sleep(3600) end)
        repeat perilune.yield() until node.own]] },
  }
  for _, case in ipairs(RESTLESS) do
    it("keeps time from passing is stuck: " .. case[1], function()
      local source = ([[
        local perilune = require "perilune"
        local function wait(node)
          %s
        end
        return { nodes = { a = wait, b = function() perilune.every(0.01, print) perilune.sleep(3600) end },
          run = function(sim) sim:start("n1", "a") sim:start("n2", "b") sim:sleep "1h" end }]])
        :format(case[2])
      local result = run(source, { turns_max = 20 })
      local got = result.failure
      assert.equal("stuck", got.kind)
      assert.equal("n1", got.node)
      assert.matches("^fiber main goes on and on without letting time pass", got.message)
      assert.matches("scenario.lua:%d+: in", got.message)
      assert.is_true(result.time < 0.01)
      assert.equal(result.hash, run(source, { turns_max = 20 }).hash)
    end)
  end

  it("keeps time from passing is stuck soon", function()
    local result = run [[
      return { nodes = { a = function() while true do require("perilune").sleep(0) end end },
        run = function(sim) sim:start("n1", "a") sim:sleep(1) end }]]
    assert.equal("stuck", result.failure.kind)
    assert.is_true(result.time < 0.003) -- 4096 times in a microsecond
    result = run [[
      return { nodes = { a = function(node) while true do node:tell(node:receive()) end end },
        run = function(sim) sim:start("n1", "a") while true do sim:tell("n1", 1) sim:receive() end end }]]
    assert.matches("time stands still: 1020000 events have happened", result.failure.message, 1, true)
    assert.equal(1020000, result.stats.events)
  end)

  it("sleeps for a microsecond at a time is stuck soon", function()
    local source = [[
      local perilune = require "perilune"
      return { nodes = { a = function() while true do perilune.sleep(1e-6) end end },
        run = function(sim) sim:start("n1", "a") sim:sleep "1h" end }]]
    local result = run(source)
    assert.equal("stuck", result.failure.kind)
    assert.equal("n1", result.failure.node)
    assert.matches("^fiber main has slept 500000 times in a row for 2 us or less", result.failure.message)
    assert.matches("scenario.lua:2: in", result.failure.message)
    assert.is_true(result.time < 0.6)
  end)

  it("sleeps for a microsecond now and then is not stuck", function()
    scenario.pass(folder, [[
      local perilune = require "perilune"
      return { run = function()
        for _ = 1, 6 do
          for _ = 1, 100000 do perilune.sleep(1e-6) end
          perilune.yield()
        end
      end }]])
  end)

  it("asks again and again, and lets time pass, is not stuck", function()
    scenario.pass(folder, [[
      local perilune = require "perilune"
      return { process = { turn_delay = "10us" },
        nodes = { a = function()
          local due = perilune.now() + 1e-3
          while perilune.now() < due do perilune.yield() end
        end },
        run = function(sim) sim:start("n1", "a") sim:join "n1" end }]], { turns_max = 20 })
  end)

  it("lets fibers rest now and then is not stuck", function()
    scenario.pass(folder, [[
      local perilune = require "perilune"
      return { run = function(sim)
        for _ = 1, 30 do
          for _ = 1, 15 * 4096 do perilune.yield() end
          sim:sleep(0.001)
        end
      end }]], { turns_max = 20 })
  end)

  local ENDS = {
    { "stopped", [[sim:stop "n1" sim:sleep(1)]], "perilune.sleep(3600)" },
    { "at its own end", "sim:sleep(1)", "perilune.sleep(0.5) os.exit(0)" },
  }
  local HANDLERS = { "while true do end", "while true do pcall(function() while true do end end) end" }
  for _, case in ipairs(ENDS) do
    for _, handler in ipairs(HANDLERS) do
      it(("has a __close handler without end is stuck: %s: %s"):format(case[1], handler), function()
        local result = run(([[
          local perilune = require "perilune"
          local function rest()
            local guard <close> = setmetatable({}, { __close = function() %s end })
            perilune.sleep(3600)
          end
          return { nodes = { a = function() perilune.spawn({ name = "rest" }, rest) %s end },
            run = function(sim) sim:start("n1", "a") sim:sleep(0.2) %s end }]])
          :format(handler, case[3], case[2]), { watchdog = 0.2 })
        assert.equal("stuck", result.failure.kind)
        assert.equal("n1", result.failure.node)
        assert.matches("^fiber rest computes and never returns, in a __close handler\nstack traceback:\n"
          .. "\t%S*scenario.lua:3: in", result.failure.message)
        assert.equal(case[1] == "stopped" and 0.2 or 0.5, result.time)
      end)
    end
  end

  it("kills a node runs none of its __close handlers", function()
    for _, kill in ipairs { "kill", "crash" } do
      scenario.pass(folder, ([[
        local perilune = require "perilune"
        return { nodes = { a = function()
            local guard <close> = setmetatable({}, { __close = function() while true do end end })
            perilune.sleep(3600)
          end },
          run = function(sim)
            sim:start("n1", "a")
            sim:sleep(1)
            sim:%s "n1"
            sim:start("n2", "a")
            sim:sleep(1)
          end }]])
        :format(kill), { watchdog = 0.2 })
    end
  end)
end)
