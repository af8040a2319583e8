--- perilune remove: takes a member out of a cluster.
local output = require "perilune.cli.output"
local membership = require "perilune.cluster.membership"
local target = require "perilune.cli.cluster_target"

local M = { summary = "remove a member of a cluster", usage = "perilune remove NODE" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune remove", "Takes a member out of a cluster; a leader hands over first. On "
    .. "this machine its process is ended, too. Its number never comes back; its data stay where they are, "
    .. "and are of no more use.")
  parser:argument("node", "Its name or number, or leader."):argname "NODE"
  target.add_options(parser, true)
  parser:epilog "Examples:\n  perilune remove n3\n  perilune remove 3 --at 10.0.0.1:7100"
  return parser
end

-- A member of a cluster elsewhere: its number, or nil, message, code.
local function remove_at(args)
  local id = target.id_of(args.node)
  if not id then
    return nil, ("'%s' is no node: its name, as n2, or number"):format(args.node), "EINVAL"
  end
  local ok, err, code = membership.remove_member(args.at, id)
  return ok and id, err, code
end

-- A node of the cluster on this machine: the same.
local function remove_here(args)
  local folder, nodes, code = target.selected(args, args.node)
  if not folder then
    return nil, nodes, code
  elseif #nodes ~= 1 then
    return nil, "one at a time", "EINVAL"
  end
  local node, err
  node, err, code = membership.remove(folder.path, nodes[1].name)
  return node and node.id, err, code
end

---@param args table
---@return integer exit_code
function M.run(args)
  local id, err, code = (args.at and remove_at or remove_here)(args)
  if not id then
    return target.fail("remove " .. args.node, err, code,
      code == "EINVAL" and "perilune members lists them" or nil)
  elseif args.json then
    output.json { removed = id, name = "n" .. id }
  else
    io.stdout:write(("n%d is no member any more\n"):format(id))
  end
  return output.EXIT_OK
end

return M
