--- The log store and the core by themselves: bench_store (scripts/benches/store), bench_raft_core (core.c).
local json = require "perilune.json"
local process = require "perilune.process"

local STORE, CORE = "log store", "core"
local AMPLIFICATION_GOAL = 1.2
local STEPS, STEPS_GOAL = "steps/s, one at a time", 5e6
local STATE, BYTES_GOAL = { "bytes, leader of 3 asleep", "bytes, follower of 3 asleep" }, 4096

-- Entry size, entries of a batch, groups that they belong to.
local LOGS = { { 64, 1, 1 }, { 64, 256, 1 }, { 1024, 256, 1 }, { 64, 256, 64 } }

local function capture(command)
  local result, why = process.run { "sh", "-c", command }
  if not result or result.status ~= 0 then
    error(("failed: %s: %s"):format(command, why or result.stderr), 0)
  end
  return result.stdout
end

local function measure_store(context, section)
  local directory = context.directory .. "/store"
  local rounds = context.options.quick and 1 or 3 * context.options.runs
  context.say "\nLog store, beside append + fdatasync (by turns)"
  context.say("  %-34s %11s %11s %7s %9s %9s %8s", "", "entries/s", "raw", "", "p50, us", "raw", "written")
  for _, log in ipairs(LOGS) do
    local bytes, batch, groups = table.unpack(log)
    capture(("rm -rf '%s' && mkdir -p '%s'"):format(directory, directory))
    local found = json.decode(capture(("%sbench_store '%s' %d %d %d %d"):format(context.programs, directory,
      bytes, batch, groups, rounds)))
    local name = ("%d x %d B, %d group%s"):format(batch, bytes, groups, groups == 1 and "" or "s")
    context.say("  %-34s %11.0f %11.0f %6.2fx %9d %9d %7.2fx", name, found.log_per_s, found.raw_per_s,
      found.ratio, found.log_p50_us, found.raw_p50_us, found.write_amplification)
    found.name = name
    section.rows[#section.rows + 1] = found
    if batch > 1 and bytes == 1024 then
      section.goals[#section.goals + 1] = { what = "log's write amplification, " .. name,
        value = ("%.2fx"):format(found.write_amplification), wanted = ("<= %.1fx"):format(AMPLIFICATION_GOAL),
        met = found.write_amplification <= AMPLIFICATION_GOAL }
    end
  end
  capture(("rm -rf '%s'"):format(directory))
end

local function measure_core(context, section)
  local proposals = context.options.quick and 20000 or 300000
  local values = {}
  context.say "\nThe core alone, on one processor"
  local output = capture(("%sbench_raft_core %d %d"):format(context.programs, proposals,
    context.options.runs))
  for value, name in output:gmatch "(%d+)\t([^\n]+)" do
    section.rows[#section.rows + 1] = { name = name, value = tonumber(value) }
    values[name] = tonumber(value)
    context.say("  %-44s %14d", name, value)
  end
  section.goals[#section.goals + 1] = { what = "steps of the core per second",
    value = ("%.1f M"):format(values[STEPS] / 1e6), wanted = (">= %.0f M"):format(STEPS_GOAL / 1e6),
    met = values[STEPS] >= STEPS_GOAL }
  for _, name in ipairs(STATE) do
    section.goals[#section.goals + 1] = { what = "core state, " .. name, value = ("%d"):format(values[name]),
      wanted = ("<= %d"):format(BYTES_GOAL), met = values[name] <= BYTES_GOAL }
  end
end

--- Measures and prints the section.
return function(context)
  local section = { name = "alone", rows = {}, goals = {} }
  if context.wants(STORE) then
    measure_store(context, section)
  end
  if context.wants(CORE) then
    measure_core(context, section)
  end
  return section
end
