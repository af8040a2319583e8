local check = require "perilune.check"
local fs = require "perilune.fs"

local MODELS = { ["etcd-cas-register"] = "cas-register", ["porcupine-kv"] = "kv" }

local function verdicts(folder)
  local list = {}
  for line in assert(fs.read(folder .. "/VERDICTS.tsv")):gmatch "[^\n]+" do
    local file, model, answer = line:match "^(%S+)\t(%S+)\t(%S+)"
    if file ~= "file" then
      list[#list + 1] = { file = file, model = MODELS[model] or model, ok = answer == "yes" }
    end
  end
  return list
end

local function judge_all(folder)
  for _, case in ipairs(verdicts(folder)) do
    local model = case.file:match "^kv/" and "kv" or case.model
    it(("%s is %slinearizable"):format(case.file, case.ok and "" or "not "), function()
      local history = assert(check.read(folder .. "/" .. case.file))
      local verdict = assert(check.linearizable(history, model))
      assert.are.equal(case.ok, verdict.ok)
      assert.is_true(verdict.memory < 64 * 1024 * 1024)
      local text = check.text(verdict)
      for line in text:gmatch "[^\n]+" do
        assert.is_true(#line <= 110, line)
      end
      if not case.ok then
        assert.is_truthy(text:find("cannot be", 1, true))
        for _, key in ipairs(verdict.keys) do
          if key.counterexample then
            -- What is shown is wrong by itself: the same events, without the rest.
            assert.is_true(#key.counterexample.operations >= 1)
            assert.is_true(#key.counterexample.operations <= 12, #key.counterexample.operations)
          end
        end
      end
    end)
  end
end

describe("histories made by hand", function()
  judge_all "tests/data/histories"
end)

describe("histories of jepsen and porcupine", function()
  local folder = "../shared/data/histories"
  if fs.exists(folder) then
    judge_all(folder)
  else
    pending("are not at hand: " .. folder)
  end
end)
