-- Which worker runs which attempt (MapReduce 3.1, 3.3, 3.6): a pure machine, event in, actions out.
--
--   pending --assign--> running --task_done--> done
--      ^                   |                     |
--      +--- task_failed, worker_lost             | its spill is damaged: a reduce attempt says so
--      +-----------------------------------------+
--
-- A task may have two running attempts (a backup task); the first that is done is committed, the
-- other one's worker is ended and its files are discarded. Reduce tasks start after all map tasks.
-- No clock, process or file is touched here: events carry the time in seconds.
local keys = require "perilune.keys"

local M = {}

local BACKUP_FACTOR = 2      -- a straggler runs this many times longer than the median
local BACKUP_SHARE = 0.1     -- of the workers may run backup attempts, at least one
local SILENCE_GRACE_S = 5    -- a worker stops a stuck task itself; this much later we end the worker

---@class perilune.mapreduce.Task
---@field kind "map"|"reduce"
---@field number integer             from 1 within its kind
---@field state "pending"|"running"|"done"
---@field attempts integer           started so far; names the next one
---@field failures integer
---@field running table<integer, integer>  attempt -> worker
---@field result table|nil           of the committed attempt

---@class perilune.mapreduce.Cause
---@field message string
---@field code string|nil
---@field rank integer    0: the job's own error; higher: less likely to be what went wrong
---@field task perilune.mapreduce.Task
---@field attempt integer

---@class perilune.mapreduce.Coordinator
---@field tasks perilune.mapreduce.Task[]  maps in order, then reduces in order
---@field causes perilune.mapreduce.Cause[] in the order they happened

-- What ends attempts, by error code: the user's own error explains a failed job better than a
-- killed worker does. Codes not listed stand between.
local RANKS = { ELUA = 0, EMEMORY = 0, EDEADLINE = 0, EFORMAT = 0, EWORKER = 2 }

local function new_task(kind, number)
  return { kind = kind, number = number, state = "pending", attempts = 0, failures = 0, running = {} }
end

---@class perilune.mapreduce.CoordinatorOptions
---@field maps integer
---@field reduces integer          0 for a map-only stage
---@field attempts integer         failures of one task that fail the job
---@field timeout_s number
---@field backup_after_s number|false
---@field skip_records integer     bad records that all tasks together may skip

--- A stage with nothing started.
---@param options perilune.mapreduce.CoordinatorOptions
---@return perilune.mapreduce.Coordinator
function M.new(options)
  local self = {
    options = options, tasks = {}, workers = {}, causes = {}, maps_left = options.maps,
    left = options.maps + options.reduces, skipped = 0, finished = false, first_pending = 1,
    stats = { attempts = 0, failures = 0, backups = 0, backups_won = 0, lost_workers = 0, redone = 0 },
    durations = { map = {}, reduce = {} },
  }
  for number = 1, options.maps do
    self.tasks[number] = new_task("map", number)
  end
  for number = 1, options.reduces do
    self.tasks[options.maps + number] = new_task("reduce", number)
  end
  return self
end

local function make_pending(self, task)
  task.state = "pending"
  local index = task.kind == "map" and task.number or self.options.maps + task.number
  self.first_pending = math.min(self.first_pending, index) -- none before it is pending
end

