-- The Raft tests of the MIT labs, by their names, each over seeds of its own; to run one over more of them:
--   perilune sim tests/sim/raft_labs.lua --arg test=TestFigure8 --seeds 1..200
-- They are simulated side by side, before the first is judged.
local side_by_side = require "tests.spec.support.side_by_side"
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
  local summaries = {}

  -- The last are the longest, and begin first.
  setup(function()
    side_by_side(TESTS, function(case)
      local name, seeds = table.unpack(case)
      summaries[name] = assert(sim.seeds {
        scenario = "tests/sim/raft_labs.lua", args = { test = name }, from = 1, to = seeds, jobs = 1,
      })
    end)
  end)

  for _, case in ipairs(TESTS) do
    local name, seeds = table.unpack(case)
    it(name, function()
      assert.equal(seeds, summaries[name].passed, json.encode(summaries[name].failures))
    end)
  end
end)
