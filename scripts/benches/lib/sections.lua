--- The part of a benchmark that perilune runs, whose fibers talk to several processes at a time: one section
--- after the other, then the goals.
local report = require "lib.report"

local M = {}

--- What all sections get.
---@class bench.Context
---@field options table  of the command line
---@field wants fun(name: string): boolean  is a row wanted?
---@field say fun(text: string, ...: any)  prints a title, or a row, unless all will be printed as JSON

--- Runs sections in their order. Each is a module, a function of the context that prints and returns
--- { name =, rows =, goals = }.
---@param benchmark string  its name
---@param names string[]  of modules
---@param options table
---@param context table  what these sections need, to which the rest is added
function M.run(benchmark, names, options, context)
  context.options = options
  function context.wants(name)
    return not options.only or name:find(options.only, 1, true) ~= nil
  end
  function context.say(text, ...)
    if not options.json then
      print(select("#", ...) > 0 and text:format(...) or text)
      io.stdout:flush()
    end
  end
  local sections, goals = {}, {}
  for _, name in ipairs(names) do
    local section = require(name)(context)
    sections[#sections + 1] = section
    table.move(section.goals, 1, #section.goals, #goals + 1, goals)
  end
  if options.quick then
    goals = {} -- too short to mean anything
  end
  if options.json then
    report.json { benchmark = benchmark, runs = options.runs, sections = sections, goals = goals }
  else
    report.goals(goals)
  end
end

--- The memory that a process has.
---@param pid integer
---@return integer bytes
function M.resident_bytes(pid)
  local file = assert(io.open(("/proc/%d/status"):format(pid)))
  local text = file:read "a"
  file:close()
  return math.tointeger(text:match "VmRSS:%s*(%d+)") * 1024
end

return M
