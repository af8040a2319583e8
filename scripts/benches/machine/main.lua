--- Commands a second of replicated machines in Lua files, on one core, without a log or a network: what
--- applying
--- costs, undoing what fails, and snapshots of a large state.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("machine", arg, "Takes about ten seconds.")
local report = require "lib.report"

local GOAL, MICROSECONDS = 100000, 1e6
local perilune = os.getenv "PERILUNE" or "build/release/perilune"

local count = options.quick and 1000 or 20000
local pipe = assert(io.popen(("%s scripts/benches/machine/measure.lua %d %d"):format(perilune, options.runs,
  count)))
local rows = {}
for line in pipe:lines() do
  local name, least, median, commands = line:match "^(.-)\t(%S+)\t(%S+)\t(%d+)$"
  if name and (not options.only or name:find(options.only, 1, true)) then
    rows[#rows + 1] = { name = name, least_us = tonumber(least), median_us = tonumber(median),
      commands = tonumber(commands) }
  end
end
if not pipe:close() or #rows == 0 then
  io.stderr:write("scripts/bench machine: it cannot be measured\n")
  os.exit(1)
end
if options.json then
  print(report.json { rows = rows, goal = GOAL })
  return
end
for _, row in ipairs(rows) do
  if row.commands == 1 then
    print(("%-70s %8.0f ms"):format(row.name, row.median_us / 1000))
  else
    print(("%-44s %7.2f us  %9.0f commands/s"):format(row.name, row.median_us, MICROSECONDS / row.median_us))
  end
end
for _, row in ipairs(rows) do
  if row.name == "bank: transfer" then
    local rate = MICROSECONDS / row.median_us
    print(("goal: %d transfers a second on one core: %s (%.0f)"):format(GOAL,
      rate >= GOAL and "met" or "missed", rate))
  end
end
