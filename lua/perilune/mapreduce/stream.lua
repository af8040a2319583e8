-- A job under another engine: Hadoop Streaming and Spark's pipe() start one process for each task and
-- speak lines on standard input and output (mapreduce.md 8.1-8.3).
--
--   map      records in; typed lines out (runtime/mapreduce/typed.h), or the output of a map-only job
--   combine  typed lines in, sorted or not; typed lines out
--   reduce   typed lines in, sorted or not; the job's output out
--
-- combine and reduce take their input in as a map task takes its emissions: combined, sorted and spilled
-- within the memory limit. So they need no order of the other engine's, and its order does no harm.
local failure = require "perilune.mapreduce.failure"
local fs = require "perilune.fs"
local job_file = require "perilune.mapreduce.job"
local keys = require "perilune.keys"
local plan = require "perilune.mapreduce.plan"
local process = require "perilune.process"
local task = require "perilune.mr_task"
local workspace = require "perilune.mr_workspace"

local M = {}

-- Named reducers whose results may be reduced again: what combine may run on its own.
local REPEATABLE = { all = true, any = true, max = true, min = true, sum = true }

-- Formats whose records are lines, which is what the other engine hands over.
local LINE_FORMATS = { lines = true, tsv = true, csv = true, jsonl = true }

local check = failure.check

--- What a task is told by its environment: Hadoop sets the job's configuration, with _ for a dot.
local function from_environment()
  return {
    partition = math.tointeger(tonumber(os.getenv "mapreduce_task_partition" or 0)) or 0,
    out_dir = os.getenv "mapreduce_task_output_dir" or ".",
  }
end

local function load_step(options)
  local name = (options.job:match("([^/]+)$") or options.job):gsub("%.lua$", "")
  local description = check(task.describe { job = options.job, args = options.args,
    lua_bytes = 64 << 20, timeout_ms = 5000 })
  local job = check(job_file.check(description, name))
  if #job.elements > 1 or job.elements[1].loop then
    failure.raise { code = "EINVAL",
      message = "a pipeline has no form under another engine; split it into jobs" }
  end
  return job, job.elements[1]
end

local function common_spec(options, job)
  local memory = check(plan.memory(options.memory_bytes or job.memory_bytes))
  local around = from_environment()
  return {
    job = options.job, name = job.name, args = options.args, path = {},
    side = check(job_file.side_paths(job, options.job)), format = job.output,
    lua_bytes = memory.lua_bytes, emit_bytes = memory.emit_bytes, memory_bytes = memory.total,
    timeout_ms = math.floor(job.timeout_s * 1000), partitions = 1, attempt = 1,
    task = around.partition + 1, out_dir = around.out_dir,
  }, around
end

local function extend(spec, fields)
  local longer = {}
  for _, list in ipairs { spec, fields } do
    for name, value in pairs(list) do
      longer[name] = value
    end
  end
  return longer
end

--- Reports counters as Hadoop Streaming reads them from standard error.
local function report_counters(result)
  for _, name in ipairs(keys.sorted(result.counters)) do
    io.stderr:write(("reporter:counter:perilune,%s,%d\n"):format(name:gsub("[,\n]", " "),
      result.counters[name]))
  end
end

local phases = {}

--- Runs map over standard input.
function phases.map(job, step, spec, around)
  if not LINE_FORMATS[job.input.format] then
    failure.raise { code = "EINVAL", message = ("input %q has no lines, which is all that another engine "
      .. "hands over"):format(job.input.format) }
  end
  return task.run(extend(spec, {
    kind = "map", input = "-", input_format = job.input.format, header = job.input.header,
    separator = job.input.separator, record_max_bytes = job.input.record_max_bytes,
    part = "-", format = step.reduce and "typed" or job.output, named_format = job.output,
    out_suffix = ("-m%05d"):format(around.partition), skip_max = job.skip_records,
  }))
end

-- Waits until its standard input ends, which is when this process has, and removes a directory.
local CLEANER = [[trap "" INT TERM HUP; read -r _; rm -rf -- "$1"]]

--- A directory for spill files that goes when this process does, however it ends: the other engine
--- may stop a task by a signal at any moment, also one that cannot be caught.
---@return table directory  { path }, to be closed
local function new_directory()
  local path = check(fs.tempdir())
  local cleaner = process.spawn { "sh", "-c", CLEANER, "sh", path, stdin = "pipe", stdout = "null",
    stderr = "null" }
  return setmetatable({ path = path }, { __close = function()
    workspace.remove(path)
    if cleaner then
      cleaner.stdin:close()
    end
  end })
end

--- Takes in standard input and runs the reducer over it.
local function reduce_lines(step, spec, fields)
  local directory <close> = new_directory()
  local reducer = fields.reduce
  local spill = directory.path .. "/in"
  local named = reducer.name and reducer.name ~= "identity" and reducer or nil
  local gathered = check(task.run(extend(spec, {
    kind = "map", typed = true, input = "-", spill = spill, combine = named,
  })))
  return task.run(extend(spec, extend({
    kind = "reduce", inputs = { spill }, sums = gathered.sums, partition = 0, combine = named,
    temp = directory.path .. "/temp", part = "-",
    ranked = step.compare ~= "ascending" and directory.path .. "/ranked" or nil,
  }, fields)))
end

--- Combines the values of each key.
function phases.combine(job, step, spec, around)
  local reducer = step.combine
  if not reducer then
    reducer = step.reduce and REPEATABLE[step.reduce.name] and step.reduce or { name = "identity" }
  end
  return reduce_lines(step, spec, { reduce = reducer, ["function"] = "combine",
    format = "typed", named_format = job.output, out_suffix = ("-c%05d"):format(around.partition) })
end

--- Reduces the values of each key.
function phases.reduce(_, step, spec, around)
  if not step.reduce then
    failure.raise { code = "EINVAL",
      message = "the job has no reduce: run it with no reducers (-reducer NONE)" }
  end
  return reduce_lines(step, spec, { reduce = step.reduce,
    out_suffix = ("-%05d"):format(around.partition) })
end

local function run(phase, options)
  local job, step = load_step(options)
  local spec, around = common_spec(options, job)
  local result = check(phases[phase](job, step, spec, around))
  report_counters(result)
  return result
end

--- Runs one task of a job from standard input to standard output.
---@param phase "map"|"combine"|"reduce"
---@param options table  { job = path, args = table, memory_bytes = integer|nil }
---@return table|nil result
---@return string|nil err
---@return string|nil code
---@return table|nil failure  { message, code, attempt_error }
function M.run(phase, options)
  return failure.catch(run, phase, options)
end

return M
