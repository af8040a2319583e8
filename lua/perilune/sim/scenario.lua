--- Scenario files: loads one and checks what it says.
local keys = require "perilune.keys"
local msgpack = require "perilune.msgpack"
local suggest = require "perilune.suggest"

local M = {}

local FIELDS = {
  about = "string", nodes = "table", run = "function", time = true, network = "table", disk = "table",
  clock = "table", process = "table", probes = "table", expect = "string",
}

--- Names what was probably meant: "did you mean loss?", or all there are.
---@param word string
---@param known table<string, any>
---@return string
function M.hint(word, known)
  return suggest.hint(word, keys.names(known))
end

local function check_functions(chunk, field, functions)
  for _, name in ipairs(keys.names(functions)) do
    if type(functions[name]) ~= "function" then
      return ("%s: %s.%s must be a function, not a %s"):format(chunk, field, name, type(functions[name]))
    end
  end
end

local function check_fields(chunk, scenario)
  for _, name in ipairs(keys.names(scenario)) do
    local want, value = FIELDS[name], scenario[name]
    if not want and name:sub(1, 1) ~= "_" then
      return ("%s: a scenario has no field %s; %s"):format(chunk, name, M.hint(name, FIELDS))
    elseif want and want ~= true and type(value) ~= want then
      return ("%s: %s must be a %s, not a %s"):format(chunk, name, want, type(value))
    end
  end
  if not scenario.run then
    return chunk .. ": the scenario has no function run(sim), which starts nodes and checks them"
  elseif scenario.expect and not pcall(string.find, "", scenario.expect) then
    return chunk .. ": expect is not a Lua pattern: " .. scenario.expect
  end
  return check_functions(chunk, "nodes", scenario.nodes or {})
    or check_functions(chunk, "probes", scenario.probes or {})
end

local function add_folder_to_path(path)
  local folder = path:match "^(.*)/[^/]*$" or "."
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
end

--- Runs the chunk of a scenario file in this state and gives its table. What the chunk raises passes through.
---@param info table  what the core says of this member: source, chunk, path
---@return table|nil scenario
---@return string? why
function M.load(info)
  local chunk, why = load(info.source, "@" .. info.chunk, "t")
  if not chunk then
    return nil, why
  end
  add_folder_to_path(info.path)
  _G.args = msgpack.decode(info.args)
  local scenario = chunk()
  if type(scenario) == "function" then
    scenario = { run = scenario }
  elseif type(scenario) ~= "table" then
    return nil, ("%s: a scenario returns a table with nodes and run, not a %s"):format(info.chunk,
      type(scenario))
  end
  why = check_fields(info.chunk, scenario)
  scenario.nodes = scenario.nodes or {}
  return not why and scenario or nil, why
end

return M
