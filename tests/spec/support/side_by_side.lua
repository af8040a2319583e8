--- Runs cases on all processors: the last ones, which are to be the longest, begin first.
local fiber = require "perilune.fiber"
local process = require "perilune.process"

---@generic T
---@param cases T[]
---@param run fun(case: T)
return function(cases, run)
  local left, workers = #cases, {}
  local function work()
    while left > 0 do
      left = left - 1
      run(cases[left + 1])
    end
  end
  for i = 1, process.processors() do
    workers[i] = fiber.spawn(work)
  end
  for _, worker in ipairs(workers) do
    assert(worker:join())
  end
end
