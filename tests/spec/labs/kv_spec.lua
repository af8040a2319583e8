-- The key/value tests of the MIT labs, by their names, a seed each; to run one over more of them:
--   perilune sim tests/sim/kv_labs.lua --arg test=TestPersistPartition3A --seeds 1..100
-- They are simulated side by side, before the first is judged.
local side_by_side = require "tests.spec.support.side_by_side"
local json = require "perilune.json"
local sim = require "perilune.sim"

local TESTS = {
  kv_version_labs = {
    "TestReliablePut", "TestPutConcurrentReliable", "TestUnreliableNet", "TestReliableBasic",
    "TestReliableNested", "TestOneClientReliable", "TestManyClientsReliable", "TestOneClientUnreliable",
    "TestManyClientsUnreliable",
  },
  kv_labs = {
    "TestBasic2", "TestConcurrent2", "TestUnreliable2", "TestUnreliableOneKey2",
    "TestBasic3A", "TestSpeed3A", "TestConcurrent3A", "TestUnreliable3A", "TestUnreliableOneKey3A",
    "TestOnePartition3A", "TestManyPartitionsOneClient3A", "TestManyPartitionsManyClients3A",
    "TestPersistOneClient3A", "TestPersistConcurrent3A", "TestPersistConcurrentUnreliable3A",
    "TestPersistPartition3A", "TestPersistPartitionUnreliable3A",
    "TestPersistPartitionUnreliableLinearizable3A",
    "TestSnapshotRPC3B", "TestSnapshotSize3B", "TestSpeed3B", "TestSnapshotRecover3B",
    "TestSnapshotRecoverManyClients3B", "TestSnapshotUnreliable3B", "TestSnapshotUnreliableRecover3B",
    "TestSnapshotUnreliableRecoverConcurrentPartition3B",
    "TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable3B",
  },
}

-- Bugs that are planted into the clerks, and a test that has to find them.
local BUGS = {
  { "writes that happen twice", "kv_labs", "TestUnreliableOneKey3A", { sessions = "no" },
    "nothing else|there twice" },
  { "stale reads", "kv_labs", "TestUnreliable3A", { reads = "stale" }, "reads something else|is missing" },
  { "puts that happened and are denied", "kv_version_labs", "TestUnreliableNet", { maybe = "no" },
    "that was repeated" },
  { "locks that hold off nobody", "kv_version_labs", "TestManyClientsReliable", { lock = "no" },
    "somebody else has the lock" },
}

local function run(file, name, to, args)
  args = args or {}
  args.test = name
  return (assert(sim.seeds {
    scenario = ("tests/sim/%s.lua"):format(file), args = args, from = 1, to = to, jobs = 1,
  }))
end

-- All tests, the longest last.
local function all()
  local list = {}
  for _, file in ipairs { "kv_version_labs", "kv_labs" } do
    for _, name in ipairs(TESTS[file]) do
      list[#list + 1] = { file = file, name = name }
    end
  end
  return list
end

describe("the labs' key/value service", function()
  local summaries = {}

  -- The longest begin first.
  setup(function()
    side_by_side(all(), function(test)
      summaries[test.name] = run(test.file, test.name, 1)
    end)
  end)

  for _, test in ipairs(all()) do
    it(test.name, function()
      assert.equal(1, summaries[test.name].passed, json.encode(summaries[test.name].failures))
    end)
  end

  for _, bug in ipairs(BUGS) do
    local what, file, name, args, messages = table.unpack(bug)
    it(name .. " finds " .. what, function()
      local failures = run(file, name, 3, args).failures
      assert.is_true(#failures > 0)
      local message, is_expected = failures[1].failure.message, false
      for part in messages:gmatch "[^|]+" do
        is_expected = is_expected or message:find(part, 1, true) ~= nil
      end
      assert.is_true(is_expected, message)
    end)
  end
end)
