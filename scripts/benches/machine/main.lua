--- Replicated machines in Lua files: commands a second on one core, without a log or a network (what
--- applying costs, undoing what fails, and snapshots of a large state); commands a second of one node with a
--- disk, in tables and in ctx.store; and how long a machine keeps others waiting while its snapshot is made
--- and restored.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("machine", arg, "Takes about a minute.")
local report = require "lib.report"

local GOAL, MICROSECONDS = 100000, 1e6
local DATA = "build/bench/machine"
local perilune = os.getenv "PERILUNE" or "build/release/perilune"

local function is_asked_for(name)
  return not options.only or name:find(options.only, 1, true) ~= nil
end

-- The lines that a script of this folder prints, taken apart.
local function run(script, arguments, pattern, take)
  os.execute(("rm -rf %s && mkdir -p %s"):format(DATA, DATA))
  local pipe = assert(io.popen(("%s scripts/benches/machine/%s.lua %s"):format(perilune, script, arguments)))
  local count = 0
  for line in pipe:lines() do
    count = count + 1
    take(line:match(pattern))
  end
  if not pipe:close() or count == 0 then
    io.stderr:write(("scripts/bench machine: %s.lua cannot be measured\n"):format(script))
    os.exit(1)
  end
end

local rows = {}
if is_asked_for "core" then
  local arguments = ("%d %d"):format(options.runs, options.quick and 1000 or 20000)
  run("measure", arguments, "^(.-)\t(%S+)\t(%S+)\t(%d+)$",
    function(name, least, median, commands)
      rows[#rows + 1] = { name = name, least_us = tonumber(least), median_us = tonumber(median),
        commands = tonumber(commands) }
    end)
end
local rates, waits = {}, {}
if is_asked_for "disk" then
  run("disk", ("%s %s"):format(DATA, options.quick and 0.3 or 3), "^(.-)\t(%S+)$", function(name, rate)
    rates[#rates + 1] = { name = name, commands_per_s = tonumber(rate) }
  end)
end
if is_asked_for "pause" then
  for _, records in ipairs(options.quick and { 5000 } or { 220000, 850000 }) do
    run("pause", ("%d %s"):format(records, DATA), "^(.-)\t(%S+)$", function(name, ms)
      waits[#waits + 1] = { name = name, ms = tonumber(ms) }
    end)
  end
end

if options.json then
  print(report.json { rows = rows, disk = rates, pauses = waits, goal = GOAL })
  return
end
for _, row in ipairs(rows) do
  if row.commands == 1 then
    print(("%-70s %8.0f ms"):format(row.name, row.median_us / 1000))
  else
    print(("%-44s %7.2f us  %9.0f commands/s"):format(row.name, row.median_us, MICROSECONDS / row.median_us))
  end
end
for _, row in ipairs(rates) do
  print(("%-54s %9.0f commands/s"):format(row.name, row.commands_per_s))
end
for _, row in ipairs(waits) do
  print(("%-78s %8.1f ms"):format(row.name, row.ms))
end
for _, row in ipairs(rows) do
  if row.name == "bank: transfer" then
    local rate = MICROSECONDS / row.median_us
    print(("goal: %d transfers a second on one core: %s (%.0f)"):format(GOAL,
      rate >= GOAL and "met" or "missed", rate))
  end
end
