--- perilune add: one more node on this machine.
local output = require "perilune.cli.output"
local membership = require "perilune.cluster.membership"
local target = require "perilune.cli.cluster_target"
local units = require "perilune.units"

local M = { summary = "add a node to the cluster on this machine" }

local DEADLINE = 20 -- seconds

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune add", "Starts one more node of the cluster on this machine. It gets the "
    .. "log first and votes once it has caught up; then this ends. Elsewhere a node adds itself: perilune "
    .. "node --join.")
  parser:argument("node", "Its name: that of the next number (default)."):args "?":argname "NODE"
  parser:option("--deadline", "How long it may take (default: 20s)."):argname "TIME"
    :convert(units.parse_duration)
  target.add_options(parser)
  parser:epilog "Examples:\n  perilune add\n  perilune add n4 --json"
  return parser
end

---@param args table
---@return integer exit_code
function M.run(args)
  local dir = args.dir or target.default_dir()
  local node, err, code, trouble = membership.add(dir, args.node, args.deadline or DEADLINE)
  if not node then
    return target.not_ready("add", err, code, trouble)
  end
  if args.json then
    output.json(node)
  else
    io.stdout:write(("%s is a voter, at %s\n"):format(node.name, node.listen))
  end
  return output.EXIT_OK
end

return M
