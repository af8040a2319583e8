local new_folder = require "support.folder"
local scenario = require "support.scenario"

describe("a scenario", function()
  local folder = new_folder(before_each, after_each)
  local run, failure = scenario.runner(folder)

  describe("that is wrong", function()
    local WRONG = {
      { "has a syntax error", "return {", "scenario", "scenario.lua:1: unexpected symbol near <eof>" },
      { "raises when it is loaded", "error 'no'", "scenario", "scenario.lua:1: no" },
      { "returns no table", "return 1", "scenario", "returns a table with nodes and run, not a number" },
      { "has no run", "return {}", "scenario", "has no function run%(sim%)" },
      { "has a run that is no function", "return { run = 1 }",
        "scenario", "run must be a function, not a number" },
      { "has an unknown field", "return { run = print, node = {} }",
        "scenario", "no field node; did you mean nodes%?" },
      { "has a role that is no function", "return { run = print, nodes = { a = 1 } }",
        "scenario", "nodes.a must be a function, not a number" },
      { "has a bad pattern", "return { run = print, expect = '[' }",
        "scenario", "expect is not a Lua pattern" },
      { "sets an unknown option of the network", "return { run = print, network = { los = 1 } }",
        "scenario", "network: there is no setting los; did you mean loss%?" },
      { "sets a loss above one", "return { run = print, network = { loss = 2 } }",
        "scenario", "network: loss: " },
      { "sets a time below zero", "return { run = print, network = { latency = -1 } }",
        "scenario", "latency: .*negative" },
      { "sets a time that is none", "return { run = print, network = { latency = 'soon' } }",
        "scenario", 'latency: "soon" is not a time' },
      { "sets an unknown distribution", "return { run = print, network = { latency = { 'normal', 1 } } }",
        "scenario", "a distribution is" },
      { "sets half a distribution", 'return { run = print, network = { latency = { "uniform", "5ms" } } }',
        "scenario", "network: latency: uniform takes 2 times behind its name, not 1" },
      { "sets no limit", "return { run = print, time = 0 }", "scenario", "time: a run needs some time" },
      { "sets a negative limit", "return { run = print, time = -5 }", "scenario", "cannot be negative" },
      { "starts an unknown role",
        "return { nodes = { server = print }, run = function(sim) sim:start('a', 'serve') end }",
        "controller", "scenario.lua:1: sim:start: the scenario has no role serve; did you mean server%?" },
      { "starts a node twice",
        "return { nodes = { a = print }, run = function(sim) sim:start('a', 'a') sim:start('a', 'a') end }",
        "controller", "scenario.lua:1: there is a node a already" },
      { "gives a node a function",
        "return { nodes = { a = print }, run = function(sim) sim:start('a', 'a', print) end }",
        "controller",
        "scenario.lua:1: sim:start: what passes to another node must be data: value 1 is a function" },
      { "asks a probe with a function",
        [[return { nodes = { a = function(node) node:receive() end }, probes = { p = print },
          run = function(sim) sim:start("n", "a") sim:probe("n", "p", 1, { x = print }) end }]],
        "controller",
        "scenario.lua:2: sim:probe: what passes to another node must be data: value 2%.x is a function" },
      { "judges by no model", "return { run = function(sim) sim:check 'lok' end }",
        "controller", "scenario.lua:1: sim:check: no model is called lok; did you mean lock%?" },
      { "judges operations that a model has not",
        [[return { nodes = { a = function() require("perilune.history").invoke("grab"):ok() end },
          run = function(sim) sim:start("n", "a") sim:join "n" sim:check "lock" end }]],
        "controller",
        "scenario.lua:2: sim:check: line 1: the model lock has no such operation as this grab" },
      { "names no node",
        "return { nodes = { a = print }, run = function(sim) sim:start('n1', 'a') sim:crash 'n2' end }",
        "controller", "scenario.lua:1: sim:crash: there is no node n2; did you mean n1%?" },
      { "names an unknown shape", "return { run = function(sim) sim:partition 'thirds' end }",
        "controller", "sim:partition: groups of names, or a shape: there are bridge, halves" },
      { "puts a node into two groups",
        "return { nodes = { a = print }, run = function(s) s:start('n', 'a') s:partition({'n'}, {'n'}) end }",
        "controller", "scenario.lua:1: sim:partition: node n is in two groups" },
      { "partitions what is no group", "return { run = function(sim) sim:partition({}, 'n') end }",
        "controller", "a group is a list of names, not a string" },
      { "turns over a share of the bits",
        [[return { nodes = { a = function(node) node:receive() end },
          run = function(sim) sim:start("n", "a") sim:disk("n", { flip = 0.01 }) end }]],
        "controller", "scenario.lua:2: sim:disk: disk_flip: 0.01 is not a whole number: this is a count" },
      { "sets a loss too small to count", "return { run = print, network = { loss = 1e-9 } }",
        "scenario", "network: loss: 1e%-09 is too small: a share has no finer steps than 1e%-06" },
      { "sets a latency too short to count", "return { run = print, network = { latency = '0.1us' } }",
        "scenario", 'network: latency: "0.1us" is too small for a time' },
      { "calls a method of sim with a dot",
        "return { nodes = { a = print }, run = function(sim) sim.start('n', 'a') end }",
        "controller", "scenario.lua:1: sim.start is a method: write sim:start%(%.%.%.%), with a colon" },
      { "calls a fault with a dot", "return { run = function(sim) sim.heal() end }",
        "controller", "scenario.lua:1: sim.heal is a method" },
      { "calls a verdict with a dot", "return { run = function(sim) sim.assert(true) end }",
        "controller", "scenario.lua:1: sim.assert is a method" },
      { "calls a method of node with a dot",
        [[return { nodes = { a = function(node) node.tell(1) end },
          run = function(sim) sim:start("n", "a") sim:sleep(1) end }]],
        "node", "scenario.lua:1: node.tell is a method: write node:tell%(%.%.%.%), with a colon" },
      { "sleeps a negative time", "return { run = function(sim) sim:sleep(-1) end }",
        "controller", "sim:sleep: a duration cannot be negative" },
      { "fails an assertion", "return { run = function(sim) sim:assert(1 == 2, 'one is two') end }",
        "controller", "scenario.lua:1: one is two" },
      { "has a fiber that raises",
        "return { run = function(sim) sim:after(1, error, 'no') sim:sleep(2) end }", "controller", "no" },
      { "raises", "return { run = function() error 'no' end }",
        "controller", "scenario.lua:1: no\nstack traceback:" },
    }
    for _, case in ipairs(WRONG) do
      local name, source, kind, pattern = table.unpack(case)
      it(name, function()
        local got = failure(source)
        assert.equal(kind, got.kind)
        assert.matches(pattern, got.message)
      end)
    end
  end)

  describe("with a node", function()
    it("that raises fails, with the node's name and a traceback", function()
      local got = failure [[
        local function deep() error "oops" end
        return { nodes = { a = function() deep() end },
          run = function(sim) sim:start("n1", "a") sim:sleep(1) end }]]
      assert.equal("node", got.kind)
      assert.equal("n1", got.node)
      assert.matches("scenario.lua:1: oops\nstack traceback:", got.message)
      assert.matches("in upvalue 'deep'", got.message)
    end)

    it("one of whose fibers raises fails", function()
      local got = failure [[
        local perilune = require "perilune"
        return { nodes = { a = function() perilune.spawn(function() error "lost" end) perilune.sleep(9) end },
          run = function(sim) sim:start("n1", "a") sim:sleep(1) end }]]
      assert.equal("node", got.kind)
      assert.matches("lost", got.message)
    end)

    it("that may fail goes on", function()
      scenario.pass(folder, [[
        return { nodes = { a = function() error { code = 1 } end, b = function() error "oops" end },
          run = function(sim)
            sim:start({ name = "n1", role = "b", may_fail = true })
            local ok, message, code = sim:join "n1"
            assert(ok == nil and message:find "oops" and code == "ELUA")
            sim:sleep(1)
            assert(not sim:is_up "n1")
          end }]])
    end)

    it("that uses more than its memory fails", function()
      local got = failure [[
        local function fill()
          local t = {}
          while true do t[#t + 1] = ("x"):rep(1000) .. #t end
        end
        return { nodes = { a = fill },
          run = function(sim) sim:start({ name = "n1", role = "a", memory = "8MiB" }) sim:sleep(1) end }]]
      assert.equal("node", got.kind)
      assert.matches("^not enough memory: the Lua state of n1 may hold 8 MiB", got.message)
    end)

    it("that lacks the memory to begin fails", function()
      local got = failure [[
        return { nodes = { a = function() end },
          run = function(sim) sim:start({ name = "n1", role = "a", memory = "30KiB" }) sim:sleep(1) end }]]
      assert.equal("node", got.kind)
      assert.matches("not enough memory: the Lua state of n1 may hold 0.0293 MiB", got.message, 1, true)
    end)

    it("that may fail and lacks memory says how much there was", function()
      scenario.pass(folder, [[
        local function fill()
          local t = {}
          while true do t[#t + 1] = ("x"):rep(1000) .. #t end
        end
        return { nodes = { a = fill }, run = function(sim)
          sim:start({ name = "n1", role = "a", memory = "8MiB", may_fail = true })
          local _, message = sim:join "n1"
          assert(message:find("the Lua state of n1 may hold 8 MiB", 1, true), message)
        end }]])
    end)
  end)

  it("whose controller calls os.exit says so", function()
    local got = failure [[
      return { nodes = { a = function() end },
        run = function(sim) sim:start("n1", "a") sim:sleep(1) os.exit(0) end }]]
    assert.equal("controller", got.kind)
    assert.matches("^os.exit ended the controller: a run ends when run%(sim%) returns", got.message)
  end)

  it("whose controller does not take what nodes tell ends", function()
    local got = failure [[
      return { nodes = { a = function(node) while true do node:tell "more" end end },
        run = function(sim) sim:start("n1", "a") sim:sleep(1) end }]]
    assert.equal("node", got.kind)
    assert.matches("node controller: .*\nstack traceback:\n\t.*scenario.lua:1", got.message)
  end)

  it("passes on what nodes are given, tell, answer and return", function()
    scenario.pass(folder, [[
      return {
        nodes = { a = function(node, ...)
          assert(select("#", ...) == 4 and (...) == 1 and select(4, ...).x.y == "z")
          node.own = 7
          node:tell("first", nil, 3)
          local word, number = node:receive()
          assert(node:receive("1s") == nil)
          return word, nil, number
        end },
        probes = { own = function(node, more) return node.own + more, nil, node.name end,
          bad = function() error "bad probe" end },
        run = function(sim)
          sim:start("n1", "a", 1, nil, false, { x = { y = "z" } })
          local from, word, gap, number = sim:receive()
          assert(from == "n1" and word == "first" and gap == nil and number == 3)
          local own, none, name = sim:probe("n1", "own", 1)
          assert(own == 8 and none == nil and name == "n1")
          local answer, message, code = sim:probe("n1", "bad")
          assert(answer == nil and message:find "bad probe" and code == "ELUA")
          assert(select(3, sim:receive "1s") == "EDEADLINE")
          sim:tell("n1", "word", 5)
          local ok, w, gap2, n = sim:join "n1"
          assert(ok and w == "word" and gap2 == nil and n == 5)
        end,
      }]])
  end)

  it("crashes, restarts, pauses and stops nodes", function()
    scenario.pass(folder, [[
      local perilune = require "perilune"
      return {
        nodes = { a = function(node, word)
          node:tell(node.incarnation, word)
          local n = 0
          node.count = function() return n end
          while true do perilune.sleep(0.1) n = n + 1 end
        end },
        probes = { count = function(node) return node.count() end },
        run = function(sim)
          sim:start("n1", "a", "one")
          local function told() return select(2, sim:receive "1s") end
          local function expect(incarnation, word)
            local _, i, w = sim:receive "1s"
            assert(i == incarnation and w == word, ("%s %s"):format(i, w))
          end
          expect(0, "one")
          sim:crash "n1"
          sim:restart "n1"
          expect(1, "one")
          assert(sim:is_up "n1")
          sim:kill "n1"
          local ok, _, code = sim:join "n1"
          assert(ok == nil and code == "EDOWN" and not sim:is_up "n1")
          assert(select(3, sim:probe("n1", "count")) == "EDOWN")
          assert(select(3, sim:tell("n1", 1)) == "EDOWN")
          sim:restart("n1", "two")
          expect(2, "two")
          sim:sleep(1)
          sim:pause "n1"
          assert(select(3, sim:probe("n1", "count")) == "EDEADLINE")
          sim:resume "n1"
          local count = sim:probe("n1", "count")
          assert(count < 20, count)
          sim:stop "n1"
          assert(select(3, sim:join "n1") == "EDOWN")
          assert(not pcall(sim.pause, sim, "n1") or true)
        end,
      }]])
  end)

  it("has disks that forget what was not synced", function()
    scenario.pass(folder, [[
      local fs = require "perilune.fs"
      return {
        nodes = {
          writer = function(node)
            assert(fs.write("kept", "kept", { sync = true, atomic = true }))
            assert(fs.write("lost", "lost"))
            node:tell "written"
            node:receive()
          end,
        },
        run = function(sim)
          sim:start("n1", "writer")
          sim:receive()
          assert(sim:read_file("n1", "lost") == "lost")
          sim:kill "n1"
          assert(sim:read_file("n1", "lost") == "lost")
          sim:restart "n1"
          sim:receive()
          sim:crash "n1"
          sim:restart "n1"
          sim:receive()
          sim:crash "n1"
          assert(sim:read_file("n1", "kept") == "kept")
          sim:wipe "n1"
          assert(sim:read_file("n1", "kept") == nil)
          sim:put_file("n1", "given", "by hand")
          assert(sim:read_file("n1", "given") == "by hand")
        end,
      }]])
  end)

  it("has clocks that go wrong", function()
    scenario.pass(folder, [[
      local perilune = require "perilune"
      return {
        nodes = { a = function(node) node:receive() end },
        probes = { wall = function() return perilune.wall(), os.time() end, now = perilune.now },
        run = function(sim)
          local function keep() return require("perilune").sleep(1) end
          sim:start("n1", "a") sim:start("n2", "a")
          sim:clock("n1", { skew = "100s" })
          assert(math.abs(sim:probe("n1", "wall") - sim:probe("n2", "wall") - 100) < 1)
          sim:clock("n1", { jump = "-50s" })
          assert(math.abs(sim:probe("n1", "wall") - sim:probe("n2", "wall") - 50) < 1)
          sim:clock("n1", { drift = 0.1 })
          local a, b = sim:probe("n1", "now"), sim:probe("n2", "now")
          sim:sleep(100)
          a, b = sim:probe("n1", "now") - a, sim:probe("n2", "now") - b
          assert(math.abs(a - 1.1 * b) < 0.1, ("%f %f"):format(a, b))
        end,
      }]])
  end)

  it("draws from streams that do not disturb each other", function()
    local source = [[
      local perilune = require "perilune"
      local function draw() for _ = 1, tonumber(args.draws) do perilune.random() end return math.random(9) end
      return { nodes = { a = draw },
        run = function(sim)
          sim:start("n1", "a")
          local first = sim:random(1000000)
          sim:join "n1"
          local shuffled = table.concat(sim:shuffle { 1, 2, 3, 4, 5 })
          print(first, sim:random(10, 20), sim:pick { "a", "b", "c" }, shuffled, sim:chance(0.5))
        end }]]
    local few = run(source, { args = { draws = "1" } }).printed
    assert.equal(few, run(source, { args = { draws = "50" } }).printed)
    assert.not_equal(few, run(source, { args = { draws = "1" }, seed = 2 }).printed)
    assert.matches("^0.000000 controller | %d+\t[12]%d\t[abc]\t[1-5]+\t%a+\n$", few)
  end)

  it("is turned around by what it expects", function()
    local source = [[return { expect = "seven", run = function(sim) sim:assert(sim.seed ~= 7, "seven") end }]]
    local found = run(source, { seed = 7 })
    assert.is_true(found.ok)
    assert.is_true(found.found)
    local other = run(source, { seed = 6 })
    assert.is_true(other.ok)
    assert.is_nil(other.found)
  end)

  it("whose process does not end is killed", function()
    local got = failure("return { run = function() while true do end end }",
      { watchdog = "60s", real_seconds = 0.3 })
    assert.equal("died", got.kind)
    assert.matches("was killed: it took more than 0.3 s", got.message)
  end)

  it("lets modules ask where they are", function()
    folder:write("where.lua", [[
      local sim = require "perilune.sim"
      return function()
        return sim.node() and sim.node().name, sim.controller() and sim.controller().seed
      end]])
    scenario.pass(folder, [[
      local where = require "where"
      return { nodes = { a = function() local node, seed = where() return node, seed == nil end },
        run = function(sim)
          sim:start("n1", "a")
          local _, name, has_none = sim:join "n1"
          assert(name == "n1" and has_none)
          local node, seed = where()
          assert(node == nil and seed == 1)
        end }]])
    local sim = require "perilune.sim"
    assert.is_nil(sim.node())
    assert.is_nil(sim.controller())
    assert.has_error(function() require("perilune.core.sim").now() end,
      "this works in a simulation only: perilune sim SCENARIO.lua")
  end)

  it("names clients of a restarted node anew", function()
    scenario.pass(folder, [[
      local history = require "perilune.history"
      return { nodes = { a = function(node) history.invoke "acquire" node:receive() end },
        run = function(sim)
          sim:start("n1", "a") sim:sleep(1) sim:crash "n1" sim:restart "n1" sim:sleep(1)
          local events = sim:history()
          assert(#events == 2 and events[1].process == "n1/c1" and events[2].process == "n1!1/c1")
          assert(sim:check("lock").ok)
        end }]])
  end)

  it("finds modules beside it", function()
    folder:write("helper.lua", "return { value = 5 }")
    scenario.pass(folder, [[
      local helper = require "helper"
      return { nodes = { a = function() return helper.value end },
        run = function(sim) sim:start("n1", "a") assert(select(2, sim:join "n1") == 5) end }]])
  end)
end)
