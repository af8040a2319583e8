-- The coordinator as a machine: events in, actions out, no clock and no process.
local coordinator = require "perilune.mapreduce.coordinator"

-- A stage under test: sends events at times of its own and remembers what was done.
local Stage = {}
Stage.__index = Stage

local function new_stage(options)
  local defaults = { maps = 2, reduces = 1, attempts = 4, timeout_s = 60, backup_after_s = 5,
    skip_records = 0 }
  for name, value in pairs(options or {}) do
    defaults[name] = value
  end
  return setmetatable({ machine = coordinator.new(defaults), now = 0 }, Stage)
end

-- Sends an event; the actions as short strings, "assign 1 map 2.1": worker, kind, number, attempt.
function Stage:send(type, worker, fields)
  local event = { type = type, worker = worker, now = self.now }
  for name, value in pairs(fields or {}) do
    event[name] = value
  end
  local lines = {}
  for i, action in ipairs(coordinator.step(self.machine, event)) do
    local words = { action.action, action.worker }
    if action.task then
      words[#words + 1] = ("%s %d.%d"):format(action.task.kind, action.task.number, action.attempt)
    end
    lines[i] = table.concat(words, " ")
    self.cause = action.cause or self.cause
  end
  return lines
end

function Stage:done(worker, result)
  return self:send("task_done", worker, { result = result or {} })
end

function Stage:failed(worker, err)
  return self:send("task_failed", worker, { error = err })
end

describe("the coordinator", function()
  it("gives maps first, and reduces only after all of them", function()
    local stage = new_stage()
    assert.same({ "assign 1 map 1.1" }, stage:send("worker_ready", 1))
    assert.same({ "assign 2 map 2.1" }, stage:send("worker_ready", 2))
    assert.same({ "commit map 1.1" }, stage:done(1))
    assert.same({ "commit map 2.1", "assign 1 reduce 1.1" }, stage:done(2))
    assert.same({ "commit reduce 1.1", "done" }, stage:done(1))
    assert.same({}, stage:send("worker_ready", 3))
  end)

  it("runs a failed task again, under a new attempt's name", function()
    local stage = new_stage { maps = 1 }
    stage:send("worker_ready", 1)
    assert.same({ "discard map 1.1", "assign 1 map 1.2" }, stage:failed(1, { message = "x", code = "ELUA" }))
    assert.same({ "commit map 1.2", "assign 1 reduce 1.1" }, stage:done(1))
  end)

  it("runs the task of a lost worker on another one", function()
    local stage = new_stage { maps = 1 }
    stage:send("worker_ready", 1)
    assert.same({}, stage:send("worker_ready", 2))
    assert.same({ "discard map 1.1", "assign 2 map 1.2" },
      stage:send("worker_lost", 1, { error = { message = "killed", code = "EWORKER" } }))
    assert.equal(1, stage.machine.stats.lost_workers)
  end)

  it("gives up after four attempts, and names the job's own error rather than a killed worker", function()
    local stage = new_stage { maps = 1 }
    stage:send("worker_ready", 1)
    stage:send("worker_lost", 1, { error = { message = "killed", code = "EWORKER" } })
    stage:send("worker_ready", 1)
    stage:failed(1, { message = "job.lua:3: boom", code = "ELUA" })
    stage:send("worker_lost", 1, { error = { message = "killed", code = "EWORKER" } })
    stage:send("worker_ready", 1)
    assert.same({ "discard map 1.4", "fail" }, stage:failed(1, { message = "later", code = "ELUA" }))
    assert.equal("job.lua:3: boom", stage.cause.message)
  end)

  it("starts a backup of a straggler, commits the first and ends the other", function()
    local stage = new_stage { maps = 3, reduces = 0 }
    for worker = 1, 3 do
      stage:send("worker_ready", worker)
    end
    stage.now = 1
    stage:done(1)
    stage:done(2)
    assert.same({}, stage:send("tick"))
    stage.now = 6
    assert.same({ "assign 1 map 3.2" }, stage:send("tick"))
    assert.same({}, stage:send("tick")) -- one backup at a time for so few workers
    assert.same({ "kill 3", "commit map 3.2", "done" }, stage:done(1))
    assert.equal(1, stage.machine.stats.backups_won)
  end)

  it("discards the slower attempt and does not count it as a failure", function()
    local stage = new_stage { maps = 2, reduces = 1 }
    stage:send("worker_ready", 1)
    stage:send("worker_ready", 2)
    stage.now = 1
    stage:done(1)
    stage.now = 9
    stage:send("tick")
    assert.same({ "kill 2", "commit map 2.2", "assign 1 reduce 1.1" }, stage:done(1))
    assert.same({ "discard map 2.1" },
      stage:send("worker_lost", 2, { error = { message = "killed", code = "EWORKER" } }))
    assert.same({ 0, 0 }, { stage.machine.stats.failures, stage.machine.stats.lost_workers })
  end)

  it("leaves a fast task alone: the longest time left counts", function()
    local stage = new_stage { maps = 2, reduces = 0 }
    for worker = 1, 3 do
      stage:send("worker_ready", worker)
    end
    stage.now = 6
    stage:send("progress", 1, { done = 0.99 })
    stage:send("progress", 2, { done = 0.1 })
    assert.equal(2, stage.machine.workers[3].task.number)
  end)

  it("starts no backups when told so", function()
    local stage = new_stage { maps = 1, backup_after_s = false }
    stage:send("worker_ready", 1)
    stage:send("worker_ready", 2)
    stage.now = 1000
    stage:send("progress", 1, { done = 0.1 })
    assert.same({}, stage:send("tick"))
  end)

  it("runs a map task again whose spill a reduce task found damaged", function()
    local stage = new_stage()
    stage:send("worker_ready", 1)
    stage:done(1)
    assert.same({ "commit map 2.1", "assign 1 reduce 1.1" }, stage:done(1))
    assert.same({ "discard reduce 1.1", "assign 1 map 2.2" },
      stage:failed(1, { message = "damaged", code = "ECORRUPT", damaged_map = 2 }))
    assert.same({ "commit map 2.2", "assign 1 reduce 1.2" }, stage:done(1))
    assert.same({ "commit reduce 1.2", "done" }, stage:done(1))
    assert.equal(1, stage.machine.stats.redone)
  end)

  it("ends a worker that is silent beyond the time limit, and says so", function()
    local stage = new_stage { maps = 1, attempts = 1, backup_after_s = false }
    stage:send("worker_ready", 1)
    stage.now = 64
    assert.same({}, stage:send("tick"))
    stage.now = 66
    assert.same({ "kill 1" }, stage:send("tick"))
    assert.same({}, stage:send("tick"))
    assert.same({ "discard map 1.1", "fail" },
      stage:send("worker_lost", 1, { error = { message = "killed", code = "EWORKER" } }))
    assert.matches("no progress for 60 s", stage.cause.message)
  end)

  it("fails when all tasks together skip more records than allowed", function()
    local stage = new_stage { skip_records = 3 }
    stage:send("worker_ready", 1)
    stage:done(1, { skipped = 2 })
    assert.same({ "commit map 2.1", "fail" }, stage:done(1, { skipped = 2 }))
    assert.matches("4 bad records, more than the 3", stage.cause.message)
  end)

  it("ends every task exactly once, whatever happens to workers (seeded)", function()
    for seed = 1, 200 do
      local seen = {}
      math.randomseed(seed)
      local stage = new_stage { maps = math.random(1, 6), reduces = math.random(0, 4), attempts = 1000 }
      local finished = false
      for _ = 1, 5000 do
        stage.now = stage.now + math.random() * 4
        local worker, dice = math.random(1, 4), math.random()
        local known = stage.machine.workers[worker]
        local lines
        if not known then
          lines = stage:send("worker_ready", worker)
        elseif dice < 0.2 then
          lines = stage:send("worker_lost", worker, { error = { message = "killed", code = "EWORKER" } })
        elseif dice < 0.3 then
          lines = stage:failed(worker, { message = "x", code = "ELUA" })
        elseif dice < 0.7 then
          lines = stage:done(worker)
        else
          lines = stage:send("tick")
        end
        for _, line in ipairs(lines) do
          local task = line:match("^commit (%a+ %d+)")
          if task then
            assert.is_nil(seen[task], ("seed %d: %s committed twice"):format(seed, task))
            seen[task] = true
          end
          finished = finished or line == "done"
        end
        if finished then
          break
        end
      end
      assert.is_true(finished, "seed " .. seed)
    end
  end)
end)
