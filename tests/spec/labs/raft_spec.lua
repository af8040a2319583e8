-- The Raft tests of the MIT labs, by their names, each over seeds of its own; scripts/soak has more of them.
local json = require "perilune.json"
local sim = require "perilune.sim"

-- How many seeds of each fit into a run of all tests.
local TESTS = {
  { "TestInitialElection", 2 }, { "TestReElection", 2 }, { "TestManyElections", 1 },
  { "TestBasicAgree", 2 }, { "TestRPCBytes", 2 }, { "TestFollowerFailure", 2 }, { "TestLeaderFailure", 2 },
  { "TestFailAgree", 2 }, { "TestFailNoAgree", 2 }, { "TestConcurrentStarts", 2 }, { "TestRejoin", 2 },
  { "TestBackup", 1 }, { "TestCount", 2 },
  { "TestPersist1", 1 }, { "TestPersist2", 1 }, { "TestPersist3", 2 }, { "TestFigure8", 1 },
  { "TestUnreliableAgree", 1 }, { "TestFigure8Unreliable", 1 }, { "TestReliableChurn", 1 },
  { "TestUnreliableChurn", 1 },
  { "TestSnapshotBasic", 1 }, { "TestSnapshotInstall", 1 }, { "TestSnapshotInstallUnreliable", 1 },
  { "TestSnapshotInstallCrash", 1 }, { "TestSnapshotInstallUnCrash", 1 }, { "TestSnapshotAllCrash", 1 },
  { "TestSnapshotInit", 1 },
}

describe("the labs' Raft", function()
  for _, case in ipairs(TESTS) do
    local name, seeds = table.unpack(case)
    it(name, function()
      local summary = assert(sim.seeds {
        scenario = "tests/sim/raft_labs.lua", args = { test = name }, from = 1, to = seeds,
      })
      assert.equal(seeds, summary.passed, json.encode(summary.failures))
    end)
  end
end)