local function idle_workers(self)
  local idle = {}
  for _, id in ipairs(keys.sorted(self.workers)) do
    if not self.workers[id].task then
      idle[#idle + 1] = id
    end
  end
  return idle
end

local function median(list)
  if #list == 0 then
    return nil
  end
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy[(#copy + 1) // 2]
end

local function start(self, worker, task, now, actions)
  task.attempts = task.attempts + 1
  task.state = "running"
  task.running[task.attempts] = worker
  self.stats.attempts = self.stats.attempts + 1
  self.workers[worker] = { task = task, attempt = task.attempts, started = now, heard = now, done = 0 }
  actions[#actions + 1] =
    { action = "assign", worker = worker, task = task, attempt = task.attempts }
end

local function has_two_attempts(task)
  return next(task.running, (next(task.running))) ~= nil
end

--- The running task that a second attempt would help most: the longest time left (LATE, OSDI 2008).
local function straggler(self, now)
  local best, longest
  for _, id in ipairs(keys.sorted(self.workers)) do
    local worker = self.workers[id]
    local task = worker.task
    if task and task.state == "running" and not has_two_attempts(task) then
      local age = now - worker.started
      local usual = median(self.durations[task.kind])
      local limit = math.max(self.options.backup_after_s, BACKUP_FACTOR * (usual or 0))
      local left = worker.done > 0 and age * (1 - worker.done) / worker.done or math.huge
      if age > limit and (not best or left > longest) and left > (usual or 0) / 2 then
        best, longest = task, left
      end
    end
  end
  return best
end

local function backups_running(self)
  local count = 0
  for _, worker in pairs(self.workers) do
    if worker.task and has_two_attempts(worker.task) then
      count = count + 0.5
    end
  end
  return count
end

--- Gives every idle worker something to do.
local function assign(self, now, actions)
  local idle = idle_workers(self)
  local at = 1
  local last = self.maps_left > 0 and self.options.maps or #self.tasks
  while at <= #idle and self.first_pending <= last do
    local task = self.tasks[self.first_pending]
    if task.state == "pending" then
      start(self, idle[at], task, now, actions)
      at = at + 1
    end
    self.first_pending = self.first_pending + 1
  end
  if not self.options.backup_after_s then
    return
  end
  local most = math.max(1, math.floor(#keys.sorted(self.workers) * BACKUP_SHARE))
  while at <= #idle and backups_running(self) < most do
    local task = straggler(self, now)
    if not task then
      return
    end
    self.stats.backups = self.stats.backups + 1
    start(self, idle[at], task, now, actions)
    at = at + 1
  end
end

--- The first cause of the best rank among the failures of the task that gave up.
---@param causes perilune.mapreduce.Cause[]
---@return perilune.mapreduce.Cause|nil
function M.first_real_cause(causes)
  local best
  for _, cause in ipairs(causes) do
    if not best or cause.rank < best.rank then
      best = cause
    end
  end
  return best
end

-- Of workers that were lost again and again the last one counts: its task is the one that gave up.
local function fail(self, actions)
  self.finished = true
  local cause = M.first_real_cause(self.causes)
  actions[#actions + 1] =
    { action = "fail", cause = cause.code == "EWORKER" and self.causes[#self.causes] or cause }
end

--- Books a failed attempt; the task runs again unless it failed too often.
local function attempt_failed(self, task, attempt, err, actions)
  task.running[attempt] = nil
  actions[#actions + 1] = { action = "discard", task = task, attempt = attempt }
  if task.state == "done" then
    return
  end
  self.stats.failures = self.stats.failures + 1
  self.causes[#self.causes + 1] = { message = err.message, code = err.code, task = task,
    attempt = attempt, rank = RANKS[err.code] or 1, detail = err }
  task.failures = task.failures + 1
  if next(task.running) == nil then
    make_pending(self, task)
  end
  if task.failures >= self.options.attempts or err.fatal then
    fail(self, actions)
  end
end

--- A committed map task whose spill turned out damaged runs again.
local function redo_map(self, number, err, actions)
  local task = self.tasks[number]
  if task.state ~= "done" then
    return
  end
  make_pending(self, task)
  task.result = nil
  task.failures = task.failures + 1
  self.maps_left, self.left = self.maps_left + 1, self.left + 1
  self.stats.redone = self.stats.redone + 1
  self.causes[#self.causes + 1] = { message = err.message, code = err.code, task = task,
    attempt = task.attempts, rank = 1, detail = err }
  if task.failures >= self.options.attempts then
    fail(self, actions)
  end
end

local function commit(self, worker, task, attempt, result, now, actions)
  task.running[attempt] = nil
  if task.state == "done" then
    actions[#actions + 1] = { action = "discard", task = task, attempt = attempt }
    return
  end
  task.state, task.result = "done", result
  task.committed = attempt
  self.left = self.left - 1
  self.maps_left = self.maps_left - (task.kind == "map" and 1 or 0)
  self.skipped = self.skipped + (result.skipped or 0)
  local durations = self.durations[task.kind]
  durations[#durations + 1] = now - worker.started
  if next(task.running) ~= nil and attempt > 1 then
    self.stats.backups_won = self.stats.backups_won + 1
  end
  for _, other in ipairs(keys.sorted(task.running)) do
    actions[#actions + 1] = { action = "kill", worker = task.running[other], reason = "superseded" }
  end
  actions[#actions + 1] = { action = "commit", task = task, attempt = attempt, result = result }
  if self.skipped > self.options.skip_records then
    self.causes[#self.causes + 1] = { rank = -1, code = "ELUA", task = task, attempt = attempt,
      message = ("%d bad records, more than the %d that may be skipped"):format(self.skipped,
        self.options.skip_records) }
    fail(self, actions)
  elseif self.left == 0 then
    self.finished = true
    actions[#actions + 1] = { action = "done" }
  end
end

local handlers = {}

--- { type = "worker_ready", worker }
function handlers.worker_ready(self, event)
  self.workers[event.worker] = { heard = event.now }
end

--- { type = "worker_lost", worker, error = { message, code } }: its attempt is over.
function handlers.worker_lost(self, event, actions)
  local worker = self.workers[event.worker]
  self.workers[event.worker] = nil
  if worker and not (worker.task and worker.task.state == "done") then
    self.stats.lost_workers = self.stats.lost_workers + 1
  end
  if worker and worker.task then
    attempt_failed(self, worker.task, worker.attempt, worker.stopped or event.error, actions)
  end
end

--- { type = "progress", worker, done }: done is the share of the task, 0..1.
function handlers.progress(self, event)
  local worker = self.workers[event.worker]
  if worker and worker.task then
    worker.heard, worker.done = event.now, event.done or worker.done
  end
end

--- { type = "task_done", worker, result }
function handlers.task_done(self, event, actions)
  local worker = self.workers[event.worker]
  if worker and worker.task then
    self.workers[event.worker] = { heard = event.now }
    commit(self, worker, worker.task, worker.attempt, event.result, event.now, actions)
  end
end

--- { type = "task_failed", worker, error = { message, code, damaged_map, fatal } }
function handlers.task_failed(self, event, actions)
  local worker = self.workers[event.worker]
  if not (worker and worker.task) then
    return
  end
  self.workers[event.worker] = { heard = event.now }
  if event.error.damaged_map then
    local task = worker.task
    task.running[worker.attempt] = nil
    actions[#actions + 1] = { action = "discard", task = task, attempt = worker.attempt }
    if task.state == "running" and next(task.running) == nil then
      make_pending(self, task)
    end
    redo_map(self, event.error.damaged_map, event.error, actions)
  else
    attempt_failed(self, worker.task, worker.attempt, event.error, actions)
  end
end

--- { type = "tick" }: ends workers that have been silent for too long.
function handlers.tick(self, event, actions)
  local limit = self.options.timeout_s + SILENCE_GRACE_S
  for _, id in ipairs(keys.sorted(self.workers)) do
    local worker = self.workers[id]
    if worker.task and not worker.stopped and event.now - worker.heard > limit then
      worker.stopped = { code = "EDEADLINE", message =
        ("no progress for %g s, and the worker did not stop by itself"):format(self.options.timeout_s) }
      actions[#actions + 1] = { action = "kill", worker = id, reason = "silent" }
    end
  end
end

--- Takes one event and says what to do.
---@param self perilune.mapreduce.Coordinator
---@param event table    { type, now, ... }, see the handlers above
---@return table[] actions  assign, commit, discard, kill, done or fail, to be done in this order
function M.step(self, event)
  local actions = {}
  if self.finished then
    return actions
  end
  handlers[event.type](self, event, actions)
  if not self.finished then
    assign(self, event.now, actions)
  end
  return actions
end

--- How far the stage is.
---@param self perilune.mapreduce.Coordinator
---@return table { maps_done, maps, reduces_done, reduces, running, share }
function M.progress(self)
  local counts = { map = 0, reduce = 0 }
  local partial = 0
  for _, task in ipairs(self.tasks) do
    if task.state == "done" then
      counts[task.kind] = counts[task.kind] + 1
    end
  end
  local running = 0
  for _, id in ipairs(keys.sorted(self.workers)) do
    local worker = self.workers[id]
    if worker.task then
      running = running + 1
      partial = partial + worker.done
    end
  end
  local total = #self.tasks
  return { maps_done = counts.map, maps = self.options.maps, reduces_done = counts.reduce,
    reduces = self.options.reduces, running = running,
    share = total == 0 and 1 or math.min(1, (counts.map + counts.reduce + partial) / total) }
end

return M
