--- perilune mr-worker: a worker process of a MapReduce job; only the coordinator starts it.
local M = { summary = "run tasks for a parent process (started by perilune mr)" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  return argparse("perilune mr-worker", "Reads task descriptions from standard input, as frames of "
    .. "MessagePack, and answers on standard output. Started by perilune mr.")
end

--- Serves until standard input ends.
---@return integer exit_code
function M.run()
  require("perilune.mapreduce.worker").serve()
  return 0
end

return M
