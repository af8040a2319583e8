-- The Raft tests of the MIT labs, by their names, each over seeds of its own; scripts/soak has more of them.
local json = require "perilune.json"
local sim = require "perilune.sim"

-- How many seeds of each fit into a run of all tests.
local TESTS = {
  { "TestInitialElection", 4 }, { "TestReElection", 4 }, { "TestManyElections", 4 },
  { "TestBasicAgree", 4 }, { "TestRPCBytes", 4 }, { "TestFollowerFailure", 4 }, { "TestLeaderFailure", 4 },
  { "TestFailAgree", 4 }, { "TestFailNoAgree", 4 }, { "TestConcurrentStarts", 4 }, { "TestRejoin", 4 },
  { "TestBackup", 2 }, { "TestCount", 4 },
  { "TestPersist1", 4 }, { "TestPersist2", 2 }, { "TestPersist3", 4 }, { "TestFigure8", 1 },
  { "TestUnreliableAgree", 1 }, { "TestFigure8Unreliable", 1 }, { "TestReliableChurn", 1 },
  { "TestUnreliableChurn", 1 },
  { "TestSnapshotBasic", 2 }, { "TestSnapshotInstall", 1 }, { "TestSnapshotInstallUnreliable", 1 },
  { "TestSnapshotInstallCrash", 1 }, { "TestSnapshotInstallUnCrash", 1 }, { "TestSnapshotAllCrash", 2 },
  { "TestSnapshotInit", 2 },
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
