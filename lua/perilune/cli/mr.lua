--- perilune mr: a MapReduce job on this machine's cores.
local job_options = require "perilune.cli.job_options"
local keys = require "perilune.keys"
local output = require "perilune.cli.output"
local units = require "perilune.units"

local M = {
  summary = "run a MapReduce job on this machine's cores",
  usage = "perilune mr JOB.lua INPUT... -o OUT",
}

local FORMATS = { "lines", "files", "tsv", "csv", "jsonl", "chunk" }

local function read_size(text)
  return units.parse_size(text, true)
end

local function read_memory(text)
  local size, err = read_size(text)
  if not size then
    return nil, err
  end
  local shares, why = require("perilune.mapreduce.plan").memory(size)
  return shares and size, why
end

local function read_out(text)
  return text ~= "" and text or nil, "the name of the folder is empty"
end

local WORKERS_MAX = 1024
local REDUCES_MAX = 65535

local function count_from(least, most)
  return function(text)
    local count = math.tointeger(tonumber(text))
    if not count or count < least then
      return nil, ("'%s' is not a whole number of at least %d"):format(text, least)
    elseif most and count > most then
      return nil, ("'%s' is too much, the most is %d"):format(text, most)
    end
    return count
  end
end

local function read_split(text)
  local size, err = read_size(text)
  if size == 0 then
    return nil, "a split has at least 1 byte"
  end
  return size, err
end

local function read_format(text)
  for _, format in ipairs(FORMATS) do
    if text == format then
      return text
    end
  end
  return text:match("^fixed:[1-9]%d*$") and text
    or nil, ("'%s' is none of %s, fixed:N"):format(text, table.concat(FORMATS, ", "))
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune mr", "Runs the map and reduce functions of a job file over files, on "
    .. "all cores. OUT appears when everything is done, or not at all.")
  parser:argument("job", "The job file."):argname "JOB.lua"
  parser:argument("inputs", "Files, directories, quoted globs, or - for standard input."):argname "INPUT"
    :args "+"
  parser:option("-o --out", "The directory to make."):argname "OUT":count(1):convert(read_out)
  parser:option("-w --workers", "Worker processes (default: one for each core)."):argname "N"
    :convert(count_from(1, WORKERS_MAX))
  parser:option("-r --reduces", "Reduce tasks, and so output files."):argname "R"
    :convert(count_from(1, REDUCES_MAX))
  parser:option("-m --memory", "Memory of a worker (default 512M)."):argname "SIZE":convert(read_memory)
  parser:option("--split", "Bytes of input in a split (default: by size)."):argname "SIZE"
    :convert(read_split)
  parser:option("--format", "Format of the input, instead of the job's."):argname "FORMAT"
    :convert(read_format).completes = FORMATS
  parser:option("--arg", "A value for the job: args.NAME in the file."):argname "NAME=VALUE":count "*"
    :convert(job_options.read_argument)
  parser:option("--skip-records", "Bad records to skip at most; they land in OUT/quarantine-*.")
    :argname "N":convert(count_from(0))
  parser:option("--top", "Show the N pairs with the greatest values."):argname "N":convert(count_from(1))
  parser:flag("-f --force", "Replace OUT, when a job has written it.")
  parser:flag("-n --dry-run", "Print the plan and stop.")
  parser:flag("--trusted", "Let the job use os and io (its standard output is not its own).")
  parser:flag("-q --quiet", "Print errors only.")
  parser:flag("--json", "Print the result as one JSON object.")
  parser:epilog [[
Examples:
  perilune mr wordcount.lua books -o counts --top 10
  perilune mr grep.lua 'logs/*.gz' -o hits --arg pattern=error
  zcat big.gz | perilune mr sort.lua - -o sorted --format fixed:100 --memory 256M]]
  return parser
end

local function note(args, text)
  if not args.quiet and not args.json then
    output.note(text)
  end
end

local function plural(count, word)
  return ("%s %s%s"):format(units.format_count(count), word, count == 1 and "" or "s")
end

local function show_plan(args, plan)
  note(args, ("%s: %s in %s, %s; %s%s, %s, %s with %s each"):format(plan.job,
    units.format_size(plan.bytes), plural(plan.files, "file"), plan.format, plural(plan.maps, "map task"),
    plan.splits > plan.maps and (" (%s splits)"):format(units.format_count(plan.splits)) or "",
    plan.reduces > 0 and plural(plan.reduces, "reduce task") or "no reduce: what map emits is the output",
    plural(plan.workers, "worker"), units.format_size(plan.memory_bytes)))
end

local function sorted_pairs(list)
  local names, at = keys.sorted(list), 0
  return function()
    at = at + 1
    return names[at], list[names[at]]
  end
end

local INCIDENTS = { -- field of the result, what is counted, what happened to it
  { "failed_attempts", "attempt", "failed" }, { "lost_workers", "worker", "lost" },
  { "backup_attempts", "backup attempt", "started" }, { "maps_redone", "map task", "run again" },
  { "restarts", "restart", "after damage" }, { "skipped_records", "bad record", "skipped" },
}

