--- perilune transfer: has another node lead.
local client = require "perilune.cluster.client"
local output = require "perilune.cli.output"
local target = require "perilune.cli.cluster_target"

local M = { summary = "hand leadership over to another node" }

local DEADLINE = 10 -- seconds

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune transfer", "Has the leader hand over, to a node or to whichever follower "
    .. "is furthest, and waits until that one leads. Commands wait meanwhile, some milliseconds.")
  parser:argument("node", "Its name or number."):args "?":argname "NODE"
  target.add_options(parser, true)
  parser:epilog [[
Examples:
  perilune transfer n2
  perilune transfer
  perilune transfer 3 --at 10.0.0.1:7100]]
  return parser
end

---@param args table
---@return integer exit_code
function M.run(args)
  local what = args.node and "transfer " .. args.node or "transfer"
  local id = args.node and target.id_of(args.node)
  if args.node and not id then
    return output.usage_error(what, ("'%s' is no node: its name, as n2, or number"):format(args.node))
  end
  local addresses, folder, code = target.addresses(args)
  if not addresses then
    return target.fail(what, folder, code)
  end
  local status, err
  status, err, code = client.leader(addresses)
  if not status then
    return target.fail(what, err, code)
  end
  local leader = status.id
  if leader ~= id then
    if id and not status.group.members[id] then
      return target.fail(what, ("n%d is no member"):format(id), "ENOENT", "perilune members lists them")
    end
    leader, err, code = client.call_leader(addresses, DEADLINE, "cluster.transfer", id)
    if not leader then
      return target.fail(what, err, code)
    end
  end
  if args.json then
    output.json { leader = leader, name = "n" .. leader, before = status.id }
  else
    io.stdout:write(("n%d leads %s\n"):format(leader, leader == status.id and "already" or "now"))
  end
  return output.EXIT_OK
end

return M
