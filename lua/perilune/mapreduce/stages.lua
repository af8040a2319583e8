-- Runs stages one after another on an executor: carries events to the coordinator, does what it says.
--
-- An executor has assign(worker, spec), kill(worker), next(seconds) -> event and stop(): worker
-- processes (supervisor.lua) or this process (inline.lua).
local coordinator = require "perilune.mapreduce.coordinator"
local perilune = require "perilune"
local plan = require "perilune.mapreduce.plan"
local workspace = require "perilune.mr_workspace"

local Stages = {}
Stages.__index = Stages

local TICK_S = 0.25
local ASK_ATTEMPTS = 4

---@param executor table
---@param common table   { directory, spec }: what all tasks share
---@param limits table   { attempts, timeout_s, backup_after_s, skip_records }
---@param on_progress fun(stage: table, progress: table)|nil
---@return table
function Stages.new(executor, common, limits, on_progress)
  return setmetatable({ executor = executor, common = common, limits = limits, ready = {}, skipped = 0,
    on_progress = on_progress or function() end, stats = {} }, Stages)
end

--- Waits for an event and keeps the list of workers that wait for work.
local function next_event(self, seconds)
  local event = self.executor:next(seconds) or { type = "tick" }
  event.now = perilune.now()
  if event.type == "worker_ready" then
    self.ready[event.worker] = true
  elseif event.type == "worker_lost" then
    self.ready[event.worker] = nil
  end
  return event
end

local function ask_once(self, spec)
  while next(self.ready) == nil do
    local event = next_event(self, TICK_S)
    if event.type == "broken" then
      return nil, event
    end
  end
  local worker = next(self.ready)
  self.executor:assign(worker, spec)
  local deadline = perilune.now() + self.limits.timeout_s
  while true do
    local event = next_event(self, TICK_S)
    if event.worker == worker and event.type == "task_done" then
      return event.result
    elseif event.worker == worker and (event.type == "task_failed" or event.type == "worker_lost") then
      return nil, event.error
    elseif event.type == "broken" then
      return nil, event
    elseif event.now > deadline then
      self.executor:kill(worker)
      self.ready[worker] = nil
      return nil, { code = "EDEADLINE",
        message = ("no answer within %g s"):format(self.limits.timeout_s) }
    end
  end
end

--- Has one worker answer one question outside any stage; another one when it is killed meanwhile.
---@param spec table
---@return table|nil result
---@return table|nil err  { message, code, ... }
function Stages:ask(spec)
  local result, err
  for _ = 1, ASK_ATTEMPTS do
    result, err = ask_once(self, spec)
    if not err or err.code ~= "EWORKER" then
      break
    end
  end
  return result, err
end

--- Removes the files that an attempt may have left; named outputs go when the job is committed.
local function discard(self, stage, task, attempt)
  local paths = plan.paths(self.common.directory, stage, task.kind, task.number, attempt)
  for _, name in ipairs { "spill", "pairs", "part", "ranked" } do
    workspace.remove(paths[name])
  end
end

local do_action = {}

--- Describes the attempt to its worker, and remembers the description.
function do_action.assign(self, stage, action)
  local spec = plan.spec(self.common, stage, action.task, action.attempt, stage.results.map)
  stage.specs_of[action.task] = stage.specs_of[action.task] or {}
  stage.specs_of[action.task][action.attempt] = spec
  spec.skip_max = self.limits.skip_records - self.skipped
  stage.assigned[action.worker] = spec
  self.executor:assign(action.worker, spec)
end

--- Keeps the result, with the names of the files that belong to it.
function do_action.commit(_, stage, action)
  local task, result = action.task, action.result
  local spec = stage.specs_of[task][action.attempt]
  result.attempt, result.suffix = action.attempt, spec.out_suffix
  result.spill, result.pairs, result.part = spec.spill, spec.pairs, spec.part
  stage.results[task.kind][task.number] = result
end

--- Removes the attempt's files.
function do_action.discard(self, stage, action)
  discard(self, stage, action.task, action.attempt)
end

--- Ends the worker; it is of no use until its successor is ready.
function do_action.kill(self, _, action)
  self.ready[action.worker] = nil
  self.executor:kill(action.worker)
end

--- Ends the stage without results.
function do_action.fail(_, stage, action)
  stage.cause = action.cause
end

--- Ends the stage.
function do_action.done(_, stage)
  stage.is_done = true
end

--- A reduce task names the damaged one of its inputs; here it becomes the map task that wrote it.
local function name_damaged_map(stage, event)
  local err = event.error
  local spec = event.type == "task_failed" and stage.assigned[event.worker]
  local origin = spec and err.damaged_input and spec.origins and spec.origins[err.damaged_input]
  if origin == 0 then
    err.fatal = true
  elseif origin then
    err.damaged_map = origin
  end
end

local function perform(self, stage, list)
  for _, action in ipairs(list) do
    do_action[action.action](self, stage, action)
  end
end

local function add_stats(into, from)
  for name, count in pairs(from) do
    into[name] = (into[name] or 0) + count
  end
end

--- Runs a stage to its end. stage.results then has the committed results of map and reduce tasks.
---@param stage perilune.mapreduce.Stage
---@return table|nil results
---@return table|nil cause  the first real cause, see coordinator.lua
function Stages:run(stage)
  stage.results, stage.assigned, stage.specs_of = { map = {}, reduce = {} }, {}, {}
  if #stage.maps + stage.reduces == 0 then
    return stage.results
  end
  local machine = coordinator.new { maps = #stage.maps, reduces = stage.reduces,
    attempts = self.limits.attempts, timeout_s = self.limits.timeout_s,
    backup_after_s = self.limits.backup_after_s,
    skip_records = self.limits.skip_records - self.skipped }
  local workers = {}
  for worker in pairs(self.ready) do
    workers[#workers + 1] = worker
  end
  table.sort(workers)
  for _, worker in ipairs(workers) do
    perform(self, stage,
      coordinator.step(machine, { type = "worker_ready", worker = worker, now = perilune.now() }))
  end
  while not stage.is_done and not stage.cause do
    local event = next_event(self, TICK_S)
    if event.type == "broken" then
      return nil, { message = event.message, code = "EWORKER" }
    end
    name_damaged_map(stage, event)
    perform(self, stage, coordinator.step(machine, event))
    self.on_progress(stage, coordinator.progress(machine))
  end
  if not stage.sample then -- what a sample skips is met again by the map tasks
    self.skipped = self.skipped + machine.skipped
  end
  add_stats(self.stats, machine.stats)
  if stage.cause then
    local in_attempt = stage.cause.detail and stage.cause.detail.skipped or 0
    stage.cause.skip_limit = self.limits.skip_records
    stage.cause.skipped = math.min(self.skipped + in_attempt, self.limits.skip_records)
    return nil, stage.cause
  end
  return stage.results
end

return Stages
