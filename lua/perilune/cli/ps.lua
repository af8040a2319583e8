--- perilune ps: the processes of a cluster on this machine.
local client = require "perilune.cluster.client"
local json = require "perilune.json"
local output = require "perilune.cli.output"
local target = require "perilune.cli.cluster_target"

local M = { summary = "list the processes of the cluster on this machine" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune ps", "Lists the nodes of a cluster on this machine: running, paused, "
    .. "stopped (in good order) or dead, their roles as far as they answer, processes and ports.")
  target.add_options(parser)
  parser:epilog "Examples:\n  perilune ps\n  perilune ps --json"
  return parser
end

local ANSWER = 0.5 -- seconds that a node has to say its role

-- What the nodes that run are in their group, by number.
local function roles_of(folder)
  local roles = {}
  for _, answer in ipairs(client.ask(target.running(folder), ANSWER)) do
    if answer.status then
      roles[answer.status.id] = answer.status.group.role
    end
  end
  return roles
end

---@param args table
---@return integer exit_code
function M.run(args)
  local folder, err, code = target.folder(args)
  if not folder then
    return target.fail("ps", err, code)
  end
  local rows, list = { { "node", "state", "role", "pid", "address", "resp", "log" } }, {}
  local roles = roles_of(folder)
  for i, node in ipairs(folder.nodes) do
    local state, pid = folder:state(node)
    local lives = state == "running" or state == "paused"
    local role, log = roles[node.id], folder:at(node, "log")
    rows[i + 1] = { node.name, state, role or "-", lives and tostring(pid) or "-", node.listen, node.resp,
      log }
    list[i] = { id = node.id, name = node.name, state = state, role = role, pid = lives and pid or nil,
      ready = lives and folder:is_ready(node, pid), address = node.listen, resp = node.resp,
      admin = node.admin, dir = folder.path .. "/" .. node.name, log = log }
  end
  if args.json then
    output.json { dir = folder.path, base_port = folder.base_port, nodes = json.array(list) }
  else
    io.stdout:write(output.table(rows, { [4] = true }), "\n")
  end
  return output.EXIT_OK
end

return M
