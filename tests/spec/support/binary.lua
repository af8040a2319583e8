--- Runs the binary that runs these specs.
local process = require "perilune.process"

local M = {}

M.path = os.getenv "PERILUNE" or assert(process.executable())

-- What a person may have set, and what would change the answers.
local NEUTRAL = {
  "NO_COLOR", "FORCE_COLOR", "PERILUNE_COLOR", "PERILUNE_LOG_LEVEL", "PERILUNE_LOG_FORMAT",
}

--- Runs `perilune argument...`; env = { NAME = value } and input = text may be given as well.
---@param arguments string[]|{ env?: table<string, string>, input?: string }
---@return perilune.process.Result
function M.run(arguments)
  local command = table.move(arguments, 1, #arguments, 2, { M.path })
  command.env, command.input = {}, arguments.input
  for _, name in ipairs(NEUTRAL) do
    command.env[name] = false
  end
  for name, value in pairs(arguments.env or {}) do
    command.env[name] = value
  end
  return assert(process.run(command))
end

return M
