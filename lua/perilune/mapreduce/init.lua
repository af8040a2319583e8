--- MapReduce: runs jobs, and tests them. README.md beside this file is the contract of a job file.
local failures = require "perilune.mapreduce.failure"
local fs = require "perilune.fs"
local options = require "perilune.options"
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

-- What went wrong, with the input by the name that the test gave it.
local function failure_text(path, err, failure, folder)
  local detail = failure and failure.attempt_error or {}
  if detail.file and detail.file:sub(1, #folder + 1) == folder .. "/" then
    detail.file = detail.file:sub(#folder + 2)
  end
  local message = err:sub(1, #path + 1) == path .. ":" and err or ("%s: %s"):format(path, err)
  return table.concat({ message, failures.details(failure) }, "\n")
end

local KNOWN = { input = true, expect = true, args = "table", reduces = "number" }

local function input_problem(input)
  local wanted = "input must be a text, or a table { name = text } of files, "
  if type(input) ~= "string" and type(input) ~= "table" then
    return wanted .. (input == nil and "and is left out" or "not a " .. type(input))
  end
  for name, text in pairs(type(input) == "table" and input or {}) do
    if type(name) ~= "string" or type(text) ~= "string" then
      return ("%sbut %s is a %s"):format(wanted, tostring(name), type(text))
    end
  end
end

local function expect_problem(expect)
  local wanted = "expect must be the text of the output, a list of its lines or a function(lines), "
  if type(expect) ~= "string" and type(expect) ~= "table" and type(expect) ~= "function" then
    return wanted .. (expect == nil and "and is left out" or "not a " .. type(expect))
  end
  for at, line in pairs(type(expect) == "table" and expect or {}) do
    if math.type(at) ~= "integer" or type(line) ~= "string" then
      return ("%sbut %s is a %s"):format(wanted, tostring(at), type(line))
    end
  end
end

local SPEC_LEVEL = 3 -- the line that calls job:test, seen from check_test

local function check_test(job, test)
  if getmetatable(job) ~= Job or test == nil then
    error("write job:test { input = ..., expect = ... }, with a colon", SPEC_LEVEL)
  end
  options.check(test, KNOWN, "job:test", SPEC_LEVEL + 1)
  local problem = input_problem(test.input) or expect_problem(test.expect)
  if problem then
    error("job:test: " .. problem, SPEC_LEVEL)
  end
end

--- Runs the job in this process on the given input and compares what it puts out.
---@param test table  { input = string|table<string, string>, expect = string|string[]|function,
---   args = table|nil, reduces = integer|nil }
---@return table result  of the last run, as M.run gives it
function Job:test(test)
  check_test(self, test)
  local directory = assert(fs.tempdir())
  local result
  local ok, err = pcall(function()
    local inputs = write_inputs(directory .. "/in", test.input)
    for number, way in ipairs(WAYS) do
      local out = directory .. "/out" .. number
      local why, failure, _
      result, why, _, failure = M.run { job = self.path, inputs = inputs, out = out, args = test.args,
        split_bytes = way.split_bytes, reduces = test.reduces or way.reduces, workers = 1,
        executor = require("perilune.mapreduce.inline").start() }
      if not result then
        error(failure_text(self.path, why, failure, directory .. "/in"), 0)
      end
      judge(test.expect, read_lines(out, {}), way.how)
    end
  end)
  fs.remove(directory, { recursive = true })
  if not ok then
    error(err, 2) -- at the line of the spec
  end
  return result
end

return M
