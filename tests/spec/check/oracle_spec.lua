local check = require "perilune.check"
local histories = require "tests.spec.check.histories"
local json = require "perilune.json"
local oracle = require "tests.spec.check.oracle"

local HISTORIES = 1500 -- of each model

describe("the checker agrees with trying every order", function()
  for model in pairs(oracle.models) do
    it(("on %d random histories of the model %s"):format(HISTORIES, model), function()
      local wrong = 0
      for seed = 1, HISTORIES do
        local events, operations = histories.make(model, seed)
        local expected = oracle.is_linearizable(model, operations)
        local verdict = assert(check.linearizable(events, model, { shrink = seed % 10 == 0 }))
        if verdict.ok ~= expected then
          error(("seed %d: %s, should be %s:\n%s"):format(seed, verdict.verdict, expected,
            json.encode(events)))
        end
        wrong = wrong + (expected and 0 or 1)
      end
      assert.is_true(wrong > HISTORIES / 50 and wrong < HISTORIES * 0.9,
        ("%d of %d are not linearizable: that shows little"):format(wrong, HISTORIES))
    end)
  end
end)
