-- Planted leaks: what could make two runs of a seed differ, smuggled into a node. Each is either found by
-- `perilune sim --verify` or refused before it can leak. (Those of replicated machines are planted in
-- tests/unit/test_vm_deterministic.c, those of stock Lua itself in tests/unit/test_vm_pin.c.)
local binary = require "support.binary"
local new_folder = require "support.folder"
local scenario = require "support.scenario"

describe("a planted leak", function()
  local folder = new_folder(before_each, after_each)

  -- Files of code are inputs of a run and are read as they are: the one way out that is left.
  for _, name in ipairs { "clock", "cpu_time", "folder", "process_id", "random" } do
    it(("is found by --verify: %s"):format(name), function()
      local path = ("tests/spec/sim/leaks/%s.lua"):format(name)
      local result = binary.run { "sim", path, "--verify", "--seed", "1" }
      assert.are.equal(1, result.status)
      assert.matches("seed 1: it is not deterministic at 1.000000 s: two runs of", result.stderr, 1, true)
      assert.matches("n1 +letter +to controller, %d+ bytes at [^\n]*" .. name .. "%.lua:%d", result.stderr)
    end)
  end

  for _, case in ipairs {
    { "a child process", "os.execute 'date'", "os.execute: not available in simulation" },
    { "what a child process prints", "io.popen 'date'", "io.popen: not available in simulation" },
    { "a file", "io.open '/etc/hostname'", "io.open: not available in simulation" },
    { "lines of a file", "io.lines '/proc/stat'", "io.lines: not available in simulation" },
    { "standard input", "io.stdin:read 'a'", "file:read: not available in simulation" },
    { "a temporary name", "os.tmpname()", "os.tmpname: not available in simulation" },
    { "a C function", "package.loadlib('libc.so.6', 'rand')", "package.loadlib: not available" },
    { "a C module", "require 'lfs'", "module 'lfs' not found" },
    { "a person", "debug.debug()", "debug.debug: not available in simulation" },
    { "a process", "assert(require('perilune.process').run { 'date' })", "cannot be made deterministic" },
  } do
    it(("is refused: %s"):format(case[1]), function()
      local result = scenario.run(folder, ([[
        return { nodes = { leaky = function() %s end }, run = function(sim)
          sim:start("n1", "leaky")
          sim:join "n1"
        end }]]):format(case[2]))
      assert.is_false(result.ok)
      assert.are.equal("node", result.failure.kind)
      assert.matches(case[3], result.failure.message, 1, true)
    end)
  end

  -- The clocks, random numbers and addresses that a node does get are the run's.
  it("does not leak where the node has its own", function()
    scenario.pass(folder, [[
      local function all(node)
        math.randomseed()
        node:tell(os.time(), os.clock(), os.date(), tostring(os.getenv "PATH"), tostring(os.getenv "PAD"))
        node:tell(math.random(0), math.sin(1e6) ^ 0.3, tostring(os.setlocale "de_DE.UTF-8"), os.setlocale())
        node:tell(tostring({}), ("%p"):format(node), tostring(print), tostring(io.stdout))
        node:tell(collectgarbage "count", tostring(coroutine.running()))
        local weak = setmetatable({}, { __mode = "k" })
        for i = 1, 20000 do weak[{}] = i end
        local left = 0
        for _ in pairs(weak) do left = left + 1 end
        node:tell(left)
      end
      return { nodes = { a = all }, run = function(sim)
        sim:start("n1", "a")
        sim:join "n1"
      end }]], { verify = true })
  end)
end)
