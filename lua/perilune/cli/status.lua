--- perilune status: how a cluster stands, and what is not well.
local client = require "perilune.cluster.client"
local fiber = require "perilune.fiber"
local json = require "perilune.json"
local output = require "perilune.cli.output"
local target = require "perilune.cli.cluster_target"
local units = require "perilune.units"

local M = { summary = "show how a cluster stands, and what is not well" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune status", "Shows who leads and for how long, how each node stands, and "
    .. "what is not well: why, and what to do. Ends with 0 when somebody leads, else with 1.")
  target.add_options(parser, true)
  parser:epilog [[
lag counts the entries of the log that a node does not hold, heard is when its leader last heard it.

Examples:
  perilune status
  perilune status --json
  perilune status --at 10.0.0.1:7100,10.0.0.2:7100]]
  return parser
end

local function headline(view)
  if not view.leader then
    return output.paint("stdout", "red", "nobody leads")
  end
  return ("%s leads%s (term %d), %d voter%s%s"):format(view.leader,
    view.leads_for and " for " .. units.format_duration(view.leads_for) or "", view.term, view.voters,
    view.voters == 1 and "" or "s", view.revision and ", revision " .. view.revision or "")
end

local function show(view)
  local rows = { { "node", "role", "member", "lag", "heard", "disk", "address" } }
  for i, node in ipairs(view.nodes) do
    local process = node.process ~= "running" and node.process or nil
    rows[i + 1] = { node.name, node.answers and node.role or process or "silent", node.is or "-",
      node.lag or "-", node.heard and units.format_duration(node.heard) or "-",
      node.disk and units.format_size(node.disk) or "-", node.address or "-" }
  end
  io.stdout:write(headline(view), "\n", output.table(rows, { [4] = true, [5] = true, [6] = true }), "\n")
  for _, problem in ipairs(view.problems) do
    io.stdout:write(output.paint("stdout", "yellow", "! "), problem.node and problem.node .. " " or "",
      problem.what, "\n")
    if problem.todo then
      io.stdout:write("    ", problem.todo, "\n")
    end
  end
end

---@param args table
---@return integer exit_code
function M.run(args)
  local addresses, folder, code = target.addresses(args)
  if not addresses then
    return target.fail("status", folder, code)
  end
  local locals, answers = {}
  if folder then
    for i, node in ipairs(folder.nodes) do
      local state, pid = folder:state(node)
      local lives = state == "running" or state == "paused"
      locals[i] = { id = node.id, name = node.name, address = node.listen, resp = node.resp,
        process = state, pid = lives and pid or nil }
    end
    answers = client.ask(addresses)
  else
    answers = client.ask_all(addresses)
  end
  local view = require("perilune.cluster.view").make(answers, locals, fiber.wall())
  if not folder and #view.nodes == 0 then
    return target.fail("status", ("no node answers; %s"):format(answers[1].err), "EUNREACHABLE")
  end
  if args.json then
    view.problems = json.array(view.problems)
    output.json(view)
  else
    show(view)
  end
  return view.leader and output.EXIT_OK or output.EXIT_FAILURE
end

return M
