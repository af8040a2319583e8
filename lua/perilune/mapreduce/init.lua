--- MapReduce: runs jobs, and tests them. README.md beside this file is the contract of a job file.
local fs = require "perilune.fs"
local keys = require "perilune.keys"
local runner = require "perilune.mapreduce.run"

local M = {}

M.run = runner.run

---@class perilune.mapreduce.LoadedJob
---@field path string
local Job = {}
Job.__index = Job

--- Loads a job file to test it.
---@param path string
---@return perilune.mapreduce.LoadedJob|nil job
---@return string|nil err
---@return string|nil code
function M.load(path)
  local stat, err, code = fs.stat(path)
  if not stat then
    return nil, err, code
  end
  return setmetatable({ path = path }, Job)
end

local function write_inputs(directory, input)
  if type(input) == "string" then
    input = { input = input }
  end
  local paths = {}
  for i, name in ipairs(keys.sorted(input)) do
    local path = directory .. "/" .. name
    assert(fs.mkdir(path:match("^(.*)/"), { parents = true }))
    assert(fs.write(path, input[name]))
    paths[i] = path
  end
  return paths
end

local function read_lines(out, into)
  for _, name in ipairs(assert(fs.list(out))) do
    local text = name:match("^part%-") and assert(fs.read(out .. "/" .. name)) or ""
    for line in text:gmatch("([^\n]*)\n?") do
      into[#into + 1] = line ~= "" and line or nil
    end
  end
  return into
end

local function sorted_lines(expect)
  local lines = {}
  if type(expect) == "string" then
    for line in expect:gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
  else
    table.move(expect, 1, #expect, 1, lines)
  end
  table.sort(lines)
  return lines
end

local DIFFERENCES_SHOWN = 10

--- The lines that only one of two sorted lists has, marked - (missing) and + (unexpected).
---@param expected string[]
---@param got string[]
---@return string[] differences
function M.diff(expected, got)
  local differences, i, j = {}, 1, 1
  while i <= #expected or j <= #got do
    if j > #got or (i <= #expected and expected[i] < got[j]) then
      differences[#differences + 1], i = "  - " .. expected[i], i + 1
    elseif i > #expected or got[j] < expected[i] then
      differences[#differences + 1], j = "  + " .. got[j], j + 1
    else
      i, j = i + 1, j + 1
    end
  end
  return differences
end

local function judge(expect, lines, how)
  if type(expect) == "function" then
    expect(lines)
    return
  end
  local got = table.move(lines, 1, #lines, 1, {})
  table.sort(got)
  local differences = M.diff(sorted_lines(expect), got)
  if #differences > 0 then
    local more = #differences - DIFFERENCES_SHOWN
    error(("the job's output %s differs (- missing, + unexpected):\n%s%s"):format(how,
      table.concat(differences, "\n", 1, math.min(#differences, DIFFERENCES_SHOWN)),
      more > 0 and ("\n  ... and %d more"):format(more) or ""), 0)
  end
end

-- As one task, and as many: a job whose result depends on how it is cut is wrong.
local WAYS = {
  { how = "as one task", split_bytes = 1 << 40, reduces = 1 },
  { how = "in many small tasks", split_bytes = 1, reduces = 3 },
}

local function failure_text(path, err, failure)
  local detail = failure and failure.attempt_error or {}
  return table.concat({ ("%s: %s"):format(path, err), detail.traceback }, "\n")
end

--- Runs the job in this process on the given input and compares what it puts out.
---@param options table  { input = string|table<string, string>, expect = string|string[]|function,
---   args = table|nil, reduces = integer|nil }
---@return table result  of the last run, as M.run gives it
function Job:test(options)
  local directory = assert(fs.tempdir())
  local result
  local ok, err = pcall(function()
    local inputs = write_inputs(directory .. "/in", options.input)
    for number, way in ipairs(WAYS) do
      local out = directory .. "/out" .. number
      local why, failure, _
      result, why, _, failure = M.run { job = self.path, inputs = inputs, out = out, args = options.args,
        split_bytes = way.split_bytes, reduces = options.reduces or way.reduces, workers = 1,
        executor = require("perilune.mapreduce.inline").start() }
      if not result then
        error(failure_text(self.path, why, failure), 0)
      end
      judge(options.expect, read_lines(out, {}), way.how)
    end
  end)
  fs.remove(directory, { recursive = true })
  if not ok then
    error(err, 2) -- at the line of the spec
  end
  return result
end

return M
