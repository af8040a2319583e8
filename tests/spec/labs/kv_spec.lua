-- The key/value tests of the MIT labs, by their names, a seed each; to run one over more of them:
--   perilune sim tests/sim/kv_labs.lua --arg test=TestPersistPartition3A --seeds 1..100
-- They are simulated side by side, before the first is judged.
local fiber = require "perilune.fiber"
local json = require "perilune.json"
local process = require "perilune.process"
local sim = require "perilune.sim"

local TESTS = {
  "TestBasic3A", "TestSpeed3A", "TestConcurrent3A", "TestUnreliable3A", "TestUnreliableOneKey3A",
  "TestOnePartition3A", "TestManyPartitionsOneClient3A", "TestManyPartitionsManyClients3A",
  "TestPersistOneClient3A", "TestPersistConcurrent3A", "TestPersistConcurrentUnreliable3A",
  "TestPersistPartition3A", "TestPersistPartitionUnreliable3A",
  "TestPersistPartitionUnreliableLinearizable3A",
  "TestSnapshotRPC3B", "TestSnapshotSize3B", "TestSpeed3B", "TestSnapshotRecover3B",
  "TestSnapshotRecoverManyClients3B", "TestSnapshotUnreliable3B", "TestSnapshotUnreliableRecover3B",
  "TestSnapshotUnreliableRecoverConcurrentPartition3B",
  "TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable3B",
}

-- Bugs that are planted into the clerks, and a test that has to find them.
local BUGS = {
  { "writes that happen twice", "TestUnreliableOneKey3A", { sessions = "no" }, "nothing else|there twice" },
  { "stale reads", "TestUnreliable3A", { reads = "stale" }, "reads something else" },
}

local function run(name, to, args)
  args = args or {}
  args.test = name
  return (assert(sim.seeds {
    scenario = "tests/sim/kv_labs.lua", args = args, from = 1, to = to, jobs = 1,
  }))
end

describe("the labs' key/value service", function()
  local summaries = {}

  -- The last are the longest, and begin first.
  setup(function()
    local left, workers = #TESTS, {}
    local function work()
      while left > 0 do
        local name = TESTS[left]
        left = left - 1
        summaries[name] = run(name, 1)
      end
    end
    for i = 1, process.processors() do
      workers[i] = fiber.spawn(work)
    end
    for _, worker in ipairs(workers) do
      assert(worker:join())
    end
  end)

  for _, name in ipairs(TESTS) do
    it(name, function()
      assert.equal(1, summaries[name].passed, json.encode(summaries[name].failures))
    end)
  end

  for _, bug in ipairs(BUGS) do
    local what, name, args, messages = table.unpack(bug)
    it(name .. " finds " .. what, function()
      local failures = run(name, 3, args).failures
      assert.is_true(#failures > 0)
      local message, is_expected = failures[1].failure.message, false
      for part in messages:gmatch "[^|]+" do
        is_expected = is_expected or message:find(part, 1, true) ~= nil
      end
      assert.is_true(is_expected, message)
    end)
  end
end)
