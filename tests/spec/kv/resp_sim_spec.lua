-- tests/sim/kv_resp.lua: what Redis' clients may count on, under all faults; and it finds what it is to find.
local json = require "perilune.json"
local sim = require "perilune.sim"

local SEEDS = 40

-- What clients do wrong, and what is found then.
local FINDS = {
  twice = "not linearizable", half = "half a transaction", torn = "left out, or came twice",
}

describe("the scenario of Redis' clients", function()
  it("passes", function()
    local summary = assert(sim.seeds { scenario = "tests/sim/kv_resp.lua", from = 1, to = 3, verify = true })
    assert.equal(3, summary.passed, json.encode(summary.failures))
  end)

  for slip, message in pairs(FINDS) do
    it("finds " .. slip, function()
      local summary = assert(sim.seeds {
        scenario = "tests/sim/kv_resp.lua", from = 1, to = SEEDS, args = { slip = slip },
        on_result = function(result) return not result.ok end,
      })
      local failure = assert(summary.failures[1], "it is not found")
      assert.matches(message, failure.failure.message, 1, true)
    end)
  end
end)
