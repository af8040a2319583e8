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

--- Two functions for a folder: one runs a scenario and gives the result; the other, whose scenario must fail,
--- gives the failure.
---@param folder perilune.spec.Folder
---@return fun(source: string, options?: table): perilune.sim.Result
---@return fun(source: string, options?: table): perilune.sim.Failure
function M.runner(folder)
  local function run(source, options)
    return M.run(folder, source, options)
  end
  return run, function(source, options)
    local result = run(source, options)
    assert(not result.ok, "it has passed")
    return result.failure
  end
end

return M
