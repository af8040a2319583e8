--- Runs the binary that runs these specs.
local process = require "perilune.process"

local M = {}

M.binary = os.getenv "PERILUNE" or "/proc/self/exe"

--- Runs `perilune argument...` with nothing on standard input.
---@param arguments string[]  may hold env = { NAME = value }, stdin = text
---@return { status: integer, stdout: string, stderr: string }
function M.run(arguments)
  local command = table.move(arguments, 1, #arguments, 2, { M.binary })
  command.env, command.stdin = arguments.env, arguments.stdin
  return assert(process.run(command))
end

return M
