--- perilune up: a cluster of real processes on this machine.
local output = require "perilune.cli.output"
local processes = require "perilune.cluster.processes"
local target = require "perilune.cli.cluster_target"
local units = require "perilune.units"

local M = { summary = "start a cluster on this machine" }

local DEADLINE = 20 -- seconds until the nodes are ready

local function integer(least, most)
  return function(text)
    local number = math.tointeger(tonumber(text))
    if not number or number < least or number > most then
      return nil, ("'%s' is no whole number from %d to %d"):format(text, least, most)
    end
    return number
  end
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune up", "Starts a cluster of nodes on this machine, real processes with "
    .. "their data and logs in a directory, and returns when they are ready. A cluster that is there already "
    .. "is started again with its data; nodes that run are left alone.")
  parser:option("-n --nodes", "How many nodes a new cluster has (default: 3)."):argname "N"
    :convert(integer(1, processes.COUNT_MAX))
  parser:option("--base-port", "Node k of a new cluster is at port BASE + 10 k, Redis' clients at "
    .. "the next one; the one after that is reserved (default: 7100).")
    :argname "BASE":convert(integer(1024, 65000))
  parser:option("--deadline", "How long the nodes may take (default: 20s)."):argname "TIME"
    :convert(units.parse_duration)
  target.add_options(parser)
  parser:epilog [[
What a node is told stands in DIR/n1/node.lua and so on, and may be edited. With PERILUNE_SECRET set, all that
is said to it afterwards needs the same secret.

Examples:
  perilune up
  perilune kv put greeting hello
  perilune kill leader && perilune kv get greeting
  perilune up -n 5 --dir /tmp/five --base-port 8100
  perilune down]]
  return parser
end

local function describe(up)
  local rows = {}
  for _, node in ipairs(up.folder.nodes) do
    rows[#rows + 1] = { "  " .. node.name, node.listen, "Redis' clients at " .. node.resp }
  end
  local what = ("%d nodes are up"):format(#up.folder.nodes)
  if #up.started == 0 and #up.resumed == 0 then
    what = what .. " already"
  elseif #up.started < #up.folder.nodes then
    local news = table.move(up.resumed, 1, #up.resumed, #up.started + 1, up.started)
    what = ("%s, of which %s had to be started"):format(what, table.concat(news, ", "))
  end
  return what .. "\n" .. output.table(rows)
end

---@param args table
---@return integer exit_code
function M.run(args)
  local dir = args.dir or target.default_dir()
  local up, err, code, trouble = processes.up { path = dir, count = args.nodes, base_port = args.base_port,
    deadline = args.deadline or DEADLINE }
  if not up then
    local hint
    if code == "EHELD" then
      hint = "another directory: --dir; more nodes: perilune add"
    elseif code == "ENOENT" then
      hint = false -- a directory that cannot be made
    end
    return target.not_ready("up", err, code, trouble, hint)
  end
  if args.json then
    output.json { dir = dir, started = require("perilune.json").array(up.started),
      resumed = require("perilune.json").array(up.resumed), nodes = up.folder.nodes }
  else
    io.stdout:write(describe(up), "\n")
  end
  return output.EXIT_OK
end

return M
