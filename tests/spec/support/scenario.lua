--- Writes scenarios into a folder and runs them.
local sim = require "perilune.sim"

local M = {}

--- Runs one seed of a scenario given as source.
---@param folder perilune.spec.Folder
---@param source string
---@param options? table  of sim.run
---@return perilune.sim.Result
function M.run(folder, source, options)
  local request = { scenario = folder:write("scenario.lua", source) }
  for name, value in pairs(options or {}) do
    request[name] = value
  end
  return assert(sim.run(request))
end

--- Runs a scenario that must pass.
---@param folder perilune.spec.Folder
---@param source string
---@param options? table
---@return perilune.sim.Result
function M.pass(folder, source, options)
  local result = M.run(folder, source, options)
  if not result.ok then
    error(("%s: %s"):format(result.failure.kind, result.failure.message), 2)
  end
  return result
end

return M
