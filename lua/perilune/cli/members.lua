--- perilune members: who belongs to a cluster.
local client = require "perilune.cluster.client"
local json = require "perilune.json"
local output = require "perilune.cli.output"
local target = require "perilune.cli.cluster_target"

local M = { summary = "list the members of a cluster" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune members", "Lists who belongs to a cluster, as its leader knows it: "
    .. "voter, learner, joining (it will vote once it has the log), incoming and outgoing (a change is under "
    .. "way).")
  target.add_options(parser, true)
  parser:epilog "Examples:\n  perilune members\n  perilune members --at 10.0.0.1:7100 --json"
  return parser
end

---@param args table
---@return integer exit_code
function M.run(args)
  local addresses, folder, code = target.addresses(args)
  if not addresses then
    return target.fail("members", folder, code)
  end
  local status, err
  status, err, code = client.leader(addresses)
  if not status then
    return target.fail("members", err, code)
  end
  local list, rows = {}, { { "node", "is", "address" } }
  for id, member in pairs(status.group.members) do
    list[#list + 1] = { id = id, name = "n" .. id, is = member.is, address = member.address,
      leads = id == status.id }
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  for i, member in ipairs(list) do
    rows[i + 1] = { member.name, member.leads and "leader" or member.is, member.address or "-" }
  end
  if args.json then
    output.json { term = status.group.term, members = json.array(list) }
  else
    io.stdout:write(output.table(rows), "\n")
  end
  return output.EXIT_OK
end

return M
