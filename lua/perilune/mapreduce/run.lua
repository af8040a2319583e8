-- One run of a job, from the arguments to the finished directory: all of it or nothing.
local failure = require "perilune.mapreduce.failure"
local fs = require "perilune.fs"
local inputs = require "perilune.mapreduce.inputs"
local job_file = require "perilune.mapreduce.job"
local perilune = require "perilune"
local plan = require "perilune.mapreduce.plan"
local process = require "perilune.process"
local stages = require "perilune.mapreduce.stages"
local steps = require "perilune.mapreduce.steps"
local target = require "perilune.mapreduce.target"
local cutter = require "perilune.mr_plan"
local workspace = require "perilune.mr_workspace"

local M = {}

local TIMEOUT_DESCRIBE_S = 5

---@class perilune.mapreduce.Options
---@field job string                path of the job file
---@field inputs string[]
---@field out string                the directory to make
---@field workers integer|nil       processes; all cores
---@field reduces integer|nil
---@field memory_bytes integer|nil  of one worker
---@field split_bytes integer|nil
---@field format string|nil         of the input, instead of the job's
---@field args table<string, string>|nil
---@field force boolean|nil         replace an existing out
---@field skip_records integer|nil
---@field trusted boolean|nil       the job may use os and io
---@field executor table|nil        instead of worker processes, see stages.lua
---@field dry_run boolean|nil       stop after planning
---@field on_note fun(text: string)|nil      something happened that is worth a line
---@field on_plan fun(plan: table)|nil
---@field on_progress fun(stage: table, progress: table)|nil
---@field on_publish fun()|nil               out is about to appear

local check = failure.check

local function refuse(reason)
  if reason then
    failure.raise(reason)
  end
end

local function base_name(path)
  return path:match("([^/]+)/*$") or path
end

--- Keeps standard input in a file of the job's directory, so that it can be read again.
local function spool_stdin(directory)
  local path = directory .. "/stdin"
  if fs.exists(path) then
    return nil, "- stands for standard input, which can be read once only", "EINVAL"
  end
  local stdin, err, code = process.standard "stdin"
  if not stdin then
    return nil, "standard input: " .. err, code
  end
  local file
  file, err, code = fs.open(path, "w")
  while file do
    local bytes
    bytes, err, code = stdin:read(1 << 16)
    if not bytes then
      break
    end
    local ok
    ok, err, code = file:write(bytes)
    if not ok then
      break
    end
  end
  if file then
    file:close()
  end
  if err then
    return nil, err, code
  end
  return path
end

local function job_name(path)
  return (base_name(path):gsub("%.lua$", ""))
end

--- Loads the job in a worker, checks it and lets the options override it.
local function load_job(run, options)
  local description, err = run.stages:ask { kind = "describe", job = options.job,
    args = options.args or {}, trusted = options.trusted, lua_bytes = 64 << 20,
    timeout_ms = TIMEOUT_DESCRIBE_S * 1000 }
  if err then
    failure.raise(failure.of_attempt(err))
  end
  local job = check(job_file.check(description, job_name(options.job)))
  job.input.format = options.format or job.input.format
  job.skip_records = options.skip_records or job.skip_records
  return job
end

local function side_paths(job, path)
  local side = job_file.side_paths(job, path)
  for _, file in pairs(side) do
    check(fs.stat(file))
  end
  return side
end

local LINE_FORMATS = { lines = true, tsv = true, jsonl = true, csv = true, chunk = true }

--- Cuts the input files into what each map task reads.
local function plan_input(run, job, files, total_bytes, split_bytes)
  local tasks, splits, size = cutter.plan(files, job.input.format, split_bytes, run.workers,
    plan.tasks_max(run.workers, total_bytes))
  for _, map in ipairs(tasks) do
    map.input, map.path = map.path, nil
    map.input_format = job.input.format
    map.header, map.separator = job.input.header, job.input.separator
    map.record_max_bytes = job.input.record_max_bytes
    map.has_lines = LINE_FORMATS[job.input.format] and not files[map.file].is_stream or nil
  end
  return tasks, splits, size
end

-- Does the job's first step carry every value to reduce?
local function keeps_values(element)
  local step = element.loop and element.loop[1] or element
  local reducer = step.combine or step.reduce
  return reducer ~= nil and (reducer.name == nil or reducer.name == "identity")
end

-- Does any step of the job reduce? Otherwise what map emits is the output.
local function has_reduce(elements)
  for _, element in ipairs(elements) do
    for _, step in ipairs(element.loop and element.loop.steps or { element }) do
      if step.reduce then
        return true
      end
    end
  end
  return false
end

local function make_plan(run, job, options)
  local files, directories, code = inputs.expand(options.inputs, job.input.format, function()
    return spool_stdin(run.directory)
  end)
  check(files, directories, code)
  refuse(target.check_apart(options.out, files, directories))
  local total = 0
  for _, file in ipairs(files) do
    total = total + file.size
  end
  local memory = check(plan.memory(options.memory_bytes or job.memory_bytes))
  local asked = options.split_bytes or job.split_bytes
  local maps, splits, split_bytes = plan_input(run, job, files, total, asked)
  local limit = plan.kept_split_max(memory.emit_bytes, total)
  if not asked and split_bytes > limit and keeps_values(job.elements[1]) then
    maps, splits, split_bytes = plan_input(run, job, files, total, limit)
  end
  return {
    job = job.name, workers = run.workers, files = #files, bytes = total, maps = #maps,
    splits = splits, split_bytes = split_bytes, memory_bytes = memory.total,
    reduces = has_reduce(job.elements)
      and plan.reduces(options.reduces or job.reduces, run.workers, total) or 0,
    steps = #job.elements, out = options.out, format = job.input.format, output = job.output,
  }, maps, memory
