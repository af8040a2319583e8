-- The twelve tests that the MIT labs have of their simulated network, by their names.
local json = require "perilune.json"
local sim = require "perilune.sim"

-- Each over seeds of its own; the benchmark once, and shorter than in the labs (scripts/bench has it whole).
local TESTS = {
  { "TestBasic", 5 }, { "TestTypes", 5 }, { "TestDisconnect", 5 }, { "TestCounts", 5 }, { "TestBytes", 5 },
  { "TestConcurrentMany", 3 }, { "TestUnreliable", 3 }, { "TestConcurrentOne", 5 }, { "TestRegression1", 5 },
  { "TestKilled", 5 }, { "TestBenchmark", 1, { count = "10000" } }, { "TestLongDelayRace", 5 },
}

describe("labrpc", function()
  for _, case in ipairs(TESTS) do
    local name, seeds, args = table.unpack(case)
    it(name, function()
      args = args or {}
      args.test = name
      local path = "tests/sim/labrpc.lua"
      local summary = assert(sim.seeds { scenario = path, args = args, from = 1, to = seeds })
      assert.equal(seeds, summary.passed, json.encode(summary.failures))
    end)
  end
end)
