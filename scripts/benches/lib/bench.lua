--- Runs programs side by side and keeps what they took.
---
--- Rows of a section are measured in rounds, every program once a round, so that a slow minute of the
--- machine hits all of them. No run pays for another: before each one outputs are removed, dirty pages go
--- to the disk, and the input is read into memory. Works with plain lua5.4 and a C compiler.
local report = require "lib.report"

local M = {}
M.__index = M

local MEBIBYTE = 1024 * 1024

---@class benches.Options
---@field name string      the benchmark's name
---@field build string     the folder for inputs and outputs, already there
---@field runs integer     how often each row is measured
---@field only string|nil  only rows whose names contain this
---@field json boolean     print one JSON object instead of tables
---@field outputs string    what rows leave behind, for rm -rf in the build folder
---@field has_goals boolean  false when inputs are too small for the goals to mean anything

---@class benches.Row
---@field name string
---@field command string                        run by sh in the build folder
---@field input string|nil                      a file; its size makes MB/s
---@field check (fun(): string|nil)|nil         looks at the output of one run; says what is wrong with it
---@field skip string|nil                       why the row cannot run here
---@field needs string|nil                      a program; the row is skipped where it is not installed
---@field runs integer|nil                      instead of the benchmark's number of runs

---@class benches.Result
---@field seconds number      median wall time
---@field cpu number          median processor time of all processes
---@field memory integer      peak bytes of the largest process, over all runs
---@field spread number       (slowest - fastest) / median
---@field rate number|nil     MB/s

--- Makes a benchmark.
---@param options benches.Options
function M.new(options)
  local self = setmetatable({ options = options, results = {}, sections = {}, goals = {}, wrong = 0 }, M)
  self:compile("measure", "scripts/benches/lib/measure.c")
  return self
end

--- Quotes an argument for sh.
---@param text string
---@return string
function M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Runs a shell command in the build folder and returns its output; raises when it fails.
---@param command string
---@return string
function M:capture(command)
  local pipe = assert(io.popen(("cd %s && { %s; }"):format(M.quote(self.options.build), command)))
  local output = pipe:read "a"
  if not pipe:close() then
    error("failed: " .. command, 2)
  end
  return (output:gsub("\n$", ""))
end

--- Is there a program of this name?
---@param program string
---@return boolean
function M.has(program)
  return os.execute("command -v " .. M.quote(program) .. " >/dev/null 2>&1") == true
end

--- The path of a file in the build folder.
---@param name string
---@return string
function M:path(name)
  return self.options.build .. "/" .. name
end

--- Compiles a C program of the repository into the build folder.
function M:compile(name, source, libraries)
  local command = ("cc -std=gnu11 -O2 -o %s %s %s"):format(M.quote(self:path(name)), source, libraries or "")
  if not os.execute(command) then
    error("failed: " .. command, 0)
  end
end

--- Makes a file of the build folder unless it is there: command writes it to its stdout.
---@return string path
function M:make(name, command)
  local path = self:path(name)
  local file = io.open(path)
  if file then
    file:close()
  else
    io.stderr:write("making ", name, "\n")
    self:capture(("{ %s; } >%s.tmp && mv %s.tmp %s"):format(command, name, name, name))
  end
  return path
end

--- A file's size in bytes.
---@param path string
---@return integer
function M.size_of(path)
  local file = assert(io.open(path, "rb"))
  local size = file:seek "end"
  file:close()
  return size
end

-- Runs a row once. nil and why when the program failed.
local function measure(self, row)
  self:capture(("rm -rf %s; sync; cat %s >/dev/null"):format(self.options.outputs,
    row.input and M.quote(row.input) or "/dev/null"))
  local command = ("cd %s && LC_ALL=C ./measure took %s >out 2>errors")
    :format(M.quote(self.options.build), M.quote(row.command))
  if not os.execute(command) then
    local file = assert(io.open(self:path "errors"))
    local errors = file:read "a"
    file:close()
    return nil, errors:match "([^\n]*)\n*$"
  end
  local file = assert(io.open(self:path "took"))
  local seconds, cpu, kibibytes = file:read("n", "n", "n")
  file:close()
  return { seconds = seconds, cpu = cpu, memory = kibibytes * 1024 }
end