end

--- Gives the committed files their final names and removes the others.
local function settle_files(run)
  local keep, totals, outputs = {}, { records = 0, bytes = 0, parts = {} }, {}
  local directory = run.directory .. "/out"
  for _, result in ipairs(run.committed) do
    local final = result.suffix:gsub("%.%d+$", "")
    for name, output in pairs(result.outputs or {}) do
      keep[name .. result.suffix] = name .. final
      local sum = outputs[name] or { records = 0, bytes = 0 }
      outputs[name] = { records = sum.records + output.records, bytes = sum.bytes + output.bytes }
    end
    if result.part then
      keep["part" .. result.suffix] = "part" .. final
      totals.records, totals.bytes = totals.records + result.records, totals.bytes + result.bytes
      totals.parts[#totals.parts + 1] = result.records
    end
  end
  for _, name in ipairs(check(fs.list(directory))) do
    local path = directory .. "/" .. name
    if keep[name] then
      check(fs.rename(path, directory .. "/" .. keep[name]))
    else
      workspace.remove(path)
    end
  end
  run.totals, run.outputs = totals, outputs
end

local function skew(parts)
  local most, sum = 0, 0
  for _, records in ipairs(parts) do
    most, sum = math.max(most, records), sum + records
  end
  return sum > 0 and most * #parts / sum or 1
end

local function summary(run)
  local stats = run.stages.stats
  return {
    job = run.plan.job, out = run.plan.out,
    seconds = math.floor((perilune.now() - run.started) * 1e6 + 0.5) / 1e6, -- no digits that mean nothing
    workers = run.workers, maps = run.plan.maps, reduces = run.plan.reduces,
    stages = run.stage_count, rounds = run.rounds, records_in = run.records_in,
    bytes_in = run.plan.bytes, records_out = run.totals.records, bytes_out = run.totals.bytes,
    parts = #run.totals.parts, skew = skew(run.totals.parts), counters = run.counters,
    outputs = run.outputs, skipped_records = run.stages.skipped, attempts = stats.attempts or 0,
    failed_attempts = stats.failures or 0, backup_attempts = stats.backups or 0,
    restarts = run.restarts or 0, lost_workers = stats.lost_workers or 0, maps_redone = stats.redone or 0,
    worker_rss_bytes = run.rss_bytes,
  }
end

local function prepare(run, options)
  local job = load_job(run, options)
  local memory
  run.plan, run.input, memory = make_plan(run, job, options)
  run.partitions = math.max(1, run.plan.reduces)
  run.common.spec = {
    job = options.job, name = job.name, args = options.args or {}, trusted = options.trusted,
    side = side_paths(job, options.job),
    lua_bytes = memory.lua_bytes, emit_bytes = memory.emit_bytes, memory_bytes = memory.total,
    timeout_ms = math.floor(job.timeout_s * 1000), format = job.output,
  }
  local limits = run.stages.limits
  limits.attempts, limits.timeout_s = job.attempts, job.timeout_s
  limits.backup_after_s, limits.skip_records = job.backup_after_s, job.skip_records
  return job
end

local function run_in(run, options)
  local job = prepare(run, options)
  if options.on_plan then
    options.on_plan(run.plan)
  end
  if options.dry_run then
    return run.plan
  end
  steps.run(run, job.elements, options.on_note or function() end)
  settle_files(run)
  refuse(target.publish(run.directory, options.out, options.force, options.on_publish))
  return summary(run)
end

-- Closing blocks as little as possible: it also happens when the fiber is being cancelled.
local function closing(run)
  return setmetatable({}, { __close = function()
    if run.executor then
      run.executor:stop()
    end
    workspace.remove(run.directory)
    run.lock:close()
  end })
end

local function start(options)
  local note = options.on_note or function() end
  local stat, err, code = fs.stat(options.job)
  check(stat, code == "ENOENT" and "no such job file: " .. options.job or err, code)
  target.clear_dead_runs(options.out, note)
  refuse(target.check_alone(options.out))
  refuse(target.check(options.out, options.force))
  local directory, lock, why = target.make_directory(options.out)
  check(directory, lock, why)
  local workers = options.workers or process.processors()
  local run = {
    directory = directory, lock = lock, workers = workers, started = perilune.now(),
    common = { directory = directory }, caches = {}, counters = {}, committed = {}, stage_count = 0,
    records_in = 0, rss_bytes = 0,
  }
  local _ <close> = closing(run)
  run.executor = options.executor or require("perilune.mapreduce.supervisor").start(workers)
  run.stages = stages.new(run.executor, run.common, { timeout_s = TIMEOUT_DESCRIBE_S + 5 },
    options.on_progress)
  return run_in(run, options)
end

--- Runs a job.
---@param options perilune.mapreduce.Options
---@return table|nil result   what was done; the plan for a dry run
---@return string|nil err
---@return string|nil code
---@return table|nil failure  { message, code, hint, attempt_error, step }: what the attempt said
---   of itself: traceback, file, line, offset, record
function M.run(options)
  return failure.catch(start, options)
end

return M
