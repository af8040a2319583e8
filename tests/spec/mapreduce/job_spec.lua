-- What a job file may contain, and what the message says when it does not.
local job_file = require "perilune.mapreduce.job"

local FUNCTION = { ["function"] = "wordcount.lua:3" }

local function message(list)
  local job, err, code = job_file.check(list, "wordcount")
  assert.is_nil(job)
  assert.equal("EINVAL", code)
  return err
end

describe("a job file", function()
  it("gets one normal form", function()
    local job = assert(job_file.check({ map = FUNCTION, reduce = "sum" }, "wordcount"))
    assert.equal("wordcount", job.name)
    assert.equal("lines", job.input.format)
    assert.equal("text", job.output)
    assert.same({ 4, 60, 0, 5 }, { job.attempts, job.timeout_s, job.skip_records, job.backup_after_s })
    local step = job.elements[1]
    assert.same({ name = "sum" }, step.reduce)
    assert.same({ "hash", "ascending", true }, { step.partition, step.compare, step.reads_input })
  end)

  it("reads reducers with arguments, sizes and durations", function()
    local job = assert(job_file.check({
      map = FUNCTION, reduce = { "topk", 10 }, memory = "64M", split = 4096, timeout = "500ms",
      input = { format = "csv", header = true, separator = ";", record_max = "1k" }, backup = false,
    }, "top"))
    assert.same({ name = "topk", count = 10 }, job.elements[1].reduce)
    assert.same({ 64 << 20, 4096, 0.5, false },
      { job.memory_bytes, job.split_bytes, job.timeout_s, job.backup_after_s })
    assert.same({ format = "csv", header = true, separator = ";", record_max_bytes = 1024 }, job.input)
  end)

  local wrong = {
    { "nothing", nil, "the file must return the job's table, not nothing" },
    { "a number", 3, "the file must return the job's table, not 3" },
    { "no map", { reduce = FUNCTION }, "there is no map" },
    { "a map that is no function", { map = 3 }, "map must be a function, not 3" },
    { "a mistyped field", { map = FUNCTION, redcue = FUNCTION }, 'did you mean "reduce"?' },
    { "a field that nobody knows", { map = FUNCTION, zzzzzzzzzz = 1 }, "known are attempts" },
    { "a mistyped reducer", { map = FUNCTION, reduce = "sun" },
      'no reducer is named "sun"; did you mean "sum"?' },
    { "a reducer without its argument", { map = FUNCTION, reduce = { "topk" } },
      '"topk" needs a whole number' },
    { "a reducer with too many", { map = FUNCTION, reduce = { "sum", 3 } }, '"sum" takes 0 arguments' },
    { "a mistyped format", { map = FUNCTION, input = "line" }, 'did you mean "lines"?' },
    { "fixed records without a size", { map = FUNCTION, input = "fixed:0" }, "format must be one of" },
    { "a wrong partition", { map = FUNCTION, reduce = "sum", partition = "rang" }, 'did you mean "range"?' },
    { "a size without sense", { map = FUNCTION, memory = "1x" }, "'1x' is not a size" },
    { "no reduce tasks", { map = FUNCTION, reduces = 0 }, "from 1 to 65535, not 0" },
    { "combine without reduce", { map = FUNCTION, combine = "sum" }, "combine has no use without reduce" },
    { "a combine beside a named reduce", { map = FUNCTION, reduce = "sum", combine = FUNCTION },
      "combines by itself" },
    { "a combine that changes values", { map = FUNCTION, reduce = FUNCTION, combine = "count" },
      "it can be all, any, max, min, sum" },
    { "map beside pipeline", { map = FUNCTION, pipeline = { { map = FUNCTION } } }, "move it into a step" },
    { "an empty pipeline", { pipeline = {} }, "pipeline must be a list of steps" },
    { "a loop at the start", { pipeline = { { loop = { { reduce = FUNCTION } }, max = 3 } } },
      "a loop needs a step before it" },
    { "a loop without end", { pipeline = { { map = FUNCTION }, { loop = { { reduce = FUNCTION } } } } },
      "a loop needs max" },
    { "a join with nothing", { pipeline = { { map = FUNCTION }, { join = "graph", reduce = FUNCTION } } },
      'no earlier step has cache = "graph"' },
    { "a cache at the end", { pipeline = { { map = FUNCTION }, { cache = "x", reduce = FUNCTION } } },
      "the last step cannot be a cache" },
  }
  for _, case in ipairs(wrong) do
    it("refuses " .. case[1], function()
      assert.matches(case[3], message(case[2]), 1, true)
    end)
  end

  it("numbers the steps of a pipeline and says which read the input", function()
    local job = assert(job_file.check({ pipeline = {
      { cache = "graph", map = FUNCTION },
      { map = FUNCTION, reduce = FUNCTION },
      { loop = { { join = "graph", reduce = FUNCTION } }, max = 10, until_ = FUNCTION },
      { join = "graph", reduce = FUNCTION },
    } }, "pagerank"))
    local first, second, loop, last = table.unpack(job.elements)
    assert.same({ true, true }, { first.reads_input, second.reads_input })
    assert.same({ "pipeline", 3, "loop", 1 }, loop.loop.steps[1].path)
    assert.same({ 10, true, false }, { loop.loop.max, loop.loop.has_until, loop.loop.steps[1].reads_input })
    assert.same({ 4, "graph", false }, { last.number, last.join, last.has_map })
  end)
end)
