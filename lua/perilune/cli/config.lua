--- perilune config: what a node would be told, and by whom.
local config = require "perilune.cluster.config"
local node_options = require "perilune.cli.node_options"
local output = require "perilune.cli.output"

local M = { summary = "show what a node is told, and by whom" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune config", "Shows what perilune node would be told by the same options: "
    .. "each value, and where it comes from. Defaults come first, then the file, then PERILUNE_ID and its "
    .. "like, then flags; the later wins. Nothing is started.")
  parser:flag("--effective", "Show what holds (the default, and all that there is).")
  node_options.add(parser)
  parser:flag("--json", "Print one JSON object: { NAME: { value, source } }.")
  parser:epilog [[
Examples:
  perilune config --effective --config node.lua
  PERILUNE_LISTEN=127.0.0.1:7200 perilune config --config node.lua --id 2 --json]]
  return parser
end

local function shown(field, value)
  if value == nil then
    return "-"
  elseif field.is_secret then
    return ("(%d bytes)"):format(#value)
  elseif type(value) == "table" then
    return table.concat(value, ",")
  end
  return tostring(value)
end

---@param args table
---@return integer exit_code
function M.run(args)
  local values, sources = node_options.read(args)
  if not values then
    return output.usage_error("config", sources)
  end
  local rows, object = { { "name", "value", "source" } }, {}
  for _, field in ipairs(config.fields) do
    local key = config.key(field)
    local text = shown(field, values[key])
    rows[#rows + 1] = { key, text, sources[key] }
    local value = values[key]
    if field.is_secret then
      value = value and text
    end
    object[key] = { value = value, source = sources[key] }
  end
  if args.json then
    output.json(object)
  else
    io.stdout:write(output.table(rows), "\n")
  end
  return output.EXIT_OK
end

return M
