-- Every bug that tests/sim/kv_bugs.lua can plant into the servers of a store is found by tests/sim/kv.lua,
-- and as what it is. A bug that nobody notices is a hole in the net.
local json = require "perilune.json"
local sim = require "perilune.sim"

local SEEDS = 40

-- What failures may say.
local FINDS = {
  stale_read = { "not linearizable", "too early", "still to come", "leases do not end",
    "a fenced update is lost" },
  lost_session = { "not linearizable", "too early", "twice", "other changes", "an item of a queue is lost" },
  double_apply = { "not linearizable", "twice", "other changes", "an item of a queue is lost" },
  watch_gap = { "a watch left out" },
  watch_late = { "a watch left out" },
  unfenced_write = { "a fenced update is lost" },
  unchecked_write = { "not linearizable", "twice", "lost" },
  half_transaction = { "half a transaction", "an item of a queue is lost" },
  fast_clock = { "too early", "no clock says" },
  stale_cache = { "not linearizable" },
  hasty_leader = { "not linearizable" },
  no_expiry = { "leases do not end" },
  early_answer = { "not linearizable", "too early", "is lost", "twice" },
}

local function is_one_of(message, patterns)
  for _, pattern in ipairs(patterns) do
    if message:find(pattern, 1, true) then
      return true
    end
  end
  return false
end

describe("the soak of the key/value store", function()
  it("passes", function()
    local summary = assert(sim.seeds { scenario = "tests/sim/kv.lua", from = 1, to = 3, verify = true })
    assert.equal(3, summary.passed, json.encode(summary.failures))
  end)

  for name, patterns in pairs(FINDS) do
    it("finds " .. name, function()
      local summary = assert(sim.seeds {
        scenario = "tests/sim/kv.lua", from = 1, to = SEEDS, args = { bug = name },
        on_result = function(result) return not result.ok end,
      })
      local failure = assert(summary.failures[1], "it is not found")
      assert.is_true(is_one_of(failure.failure.message, patterns), failure.failure.message)
    end)
  end

  it("has a test for each bug", function()
    package.path = "tests/sim/?.lua;" .. package.path
    for _, name in ipairs(require("kv_bugs").names) do
      assert.is_table(FINDS[name], name)
    end
  end)
end)
