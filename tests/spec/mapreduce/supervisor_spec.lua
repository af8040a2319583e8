-- Worker processes that come and go.
local cli = require "support.binary"
local fs = require "perilune.fs"
local perilune = require "perilune"
local stages = require "perilune.mapreduce.stages"
local supervisor = require "perilune.mapreduce.supervisor"

describe("the supervisor", function()
  local folder, workers

  before_each(function()
    folder = assert(fs.tempdir())
    workers = supervisor.start(1)
  end)

  after_each(function()
    workers:stop()
    fs.remove(folder, { recursive = true })
  end)

  local function next_event(type)
    local event
    repeat
      event = workers:next(10)
    until not event or event.type == type
    return assert(event, "no " .. type)
  end

  it("gives every process a number of its own", function()
    local first = next_event("worker_ready").worker
    workers:kill(first)
    assert.equal(first, next_event("worker_lost").worker)
    local second = next_event("worker_ready").worker
    assert.not_equal(first, second)
    workers:assign(first, { kind = "describe", job = "none" }) -- nobody gets it
    workers:assign(second, { kind = "describe", job = folder .. "/none" })
    local event = next_event("task_failed")
    assert.equal(second, event.worker)
    assert.matches("/none", event.error.message, 1, true)
  end)

  it("does not wait for a process that does not read", function()
    local worker = next_event("worker_ready").worker
    workers.children[worker]:kill(19) -- SIGSTOP
    local began = perilune.now()
    workers:assign(worker, { kind = "describe", job = "none", args = { long = ("x"):rep(4 << 20) } })
    assert.is_true(perilune.now() - began < 1)
    workers:kill(worker)
    assert.equal(worker, next_event("worker_lost").worker)
  end)

  it("ends a process that says what is no message", function()
    assert(fs.write(folder .. "/job.lua", [[return { map = function(rec, out, job)
      io.write(job.args.text, 'hello, world') io.flush() end }]]))
    assert(fs.write(folder .. "/input", "a\n"))
    for _, text in ipairs { "", "!!! " } do -- the latter is the size of a frame below 1 GiB
      local result = cli.run { "mr", "--trusted", folder .. "/job.lua", folder .. "/input", "-o",
        folder .. "/out", "--arg", "text=" .. text }
      assert.equal(1, result.status)
      assert.matches("must not write to standard output", result.stderr, 1, true)
    end
  end)

  it("asks another worker when the one that was asked is killed", function()
    local events = {}
    for worker = 1, 3 do
      events[#events + 1] = { type = "worker_ready", worker = worker }
    end
    local executor = { asked = 0 }
    function executor.next()
      return table.remove(events, 1)
    end
    function executor.assign(_, worker)
      executor.asked = executor.asked + 1
      events[#events + 1] = executor.asked < 3
        and { type = "worker_lost", worker = worker, error = { code = "EWORKER", message = "killed" } }
        or { type = "task_done", worker = worker, result = "answer" }
    end
    local ask = stages.new(executor, {}, { timeout_s = 5 })
    assert.equal("answer", ask:ask {})
    assert.equal(3, executor.asked)
  end)
end)
