--- perilune down: ends the cluster of a directory.
local json = require "perilune.json"
local output = require "perilune.cli.output"
local processes = require "perilune.cluster.processes"
local target = require "perilune.cli.cluster_target"

local M = { summary = "stop the cluster on this machine" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune down", "Stops all nodes of a cluster on this machine in good order. "
    .. "Their data stay, and perilune up goes on with them; remove the directory to be rid of them.")
  target.add_options(parser)
  parser:epilog "Examples:\n  perilune down\n  perilune down --dir /tmp/five --json"
  return parser
end

---@param args table
---@return integer exit_code
function M.run(args)
  local down, err, code = processes.down(args.dir or target.default_dir())
  if not down then
    return target.fail("down", err, code)
  end
  if args.json then
    output.json { stopped = json.array(down.stopped), forced = json.array(down.forced) }
    return output.EXIT_OK
  end
  for _, name in ipairs(down.forced) do
    output.note(output.paint("stderr", "yellow", "warning: ") .. name .. " did not end by itself and "
      .. "was killed")
  end
  local count = #down.stopped + #down.forced
  io.stdout:write(count == 0 and "no node was running\n"
    or ("%d node%s stopped\n"):format(count, count > 1 and "s" or ""))
  return output.EXIT_OK
end

return M
