--- perilune help: the verbs, or one of them.
local output = require "perilune.cli.output"
local suggest = require "perilune.suggest"
local verbs = require "perilune.cli.verbs"

local M = { summary = "show this page, or the page of a verb" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune help", "Shows the verbs, or the page of one verb.")
  parser:argument "verb":args "?":argname "VERB":description "Whose page to show.".completes = verbs.names
  parser:epilog "Examples:\n  perilune help\n  perilune help mr"
  return parser
end

local function overview()
  local heading = function(text)
    return output.paint("stdout", "bold", text)
  end
  local rows = {}
  for _, name in ipairs(verbs.names) do
    rows[#rows + 1] = { "  " .. name, verbs.load(name).summary }
  end
  local options = {
    { "  -h, --help", "Show help and exit; also behind a verb." },
    { "  -V, --version", "Print the version and exit." },
  }
  for _, option in ipairs(verbs.global_options) do
    options[#options + 1] = { ("  %s %s"):format(option.flag, option.argument), option.description }
  end
  return table.concat({
    "Usage: perilune [options] VERB ...\n       perilune SCRIPT.lua [argument...]",
    "MapReduce, fibers and distributed-systems experiments in Lua.",
    heading "Verbs:" .. "\n" .. output.table(rows),
    heading "Options:" .. "\n" .. output.table(options),
    heading "Examples:" .. [[

  perilune mr examples/jobs/wordcount.lua examples/data/*.txt -o counts
  perilune run script.lua
  perilune test tests/spec
  eval "$(perilune completion bash)"]],
    "Exit codes: 0 done, 1 failed, 2 wrong command line, 128+N ended by signal N.\n"
      .. "Options may also come from PERILUNE_COLOR, PERILUNE_LOG_LEVEL and so on; flags win.",
  }, "\n\n")
end

---@param args { verb?: string }
---@return integer exit_code
function M.run(args)
  if not args.verb then
    io.stdout:write(overview(), "\n")
    return output.EXIT_OK
  end
  for _, name in ipairs(verbs.names) do
    if name == args.verb then
      local _, exit_code = verbs.parse(name, { parser = verbs.load(name).parser }, { "--help" })
      return exit_code
    end
  end
  local near = suggest.nearest(args.verb, verbs.names)
  return output.usage_error("help " .. args.verb, "unknown verb",
    near and ("did you mean 'perilune help %s'?"):format(near) or "see 'perilune help' for the verbs")
end

return M