local function median(runs, field)
  local values = {}
  for i, run in ipairs(runs) do
    values[i] = run[field]
  end
  table.sort(values)
  local middle = (#values + 1) // 2
  return #values % 2 == 1 and values[middle] or (values[middle] + values[middle + 1]) / 2, values
end

local function summarize(row, runs)
  local seconds, sorted = median(runs, "seconds")
  local _, memory = median(runs, "memory")
  return {
    seconds = seconds,
    cpu = median(runs, "cpu"),
    memory = memory[#memory],
    spread = (sorted[#sorted] - sorted[1]) / seconds,
    rate = row.input and M.size_of(row.input) / 1e6 / seconds,
  }
end

local function run_once(self, row, state)
  local run, why = measure(self, row)
  local problem = why or row.check and #state.runs == 0 and row.check()
  if problem then
    state.problem = problem
    self.wrong = self.wrong + 1
    io.stderr:write(("%s: %s\n"):format(row.name, problem))
  end
  state.runs[#state.runs + 1] = run
end

local function why_skipped(row)
  if row.needs and not M.has(row.needs) then
    return "skipped: " .. row.needs .. " is not installed"
  end
  return row.skip
end

--- Measures the rows of a section and prints them. Rows that fail or give a wrong answer are counted
--- in self.wrong and have no result.
---@param title string
---@param rows benches.Row[]
function M:section(title, rows)
  local states, rounds = {}, 0
  for i, row in ipairs(rows) do
    local left_out = self.options.only and not row.name:find(self.options.only, 1, true)
    states[i] = { runs = {}, problem = why_skipped(row), left_out = left_out }
    rounds = math.max(rounds, row.runs or self.options.runs)
  end
  for round = 1, rounds do
    for i, row in ipairs(rows) do
      local state = states[i]
      if not state.problem and not state.left_out and round <= (row.runs or self.options.runs) then
        run_once(self, row, state)
      end
    end
  end
  local section = { title = title, rows = {} }
  for i, row in ipairs(rows) do
    local state = states[i]
    local result = not state.problem and #state.runs > 0 and summarize(row, state.runs) or nil
    self.results[row.name] = result
    if not state.left_out then
      section.rows[#section.rows + 1] = { name = row.name, result = result, problem = state.problem }
    end
  end
  if #section.rows == 0 then
    return
  end
  self.sections[#self.sections + 1] = section
  if not self.options.json then
    report.section(section)
  end
end

local function add_goal(self, what, value, wanted, met, by_cpu)
  if self.options.has_goals then
    table.insert(self.goals, { what = what, value = value, wanted = wanted, met = met, by_cpu = by_cpu })
  end
end

--- How many times faster one row is than another of equal work; beside it the same by processor time,
--- which a busy machine disturbs less, and which says nothing about two workers.
---@param what string
---@param ours string    row name
---@param peer string    row name
---@param times number|nil  what was promised; nil when nothing was
function M:ratio(what, ours, peer, times)
  local a, b = self.results[ours], self.results[peer]
  if a and b then
    local value = b.seconds / a.seconds
    add_goal(self, what, ("%.2fx"):format(value), times and (">= %.1fx"):format(times),
      times and value >= times, ("%.2fx"):format(b.cpu / a.cpu))
  end
end

--- A row's wall time against a limit.
function M:time_below(what, row, seconds)
  local result = self.results[row]
  if result then
    add_goal(self, what, ("%.1f ms"):format(result.seconds * 1000), ("< %d ms"):format(seconds * 1000),
      result.seconds < seconds)
  end
end

--- A row's largest process against a limit.
function M:memory_below(what, row, bytes)
  local result = self.results[row]
  if result then
    add_goal(self, what, ("%.1f MiB"):format(result.memory / MEBIBYTE),
      ("< %d MiB"):format(bytes // MEBIBYTE), result.memory < bytes)
  end
end

--- Prints the goals, or everything as JSON. Returns the process's exit code: 1 after a wrong answer.
---@param about table  said about the run in JSON: sorted and printed as it is
---@return integer
function M:finish(about)
  if self.options.json then
    report.json { about = about, sections = self.sections, goals = self.goals }
  else
    report.goals(self.goals)
  end
  return self.wrong == 0 and 0 or 1
end

return M