--- What went differently than planned, for the summary.
local function incidents(result)
  local told = {}
  for _, item in ipairs(INCIDENTS) do
    local count = result[item[1]]
    if count > 0 then
      told[#told + 1] = plural(count, item[2]) .. " " .. item[3]
    end
  end
  return told
end

local SKEW_SHOWN = 1.5

local function show_summary(args, result)
  local rate = result.seconds > 0 and result.bytes_in / result.seconds or 0
  note(args, ("%s and %s in, %s and %s out, in %s (%s/s)"):format(
    plural(result.records_in, "record"), units.format_size(result.bytes_in),
    plural(result.records_out, "record"), units.format_size(result.bytes_out),
    units.format_duration(result.seconds), units.format_size(rate)))
  note(args, ("  %d worker%s, at most %s of memory in each"):format(result.workers,
    result.workers == 1 and "" or "s", units.format_size(result.worker_rss_bytes)))
  for name, count in sorted_pairs(result.counters) do
    note(args, ("  %s: %s"):format(name, units.format_count(count)))
  end
  for name, totals in sorted_pairs(result.outputs) do
    note(args, ("  output %s: %s"):format(name, plural(totals.records, "record")))
  end
  if result.rounds then
    note(args, "  rounds of the loop: " .. result.rounds)
  end
  local told = incidents(result)
  if #told > 0 then
    note(args, "  " .. table.concat(told, ", "))
  end
  note(args, ("the output lies in %s (%s%s)"):format(result.out, plural(result.parts, "part"),
    result.skew >= SKEW_SHOWN and ("; the largest is %.1f times the mean"):format(result.skew) or ""))
  if result.records_in > 0 and result.records_out == 0 and not next(result.outputs)
    and not next(result.counters) then
    note(args, "hint: nothing was put out; map and reduce do that by out(key, value), not by return")
  end
end

-- The larger value first; equal ones in the order of their keys.
local function is_before(a, b)
  if a[2] ~= b[2] then
    return a[2] > b[2]
  end
  return a[1] < b[1]
end

--- The pairs with the greatest numeric values in the output.
local function top_pairs(out, most)
  local fs = require "perilune.fs"
  local top = {}
  for _, name in ipairs(assert(fs.list(out))) do
    if name:match("^part%-") then
      for line in assert(fs.read(out .. "/" .. name)):gmatch("[^\n]+") do
        local key, value = line:match("^(.*)[ \t]([^ \t]+)$")
        value = tonumber(value)
        if value then
          top[#top + 1] = { key, value }
        end
      end
      table.sort(top, is_before)
      table.move(top, #top + 1, #top + math.max(0, #top - most), most + 1)
    end
  end
  return top
end

local function show_top(args, result)
  local top = top_pairs(result.out, args.top)
  if args.json then
    result.top = top
    return
  end
  if #top > 0 then
    io.stdout:write(output.table(top), "\n")
  end
end

local function progress_of(args)
  local bar = not args.quiet and output.progress "map"
  return bar, bar and function(stage, progress)
    local is_map = progress.maps_done < progress.maps
    local text = is_map and ("%d of %d maps"):format(progress.maps_done, progress.maps)
      or ("%d of %d reduces"):format(progress.reduces_done, progress.reduces)
    local label = stage.step_count == 1 and (is_map and "map" or "reduce") or "step " .. stage.number
    bar:update(progress.share, text, label)
  end or nil
end

-- A job that is interrupted says what has become of its output, below what it has shown.
local function told_at_the_end(args)
  return setmetatable({ is_over = false, is_published = false }, { __close = function(self, err)
    if not self.is_over and not err and not args.json then
      output.note(output.paint("stderr", "red", "perilune:") .. (" mr %s: interrupted; %s"):format(args.job,
        self.is_published and "look whether " .. args.out .. " is there" or "nothing was written"))
    end
  end })
end

-- The job file where the input should be, and the other way round.
local function swapped_hint(args)
  for _, input in ipairs(args.inputs) do
    if input:match "%.lua$" and not args.job:match "%.lua$" then
      return ("the job comes first: perilune mr %s %s -o %s"):format(input, args.job, args.out)
    end
  end
end

---@param args table
---@return integer exit_code
function M.run(args)
  local ending <close> = told_at_the_end(args)
  local bar <close>, on_progress = progress_of(args)
  local result, message, code, failure = require("perilune.mapreduce").run {
    job = args.job, inputs = args.inputs, out = args.out, workers = args.workers, reduces = args.reduces,
    memory_bytes = args.memory, split_bytes = args.split, format = args.format,
    args = job_options.collect(args.arg), force = args.force, dry_run = args.dry_run,
    skip_records = args.skip_records, trusted = args.trusted,
    on_note = function(text)
      note(args, text)
    end,
    on_plan = function(plan)
      show_plan(args, plan)
    end,
    on_progress = on_progress,
    on_publish = function()
      ending.is_published = true
    end,
  }
  ending.is_over = true
  if bar then
    bar:finish()
  end
  if not result then
    failure.hint = failure.hint or swapped_hint(args)
    return job_options.report("mr", args.job, message, code, failure)
  end
  if not args.dry_run and args.top then
    show_top(args, result)
  end
  if args.json then
    output.json(result)
  elseif not args.dry_run then
    show_summary(args, result)
  end
  return output.EXIT_OK
end

return M
