--- The options of perilune node, which perilune config takes as well.
local config = require "perilune.cluster.config"

local M = {}

--- Adds them to a parser.
---@param parser table
function M.add(parser)
  parser:option("-c --config", "A file of Lua that returns a table of these."):argname "FILE"
  for _, field in ipairs(config.fields) do
    if field.is_secret then
      goto continue -- command lines are seen by everybody
    elseif field.argument then
      parser:option("--" .. field.name, field.about):argname(field.argument):convert(field.read)
    else
      parser:flag("--" .. field.name, field.about)
    end
    ::continue::
  end
end

--- What the command line, variables and the file say.
---@param args table
---@return table|nil values
---@return table<string, string>|string sources  or what is wrong
function M.read(args)
  return config.read(args, args.config)
end

return M
