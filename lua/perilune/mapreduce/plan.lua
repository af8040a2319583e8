-- What a run will do, decided before it starts: memory, partitions, the stages' tasks. Pure.
local units = require "perilune.units"

local M = {}

local MEMORY_DEFAULT = 512 << 20
local MEMORY_MIN = 8 << 20
local REDUCE_BYTES = 32 << 20 -- of input for each reduce task, so that small jobs get few parts
local TASK_BYTES = 64 << 10    -- of input for each map task, however small its splits are
local TASKS_MAX = 10000
local CACHED_SPLIT_BYTES = 20 << 20 -- measured: 1 GB sorts 1.25 times as fast as in splits of 50 MB
local MERGED_AT_ONCE = 60           -- map tasks; below MR_MERGE_FAN_IN of mapreduce/merge.h
local SUM_BYTES = 24          -- of one partition's count and 128-bit sum, as the tasks write them

--- Divides a worker's memory: Lua's heap, the emit table or merge, and the rest for windows and
--- buffers.
---@param memory_bytes integer|nil
---@return table|nil shares  { total, lua_bytes, emit_bytes }
---@return string|nil err
---@return string|nil code
function M.memory(memory_bytes)
  local total = memory_bytes or MEMORY_DEFAULT
  if total < MEMORY_MIN then
    return nil, ("memory %s is too little for a worker, the least is %s"):format(
      units.format_size(total), units.format_size(MEMORY_MIN)), "EINVAL"
  end
  return { total = total, lua_bytes = total * 3 // 8, emit_bytes = total // 2 }
end

--- The most that a map task should read when every value is kept: what it emits, with room for keys
--- and sizes, then fits into memory and goes to disk once, already sorted. No more than what sorts
--- well in the processor's caches, unless the reduce tasks would then have to merge in passes.
---@param emit_bytes integer
---@param total_bytes integer
---@return integer
function M.kept_split_max(emit_bytes, total_bytes)
  return math.min(emit_bytes * 2 // 5, math.max(CACHED_SPLIT_BYTES, total_bytes // MERGED_AT_ONCE + 1))
end

--- How many reduce tasks a job has: what was asked for, else at most two for each worker, and no
--- more than the input is worth.
---@param asked integer|nil
---@param workers integer
---@param total_bytes integer
---@return integer
function M.reduces(asked, workers, total_bytes)
  return asked or math.max(1, math.min(2 * workers, -(-total_bytes // REDUCE_BYTES)))
end

--- How many map tasks there may be: splits smaller than a task is worth share one.
---@param workers integer
---@param total_bytes integer
---@return integer
function M.tasks_max(workers, total_bytes)
  return math.max(4 * workers, math.min(TASKS_MAX, -(-total_bytes // TASK_BYTES)))
end

--- The summary of one partition in a map task's result.
---@param result table   of a map attempt; sums holds those of all partitions
---@param partition integer  from 1
---@return string
function M.sum_of(result, partition)
  return result.sums:sub((partition - 1) * SUM_BYTES + 1, partition * SUM_BYTES)
end

--- The number of records that a summary counts.
---@param sum string
---@return integer
function M.records_of(sum)
  return (("<i8"):unpack(sum))
end

--- Picks the keys that cut the sampled keys into equal parts.
---@param keys string[]    encoded
---@param partitions integer
---@return string[] bounds ascending, at most partitions - 1, none twice
function M.bounds(keys, partitions)
  local sorted = table.move(keys, 1, #keys, 1, {})
  table.sort(sorted)
  local bounds = {}
  for i = 1, partitions - 1 do
    local bound = sorted[i * #sorted // partitions + 1]
    if bound and bound ~= bounds[#bounds] and bound ~= sorted[1] then
      bounds[#bounds + 1] = bound
    end
  end
  return bounds
end

--- The keys in a sampling attempt's result: each stands behind its u32 size.
---@param packed string
---@param into string[]
function M.unpack_keys(packed, into)
  local at = 1
  while at <= #packed do
    into[#into + 1], at = ("<s4"):unpack(packed, at)
  end
end

local SAMPLE_WINDOWS = 16
local SAMPLE_BYTES = 32 << 10
local SAMPLE_KEYS = 2000 -- of each window

--- What a sample of the keys reads: windows spread evenly over the map tasks' ranges.
---@param tasks table[]
---@return table[] windows
---@return integer keys  at most, of each window
function M.sample_of(tasks)
  local windows = {}
  local count = math.min(SAMPLE_WINDOWS, #tasks)
  local cuts = count == 0 and 0 or SAMPLE_WINDOWS // count
  for i = 0, count - 1 do
    local task = tasks[i * #tasks // count + 1]
    local each = task.length and math.max(1, math.min(cuts, task.length // SAMPLE_BYTES)) or 1
    for cut = 0, each - 1 do
      local window = {}
      for key, value in pairs(task) do
        window[key] = value
      end
      if task.length then
        window.offset = task.offset + cut * (task.length // each)
        window.length = math.min(task.length, SAMPLE_BYTES)
      end
      windows[#windows + 1] = window
    end
  end
  return windows, SAMPLE_KEYS
end

local function copy_into(to, from)
  for key, value in pairs(from) do
    to[key] = value
  end
  return to
end

---@class perilune.mapreduce.Stage
---@field step perilune.mapreduce.Step
---@field number integer       1, 2, ... as stages are run; in every file name
---@field is_last boolean      its output is the job's
---@field maps table[]         what each map task reads
---@field reduces integer      0: map-only
---@field partitions integer   of the job: of every spill
---@field bounds string[]|nil  boundary keys of partition = "range"
---@field sample integer|nil   only look for so many keys
---@field joined table[]|nil   kept map results whose spills come first in every reduce

--- Where the files of a stage stand in the job's directory.
---@param directory string
---@param stage perilune.mapreduce.Stage
---@param kind "map"|"reduce"
---@param number integer
---@param attempt integer
---@return table paths  { spill, pairs, out, temp, ranked }: full paths
function M.paths(directory, stage, kind, number, attempt)
  local name = ("%d-%s-%d-%d"):format(stage.number, kind, number, attempt)
  local suffix = (kind == "map" and stage.reduces > 0 and "-m%05d.%d" or "-%05d.%d"):format(
    number - 1, attempt)
  return {
    spill = directory .. "/spill/" .. name, pairs = directory .. "/spill/" .. name .. ".pairs",
    temp = directory .. "/spill/" .. name .. ".temp",
    ranked = directory .. "/spill/" .. name .. ".ranked",
    part = directory .. "/out/part" .. suffix, suffix = suffix,
  }
end

--- The description of one attempt, as modules/mr_task.c reads it.
---@param common table    what all tasks of the job share
---@param stage perilune.mapreduce.Stage
---@param task perilune.mapreduce.Task
---@param attempt integer
---@param map_results table[]  of the committed map tasks; for reduce tasks
---@return table spec
function M.spec(common, stage, task, attempt, map_results)
  local step = stage.step
  local paths = M.paths(common.directory, stage, task.kind, task.number, attempt)
  local spec = copy_into({}, common.spec)
  spec.kind, spec.task, spec.attempt, spec.path = task.kind, task.number, attempt, step.path
  spec.out_dir = common.directory .. "/out"
  spec.out_suffix = (stage.is_last and "" or ("-s%d"):format(stage.number)) .. paths.suffix
  spec.has_combine = step.combine ~= nil
  local named = step.reduce and step.reduce.name and step.reduce or step.combine
  spec.combine = named and named.name and named.name ~= "identity" and named or nil
  if task.kind == "map" then
    copy_into(spec, stage.maps[task.number])
    spec.partitions = (stage.reduces > 0 or step.cache) and stage.partitions or 1
    spec.partition, spec.bounds = step.partition, stage.bounds
    if stage.sample then
      spec.sample, spec.out_dir = stage.sample, nil
    elseif stage.reduces > 0 or step.cache then
      spec.spill = paths.spill
    elseif stage.is_last then
      spec.part = paths.part
    else
      spec.pairs = paths.pairs
    end
    return spec
  end
  spec.reduce, spec.partitions = step.reduce, stage.reduces
  spec.partition = task.number - 1
  spec.temp = paths.temp
  spec.ranked = step.compare ~= "ascending" and paths.ranked or nil
  spec[stage.is_last and "part" or "pairs"] = stage.is_last and paths.part or paths.pairs
  -- What cannot be made again here is named by 0: the kept output of an earlier stage.
  local inputs, sums, origins = {}, {}, {}
  for _, results in ipairs { stage.joined or {}, map_results } do
    for number, result in ipairs(results) do
      local sum = M.sum_of(result, task.number)
      if M.records_of(sum) > 0 then
        inputs[#inputs + 1], sums[#sums + 1] = result.spill, sum
        origins[#origins + 1] = results == map_results and number or 0
      end
    end
  end
  spec.inputs, spec.sums, spec.origins = inputs, table.concat(sums), origins
  return spec
end

return M
