--- perilune sim-worker: a process that runs seeds of a scenario; perilune sim starts it.
local M = { summary = "run seeds of a scenario, for perilune sim" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  return argparse("perilune sim-worker", "Runs seeds that standard input asks for; perilune sim starts it.")
end

---@return integer exit_code
function M.run()
  return require("perilune.sim.worker").serve()
end

return M
