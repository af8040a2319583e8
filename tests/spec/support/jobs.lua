--- Runs jobs, and reads what they made.
local fs = require "perilune.fs"
local inline = require "perilune.mapreduce.inline"
local mr = require "perilune.mapreduce"

local M = {}

--- Runs a job in this process: the same C path as in workers.
---@param folder perilune.spec.Folder  gets job.lua, input and out
---@param source string
---@param input string
---@param options table|nil  more of mr.run's
---@return table|nil result  what mr.run gives
---@return string|nil err
---@return string|nil code
---@return table|nil failure
function M.run(folder, source, input, options)
  local settings = { job = folder:job(source), inputs = { folder:write("input", input) },
    out = folder:at "out", workers = 1, executor = inline.start() }
  for name, value in pairs(options or {}) do
    settings[name] = value
  end
  return mr.run(settings)
end

--- All files of an output, one after another.
---@param out string
---@return string
function M.output(out)
  local texts = {}
  for i, name in ipairs(assert(fs.list(out))) do
    texts[i] = assert(fs.read(out .. "/" .. name))
  end
  return table.concat(texts)
end

return M
