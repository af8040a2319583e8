-- perilune machine check: planted bugs are found and named.
local cli = require "tests.spec.support.binary"
local check = require "perilune.machine.check"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local machine = require "perilune.machine"
local process = require "perilune.process"
local use_folder = require "tests.spec.support.folder"

local function run(text)
  return assert(check.run(assert(machine.source(text, { name = "m.lua" })), { commands = 200, seed = 1 }))
end

describe("checking a machine", function()
  it("finds state that the snapshot loses", function()
    local report = run [[
      return { init = function() return { a = 0, b = 0 } end,
        apply = function(s) s.a = s.a + 1 if s.a % 3 == 0 then s.b = s.b + 1 end return s.b end,
        snapshot = function(s) return { s.a } end, restore = function(d) return { a = d[1], b = 0 } end }]]
    assert.is_false(report.ok)
    assert.matches("restore gives another state", report.why)
    assert.is_true(report.index >= 3)
    assert.is_true(report.replicas[1].state.b > 0)
    assert.equal(0, report.replicas[2].state.b)
  end)

  it("counts errors by their place, whatever numbers they tell", function()
    local report = run [[
      return { apply = function(s) s.n = (s.n or 0) + 1
        if s.n > 3 then error("number " .. s.n) end end, samples = { 1 } }]]
    assert.is_true(report.ok)
    assert.equal(1, #report.errors)
    assert.equal("m.lua:2: number N", report.errors[1].text)
  end)

  it("finds a snapshot that cannot be restored", function()
    local report = run [[
      return { apply = function(s) s.a = 1 end,
        snapshot = function(s) return s.a end, restore = function() error("no idea", 0) end }]]
    assert.matches("cannot be restored: no idea", report.why)
  end)

  it("bounds what is planted, alike on all replicas", function()
    local report = run [[
      local plants = {
        function(s) s.n = math.random() end, function(s) s.n = os.time() end,
        function(s) s.n = 1 local t = { [{}] = 1, [{}] = 2 } for _ in pairs(t) do end end,
        function(s) while true do s.n = (s.n or 0) + 1 end end,
        function(s) local t = ("x"):rep(1000) while true do t = t .. t s.n = #t end end,
        function(s) s.n, s.m = {}, 5 error("half", 0) end,
        function(s) s.ok = (s.ok or 0) + 1 end,
      }
      return { apply = function(s, _, ctx) plants[ctx.random(#plants)](s) end,
        budget = { instructions = 100000, memory = 1 << 20 } }]]
    assert.is_true(report.ok, report.why)
    assert.is_true(report.spent > 20 and report.refused > 20 and report.done > 10)
  end)

  it("does not try for long what never ends", function()
    local program = assert(machine.source [[return {
      apply = function(s) while true do s.n = 1 end end, budget = { instructions = 200000 } }]])
    local report = assert(check.run(program, { commands = 200, seed = 1, spent_max = 1e6 }))
    assert.same({ true, 5, 5 }, { report.ok, report.commands, report.spent })
  end)

  it("begins on the command line", function()
    local result = cli.run { "machine", "check", "examples/machines/counter.lua", "-n", "50", "--seeds", "1" }
    assert.equal(0, result.status, result.stderr)
    assert.matches("50 commands on 3 replicas, %d+ restores: equal", result.stdout)
    assert.matches("1 simulated groups under faults: 0 failed", result.stdout)
  end)

  local folder = use_folder(before_each, after_each)

  it("fails when no command did anything, for nothing was checked", function()
    local path = folder:write("m.lua", "return { apply = function() error('no', 0) end }")
    local result = cli.run { "machine", "check", path, "-n", "20" }
    assert.equal(1, result.status)
    assert.matches("20  no\n", result.stdout)
    assert.matches("nothing was checked: give the machine samples", result.stderr)
    folder:write("m.lua", "return { apply = function() error('no', 0) end, samples = { 1 } }")
    assert.matches("nothing was checked: not even the machine's samples",
      cli.run({ "machine", "check", path, "-n", "20" }).stderr, 1, true)
    assert.matches('"ok":false', cli.run({ "machine", "check", path, "-n", "20", "--json" }).stdout)
  end)

  it("leaves nothing behind when it is asked to end", function()
    local temporary = folder:at "tmp"
    assert(fs.mkdir(temporary))
    local child = assert(process.spawn { cli.path, "machine", "check", "examples/machines/bank.lua",
      "--seeds", "100000", "-n", "20", env = { TMPDIR = temporary }, stdout = "null", stderr = "null" })
    fiber.sleep(0.5)
    assert.same({}, fs.list(temporary))
    child:kill(15)
    assert.equal(128 + 15, child:wait().status)
    assert.same({}, fs.list(temporary))
  end)

  it("explains itself as all verbs do", function()
    local text = cli.run({ "machine", "check", "--help" }).stdout
    assert.matches("-n, --commands N       How many commands (default: 500).\n", text, 1, true)
    assert.matches("-h, --help             Show this help and exit.\n", text, 1, true)
    local result = cli.run { "machine", "check", "f", "--seeds", "x" }
    assert.matches("--seeds: 'x' is not", result.stderr, 1, true)
  end)

  it("names the file's mistakes", function()
    local path = folder:write("m.lua", "return { aply = print }")
    local result = cli.run { "machine", "check", path }
    assert.equal(1, result.status)
    assert.matches("m.lua: a machine has no field 'aply'", result.stderr, 1, true)
    result = cli.run { "machine", "check", "no/such.lua" }
    assert.equal(1, result.status)
    assert.matches("no/such.lua", result.stderr, 1, true)
    assert.equal(2, cli.run { "machine" }.status)
    assert.equal(2, cli.run { "machine", "check", path, "--commands", "x" }.status)
  end)
end)
