-- Every example scenario shows what its header says, over many seeds, and is deterministic.
local json = require "perilune.json"
local sim = require "perilune.sim"

local function run(name, to, args, on_result)
  local path = ("examples/scenarios/%s.lua"):format(name)
  local summary, err = sim.seeds { scenario = path, from = 1, to = to, args = args, verify = true,
    on_result = on_result }
  return assert(summary, err)
end

describe("the scenario", function()
  for name, seeds in pairs { ping = 20, gossip = 5, quorum_register = 10, two_phase_commit = 30,
    replicated_map = 5, key_value = 5, fencing = 5 } do
    it(name .. " passes", function()
      local summary = run(name, seeds)
      assert.equal(seeds, summary.passed, json.encode(summary.failures))
    end)
  end

  -- A known weakness, the seeds of which one at least meets it, and what the failure says.
  local WEAK = {
    { "primary_backup", 5, {}, "not linearizable" },
    { "three_phase_commit", 100, {}, "%d committed and %d aborted" },
    { "quorum_register", 300, { write_back = "no" }, "not linearizable" },
    { "replicated_map", 3, { reads = "stale" }, "not linearizable" },
    { "key_value", 12, { reads = "stale" }, "not linearizable" },
    { "fencing", 3, { fence = "no" }, "updates are lost" },
  }
  for _, case in ipairs(WEAK) do
    local name, seeds, args, pattern = table.unpack(case)
    it(name .. (args.write_back and " without write-back" or args.reads and " with stale reads"
      or args.fence and " without tokens" or "") ..
      " shows its weakness", function()
      local summary = run(name, seeds, args, function(result)
        return result.found
      end)
      assert.same({}, summary.failures)
      assert.is_true(#summary.found > 0)
      assert.matches(pattern, summary.found[1].failure.message)
      print(("# %s: seed %d: %s"):format(name, summary.found[1].seed,
        summary.found[1].failure.message:match "^[^\n]*"))
    end)
  end

  it("two_phase_commit has participants in doubt while the coordinator is down", function()
    local doubts = 0
    for seed = 1, 10 do
      local trace = os.tmpname()
      local path = "examples/scenarios/two_phase_commit.lua"
      assert.is_true(assert(sim.run { scenario = path, seed = seed, trace = trace }).ok)
      local text = assert(require("perilune.fs").read(trace))
      os.remove(trace)
      local in_doubt = text:match "(%d) participants were in doubt for a minute"
      doubts = doubts + (in_doubt == "3" and 1 or 0)
    end
    assert.is_true(doubts >= 3, ("all were in doubt in %d of 10 runs"):format(doubts))
  end)
end)
