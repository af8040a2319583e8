--- perilune stream: one task of a job under Hadoop Streaming, Spark or a shell pipe.
local job_options = require "perilune.cli.job_options"
local output = require "perilune.cli.output"
local units = require "perilune.units"

local M = {
  summary = "run a job's map, combine or reduce between pipes (Hadoop, Spark)",
  usage = "perilune stream map|combine|reduce JOB.lua",
}

local function read_size(text)
  return units.parse_size(text, true)
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune stream", "Runs one task of a job from standard input to standard "
    .. "output, as Hadoop Streaming and Spark's pipe() want it. Between map and reduce stand lines "
    .. "\"key TAB value\"; reduce takes them in any order.")
  parser:argument("phase", "What to run: map, combine or reduce."):choices { "map", "combine", "reduce" }
  parser:argument("job", "The job file."):argname "JOB.lua"
  parser:option("-m --memory", "Memory of the task (default 512M)."):argname "SIZE":convert(read_size)
  parser:option("--arg", "A value for the job: args.NAME in the file."):argname "NAME=VALUE":count "*"
    :convert(job_options.read_argument)
  parser:epilog [[
Examples:
  cat books/* | perilune stream map wc.lua | sort | perilune stream reduce wc.lua
  hadoop jar hadoop-streaming.jar -files perilune,wc.lua -input books -output counts \
    -mapper "./perilune stream map wc.lua" -combiner "./perilune stream combine wc.lua" \
    -reducer "./perilune stream reduce wc.lua"]]
  return parser
end

---@param args table
---@return integer exit_code
function M.run(args)
  local result, message, code, failure = require("perilune.mapreduce.stream").run(args.phase, {
    job = args.job, memory_bytes = args.memory, args = job_options.collect(args.arg) })
  if not result then
    return job_options.report("stream " .. args.phase, args.job, message, code, failure)
  end
  return output.EXIT_OK
end

return M
