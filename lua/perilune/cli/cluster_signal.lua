--- perilune kill, pause and resume: what they have in common.
local json = require "perilune.json"
local output = require "perilune.cli.output"
local processes = require "perilune.cluster.processes"
local target = require "perilune.cli.cluster_target"

local M = {}

--- Makes one of these verbs.
---@param kind "kill"|"pause"|"resume"
---@param text { summary: string, about: string, done: string, examples: string }
---@return table verb
function M.verb(kind, text)
  local verb = { summary = text.summary, usage = ("perilune %s NODE"):format(kind) }

  function verb.parser(argparse)
    local parser = argparse("perilune " .. kind, text.about)
    parser:argument("node", "Names or numbers with commas between, or leader, followers, all.")
      :argname "NODE"
    target.add_options(parser)
    parser:epilog(text.examples)
    return parser
  end

  function verb.run(args)
    local folder, nodes, code = target.selected(args, args.node)
    if not folder then
      return target.fail(("%s %s"):format(kind, args.node), nodes, code)
    end
    local done, failed = {}, nil
    for _, node in ipairs(nodes) do
      local pid, err
      pid, err, code = processes.signal(folder, kind, node)
      if pid then
        done[#done + 1] = { name = node.name, pid = pid }
        if not args.json then
          io.stdout:write(("%s (process %d) %s\n"):format(node.name, pid, text.done))
        end
      elseif code ~= "ESRCH" or #nodes == 1 then -- of several, those are meant for which it can be done
        failed = failed or { err, code }
      end
    end
    if failed then
      return target.fail(("%s %s"):format(kind, args.node), failed[1], failed[2], "perilune ps shows them")
    elseif args.json then
      output.json { nodes = json.array(done) }
    elseif #done == 0 then
      io.stdout:write("there was nothing to do\n")
    end
    return output.EXIT_OK
  end

  return verb
end

return M
