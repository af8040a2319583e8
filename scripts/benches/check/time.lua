--- Checks one history again and again: time.lua MODEL FILE RUNS; prints, tab-separated, the verdict, the
--- least and the median milliseconds of a check (without reading the file), its steps and its peak bytes.
local check = require "perilune.check"
local judge = require "perilune.check.judge"
local perilune = require "perilune"

local model, path, runs = arg[1], arg[2], tonumber(arg[3])
local BUDGET = { deadline = perilune.now() + 120, steps = math.huge, memory = 512 * 1024 * 1024 }
local SHORT_MS, REPEATED = 20, 30

local history = assert(check.read(path))
local times, verdict, steps, memory = {}, true, 0, 0

local function run()
  local started = os.clock()
  local keys = assert(judge.parts(history, model))
  judge.search(keys, BUDGET)
  times[#times + 1] = (os.clock() - started) * 1000
  verdict, steps, memory = true, 0, 0
  for _, key in ipairs(keys) do
    if key.ok ~= true and verdict ~= false then
      verdict = key.ok
    end
    steps, memory = steps + key.steps, math.max(memory, key.memory)
    key.part:close()
  end
end

run()
for _ = 2, times[1] < SHORT_MS and runs * REPEATED or runs do
  run()
end
table.sort(times)
print(("%s\t%.3f\t%.3f\t%d\t%d"):format(verdict == nil and "undecided" or verdict and "yes" or "no", times[1],
  times[(#times + 1) // 2], steps, memory))
