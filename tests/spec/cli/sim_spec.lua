local cli = require "support.binary"
local fs = require "perilune.fs"
local json = require "perilune.json"
local new_folder = require "support.folder"
local process = require "perilune.process"

describe("perilune sim", function()
  local folder = new_folder(before_each, after_each)

  -- Runs the scenario; the arguments stand behind its name.
  local function run(source, ...)
    return cli.run { "sim", folder:write("scenario.lua", source), ... }
  end

  local SLEEPER = [[return { run = function(sim) print("seed", sim.seed) sim:sleep "90s" end }]]
  local UNEVEN = [[return { run = function(sim) sim:assert(sim.seed % 3 ~= 0, "divides by three") end }]]

  it("runs one seed and shows what nodes print", function()
    local result = run(SLEEPER)
    assert.equal(0, result.status)
    assert.equal("", result.stdout)
    assert.matches("^0.000000 controller | seed\t1\n", result.stderr)
    assert.matches("passed: %d+ events, 0 messages sent, 1 min 30 s of virtual time in ", result.stderr)
    assert.equal("", run(SLEEPER, "--quiet").stderr)
  end)

  it("prints why a seed failed and how to see it again", function()
    local result = run(UNEVEN, "--seed", "9", "--arg", "a=b c")
    assert.equal(1, result.status)
    assert.matches("seed 9: the scenario failed at 0.000000 s: .*:1: divides by three", result.stderr)
    local command = result.stderr:match "hint: to see it again: perilune (sim .-)\n"
    assert.matches("^sim .*scenario.lua %-%-seed 9 %-%-arg 'a=b c'$", command)
  end)

  describe("interrupted by Ctrl-C", function()
    local perilune = require "perilune"

    local ENDLESS = [[
      return { run = function(sim)
        while sim.seed > 5 do end
        sim:assert(sim.seed ~= 5, "five")
      end }]]

    -- Runs five seeds, of which the last fails, and is interrupted in the sixth, which computes for ever,
    -- after so many seconds, or when the fifth has failed:
    -- exit status, output, rest of the error output, workers.
    local function interrupt(seconds, ...)
      local child = assert(process.spawn { cli.path, "sim", folder:write("scenario.lua", ENDLESS), "--seeds",
        "1..1000", "--jobs", "1", stdout = "pipe", stderr = "pipe", env = { NO_COLOR = "1" }, ... })
      local children, workers = ("/proc/%d/task/%d/children"):format(child:pid(), child:pid()), ""
      while not workers:find "%d" do
        perilune.sleep(0.05)
        workers = assert(require("perilune.fs").read(children))
      end
      if not seconds then
        repeat local line = assert(child:stderr_read_line()) until line:find "seed 5"
      end
      perilune.sleep(seconds or 0.1)
      child:kill(2)
      local out, err = child:read(), child:stderr_read()
      return child:wait().status, out, err, workers
    end

    it("sums up what has run, and leaves no worker behind", function()
      local status, out, err, workers = interrupt()
      assert.same({ 130, "" }, { status, out })
      assert.matches("interrupted after 5 of 1,000 seeds: 4 of 5 runs passed\nfailing seeds: 5\n"
        .. "to go on: perilune sim [^\n]*scenario.lua %-%-seeds 6..1000\n$", err)
      perilune.sleep(0.1)
      for worker in workers:gmatch "%d+" do
        assert.is_false(process.is_alive(math.tointeger(worker)))
      end
    end)

    it("says so in JSON", function()
      local status, out = interrupt(2, "--json")
      local result = json.decode(out)
      assert.same({ 130, false, true, 5, 4, 5 },
        { status, result.ok, result.interrupted, result.runs, result.passed, result.failures[1].seed })
    end)
  end)

  it("refuses a run without time", function()
    local result = run(SLEEPER, "--time", "0")
    assert.same({ 2, "" }, { result.status, result.stdout })
    assert.matches("--time: a run needs some time", result.stderr, 1, true)
  end)

  it("says so when the file raises what is no text", function()
    for source, message in pairs {
      ["error {}"] = "(error object is a table value)",
      ["error(setmetatable({}, { __tostring = function() error 'mute' end }))"] = ":1: mute",
      ["return setmetatable({ run = print }, { __pairs = function() error 'shy' end })"] = ":1: shy",
    } do
      local result = run(source)
      assert.equal(1, result.status)
      assert.matches("seed 1: the scenario cannot run at 0.000000 s: ", result.stderr, 1, true)
      assert.matches(message, result.stderr, 1, true)
    end
  end)

  it("shows settings in the trace as a scenario writes them", function()
    local trace = folder:at "trace.txt"
    local source = [[return { network = { loss = 0.05 }, run = function(sim) sim:start("n", "n")
      sim:clock("n", { drift = "-200ppm", jump = "3s" }) end, nodes = { n = function() end } }]]
    assert.equal(0, run(source, "--trace", trace).status)
    local text = assert(require("perilune.fs").read(trace))
    assert.matches("fault +loss all %-> all 5%%\n", text)
    assert.matches("drift n %-0.02%%", text)
    assert.matches("jump n 3s", text)
  end)

  it("lists what can go wrong", function()
    local result = cli.run { "sim", "--faults" }
    assert.equal(0, result.status)
    assert.matches("\nsim:network { loss = } +a share +how many of the messages vanish\n", result.stdout)
    assert.matches("\nsim:crash%(node%) +the machine loses power", result.stdout)
    local list = json.decode(cli.run({ "sim", "--faults", "--json" }).stdout)
    assert.is_true(#list > 30)
    for _, row in ipairs(list) do
      assert.is_true(#row.usage > 0 and #row.unit > 0 and #row.text > 0, row.name)
    end
  end)

  it("runs many seeds, a line for each that fails", function()
    local result = run(UNEVEN, "--seeds", "1..10", "--jobs", "2")
    assert.equal(1, result.status)
    local failing = {}
    for seed in result.stderr:gmatch "\n  perilune sim %S+ %-%-seed (%d+)" do
      failing[#failing + 1] = math.tointeger(tonumber(seed))
    end
    table.sort(failing)
    assert.same({ 3, 6, 9 }, failing)
    assert.matches("7 of 10 runs passed", result.stderr)
  end)

  it("answers in JSON", function()
    local result = run(UNEVEN, "--seeds", "1..4", "--json")
    local value = json.decode(result.stdout)
    assert.equal(1, result.status)
    assert.equal("", result.stderr)
    assert.is_false(value.ok)
    assert.equal(3, value.passed)
    assert.equal(3, value.failures[1].seed)
    assert.matches("^perilune sim .*%-%-seed 3$", value.failures[1].command)
    local one = json.decode(run(SLEEPER, "--json").stdout)
    assert.is_true(one.ok)
    assert.equal(90, one.time)
    assert.matches("^%x+$", one.hash)
  end)

  it("wants a scenario that is meant to fail to fail", function()
    local source = [[
      return { expect = "seven", run = function(sim) sim:assert(sim.seed ~= 7, "seven") end }]]
    local found = run(source, "--seeds", "1..10")
    assert.equal(0, found.status)
    assert.matches("found what the scenario expects in 1 of 10 runs; the first is\n  perilune sim .* 7\n",
      found.stderr)
    assert.matches("\n10 runs: 1 failed as expected, 9 did not fail: ", found.stderr)
    assert.not_matches("passed", found.stderr)
    local none = run(source, "--seeds", "1..6")
    assert.equal(1, none.status)
    assert.matches("no run failed as the scenario expects: seven", none.stderr)
    local other = run([[return { expect = "seven", run = function() error "eight" end }]], "--seeds", "1..2")
    assert.equal(1, other.status)
  end)

  it("ends a run at --time", function()
    local result = run(SLEEPER, "--time", "2s")
    assert.equal(1, result.status)
    assert.matches("it did not end at 2.000000 s", result.stderr)
    assert.matches("controller: fiber main: fiber.sleep at .*scenario.lua:1", result.stderr)
    assert.matches("%-%-time 2s", result.stderr)
  end)

  it("writes a trace, a line for each event", function()
    local path = folder:at "trace.txt"
    assert.equal(0, run(SLEEPER, "--trace", path).status)
    assert.matches("\n +| seed\t1\n", folder:read "trace.txt")
    assert.matches("^ +1 +0.000000 controller start .*\n +%d+ +90.000000 controller +exit",
      folder:read "trace.txt")
  end)

  it("says so when a trace cannot be written", function()
    local result = run(SLEEPER, "--trace", folder:at "missing/trace.txt")
    assert.equal(1, result.status)
    assert.matches("No such file or directory", result.stderr)
  end)

  it("writes the history, which perilune check reads", function()
    local path = folder:at "history.jsonl"
    local found = cli.run { "sim", "examples/scenarios/primary_backup.lua", "--seed", "1", "--history", path }
    assert.equal(0, found.status)
    local judged = cli.run { "check", "--model", "register", path }
    assert.equal(1, judged.status)
    assert.matches("not linearizable", judged.stdout .. judged.stderr)
    assert.equal(0, run(SLEEPER, "--history", path).status)
    assert.equal("", folder:read "history.jsonl")
    assert.equal(1, run(SLEEPER, "--history", folder:at "missing/h").status)
  end)

  it("reads the library of --lua-path in both runs of a seed", function()
    assert(fs.mkdir(folder:at "library/perilune", { parents = true }))
    folder:write("library/perilune/mine.lua", "return 1")
    folder:write("scenario.lua", [[require "perilune.mine" return { run = function(sim) sim:sleep(1) end }]])
    local result = assert(process.run {
      cli.path, "--lua-path", "library", "sim", "scenario.lua", "--verify", cwd = folder.path,
    })
    assert.equal(0, result.status, result.stderr)
  end)

  it("verifies seeds", function()
    local result = run(UNEVEN, "--seeds", "1..2", "--verify")
    assert.equal(0, result.status)
    assert.matches("each run twice, with the same events", result.stderr)
    local leak = run([[
      return { run = function(sim) sim:log(tostring(package.searchpath("README.md", "?", ""))) end }]],
      "--verify")
    assert.equal(1, leak.status)
    assert.matches("it is not deterministic at", leak.stderr)
  end)

  local WRONG = {
    { "no file", { "sim" }, "missing argument", 2 },
    { "a file that is not there", { "sim", "none.lua" }, "none.lua: No such file or directory", 1 },
    { "a folder", { "sim", "." }, "%.: ", 1 },
    { "a seed that is none", { "sim", "x.lua", "--seed", "one" }, "is not a seed", 2 },
    { "a name without .lua", { "sim", "examples/scenarios/ping" },
      "hint: did you mean examples/scenarios/ping.lua%?", 1 },
    { "a range for one seed", { "sim", "x.lua", "--seed", "1..3" }, "write %-%-seeds 1..3", 2 },
    { "one seed for a range", { "sim", "x.lua", "--seeds", "9" }, "write %-%-seed 9, or a range", 2 },
    { "a seed below zero", { "sim", "x.lua", "--seed", "-1" },
      "%-%-seed: '%-1' is not a seed, which is a whole number from 0 on", 2 },
    { "a seed below zero, briefly", { "sim", "x.lua", "-s", "-1" }, "%-%-seed: '%-1' is not a seed", 2 },
    { "a time below zero", { "sim", "x.lua", "--time", "-5s" }, "%-%-time: '%-5s' is not a duration", 2 },
    { "seeds that are none", { "sim", "x.lua", "--seeds", "9..1" }, "'9..1' is no range: the smaller", 2 },
    { "no range of seeds", { "sim", "x.lua", "--seeds", "1-9" }, "'1%-9' is not a range of seeds", 2 },
    { "a seed that is too large", { "sim", "x.lua", "--seed", "9223372036854775808" },
      "'9223372036854775808' is too large: seeds go up to 9223372036854775807", 2 },
    { "seeds that are too large", { "sim", "x.lua", "--seeds", "1..9223372036854775808" }, "too large", 2 },
    { "no jobs", { "sim", "x.lua", "--jobs", "0" }, "'0' is not a whole number from 1 to", 2 },
    { "seed and seeds", { "sim", "x.lua", "--seed", "1", "--seeds", "1..2" }, "exclude each other", 2 },
    { "a trace of many", { "sim", "x.lua", "--seeds", "1..2", "--trace", "t" }, "are for one seed", 2 },
    { "an unknown option", { "sim", "x.lua", "--sed", "1" }, "did you mean '%-%-seed'", 2 },
    { "a time without unit", { "sim", "x.lua", "--time", "5" }, "needs a unit: 5s", 2 },
  }
  for _, case in ipairs(WRONG) do
    it("refuses " .. case[1], function()
      local result = cli.run(case[2])
      assert.matches(case[3], result.stderr)
      assert.equal(case[4], result.status)
    end)
  end
end)
