-- The steps of a job, one stage after another: what each one reads, makes and hands on.
local failure = require "perilune.mapreduce.failure"
local plan = require "perilune.mapreduce.plan"
local workspace = require "perilune.mr_workspace"

local M = {}

local function read_output(results)
  local maps = {}
  for number, result in ipairs(results) do
    maps[number] = { source = result.pairs, records = result.records }
  end
  return maps
end

local function outputs_of(stage)
  return stage.results[stage.reduces > 0 and "reduce" or "map"]
end

local function sum_counters(run, results, into)
  for _, result in ipairs(results) do
    for name, count in pairs(result.counters or {}) do
      run.counters[name] = (run.counters[name] or 0) + count
      into[name] = (into[name] or 0) + count
    end
  end
end

--- Reads some of the input to find the keys that cut it into equal parts.
local function sample_bounds(run, stage)
  local windows, keys = plan.sample_of(stage.maps)
  local sample = { step = stage.step, number = stage.number, maps = windows, reduces = 0, sample = keys }
  local results, cause = run.stages:run(sample)
  if not results then
    failure.raise(failure.of_attempt(cause, stage))
  end
  local all = {}
  for _, result in ipairs(results.map) do
    plan.unpack_keys(result.keys, all)
  end
  stage.bounds = plan.bounds(all, stage.reduces)
end

local function remove_files(results, field)
  for _, result in ipairs(results) do
    if result[field] then
      workspace.remove(result[field])
    end
  end
end

--- Runs one step and takes over what it has made.
local function run_step(run, step, is_last, counters)
  run.stage_count = run.stage_count + 1
  local maps = step.reads_input and run.input or read_output(run.previous or {})
  local stage = { step = step, number = run.stage_count, step_count = run.plan.steps,
    maps = maps, is_last = is_last,
    reduces = step.reduce and run.partitions or 0,
    joined = step.join and run.caches[step.join] or nil,
    partitions = run.partitions }
  if step.partition == "range" and stage.reduces > 1 then
    sample_bounds(run, stage)
  end
  local results, cause = run.stages:run(stage)
  if not results then
    failure.raise(failure.of_attempt(cause, stage))
  end
  for _, kind in ipairs { "map", "reduce" } do
    sum_counters(run, results[kind], counters)
    for _, result in ipairs(results[kind]) do
      run.committed[#run.committed + 1] = result
      run.rss_bytes = math.max(run.rss_bytes, result.rss_bytes or 0)
    end
  end
  if step.reads_input then
    for _, result in ipairs(results.map) do
      run.records_in = run.records_in + result.records_in
    end
  end
  if step.cache then
    run.caches[step.cache] = results.map
  elseif stage.reduces > 0 then
    remove_files(results.map, "spill")
  end
  if not step.cache or step.reduce then
    remove_files(run.previous or {}, "pairs")
    run.previous = outputs_of(stage)
  end
end

--- Has the loop's until_ function look at the counters of its last round.
local function is_finished(run, loop, counters, round)
  if not loop.has_until then
    return false
  end
  local spec = { kind = "until", path = loop.path, counters = counters, round = round }
  for key, value in pairs(run.common.spec) do
    spec[key] = value
  end
  local answer, err = run.stages:ask(spec)
  if err then
    failure.raise(failure.of_attempt(err))
  end
  return answer
end

local function run_loop(run, loop, is_last)
  for round = 1, loop.max do
    local counters = {}
    for number, step in ipairs(loop.steps) do
      run_step(run, step, is_last and round == loop.max and number == #loop.steps, counters)
    end
    run.rounds = round
    if is_finished(run, loop, counters, round) then
      return
    end
  end
end

-- A loop may end in any round, so its last output cannot be written as the job's: pass it on.
local COPY_STEP = { path = {}, has_map = false, partition = "hash", compare = "ascending" }

local function run_elements(run, elements)
  for i, element in ipairs(elements) do
    local is_last = i == #elements
    if element.loop then
      run_loop(run, element.loop, false)
      if is_last then
        run_step(run, COPY_STEP, true, {})
      end
    else
      run_step(run, element, is_last, {})
    end
  end
end

-- What a first try has made and a second one makes again. Stages keep counting: their numbers name files.
local function forget(run)
  run.previous, run.caches, run.counters, run.committed = nil, {}, {}, {}
  run.records_in, run.rounds = 0, nil
end

--- Whether a step met damage in what an earlier one has handed on. An input that shrinks is none of
--- ours; of what such a step joins, the damage is fatal to the stage (stages.lua).
local function is_damaged_handover(err)
  local stage = type(err) == "table" and err.code == "ECORRUPT" and err.step
  return stage and (not stage.step.reads_input or err.attempt_error.fatal == true)
end

--- Runs all steps. A damaged spill is made again by its map task; what an earlier step has handed on
--- cannot be, its own input is gone by then: so the steps start over. Once: a disk that does it again
--- is beyond help.
---@param run table       see run.lua
---@param elements table  of the job: steps and loops
---@param note fun(text: string)
function M.run(run, elements, note)
  local ok, err = pcall(run_elements, run, elements)
  if not ok and is_damaged_handover(err) then
    note(("starting over: %s"):format(err.message))
    forget(run)
    run.restarts = 1
    ok, err = pcall(run_elements, run, elements)
    if not ok and is_damaged_handover(err) then
      failure.raise { code = err.code, attempt_error = err.attempt_error, step = err.step,
        message = "what one step hands to the next was damaged, and again after starting over: "
          .. err.message,
        hint = "the disk or the memory of this machine may be failing" }
    end
  end
  if not ok then
    error(err, 0)
  end
end

return M
