-- What main.lua runs in perilune: all sections, then the goals.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("kv", { ... })
local report = require "lib.report"

-- In the order in which they are measured; each returns { name =, rows =, goals = } and prints itself.
local SECTIONS = { "kv.idle", "kv.loads", "kv.failover" }

local pwd = require("perilune.process").run { "pwd" }.stdout:match "[^\n]*"
local perilune = os.getenv "PERILUNE"
local context = {
  options = options,
  perilune = perilune:sub(1, 1) == "/" and perilune or pwd .. "/" .. perilune,
  here = pwd .. "/scripts/benches/kv",
  directory = pwd .. "/build/bench/kv/data", -- of nodes
  --- Is a row wanted?
  wants = function(name)
    return not options.only or name:find(options.only, 1, true) ~= nil
  end,
  --- Prints a title or a row's name with its values, unless all will be printed as JSON.
  say = function(text, ...)
    if not options.json then
      print(select("#", ...) > 0 and text:format(...) or text)
      io.stdout:flush()
    end
  end,
}
context.programs = context.perilune:match "^.*/"

local sections, goals = {}, {}
for _, name in ipairs(SECTIONS) do
  local section = require(name)(context)
  sections[#sections + 1] = section
  table.move(section.goals, 1, #section.goals, #goals + 1, goals)
end
if options.quick then
  goals = {} -- too short to mean anything
end
if options.json then
  report.json { benchmark = "kv", runs = options.runs, sections = sections, goals = goals }
else
  report.goals(goals)
end
