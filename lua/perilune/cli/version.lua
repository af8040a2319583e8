--- perilune version: what this binary is made of.
local output = require "perilune.cli.output"

local M = { summary = "print the version of Perilune and of the libraries in it" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune version", "Prints the version of Perilune and of its libraries.")
  parser:flag "--json":description "Print one JSON object."
  parser:epilog "Examples:\n  perilune version\n  perilune version --json"
  return parser
end

---@param args { json?: boolean }
---@return integer exit_code
function M.run(args)
  local build = require "perilune.build"
  if args.json then
    output.json(build)
    return output.EXIT_OK
  end
  local libraries = {}
  for name in pairs(build.libraries) do
    libraries[#libraries + 1] = name
  end
  table.sort(libraries)
  for index, name in ipairs(libraries) do
    libraries[index] = name .. " " .. build.libraries[name]
  end
  io.stdout:write(("perilune %s (%s, %s)\n%s\n"):format(
    build.version, build.git, build.build_type, table.concat(libraries, ", ")))
  return output.EXIT_OK
end

return M
