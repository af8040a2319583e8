--- Checks tables of options: one that is misspelt must not be ignored.
local keys = require "perilune.keys"
local units = require "perilune.units"

local M = {}

local function unknown(caller, name, known)
  local hint = require("perilune.suggest").hint(name, keys.names(known))
  return ("%s: unknown option %s; %s"):format(caller, name, hint)
end

local function is_wrong(name, value, known)
  local want = known[name]
  return math.type(name) ~= "integer" and (want == nil or want ~= true and type(value) ~= want)
end

local function raise_first(options, known, caller, level)
  for _, name in ipairs(keys.names(options)) do
    local want = known[name]
    if want == nil and not math.tointeger(name) then
      error(unknown(caller, name, known), level + 1)
    elseif want ~= nil and is_wrong(name, options[name], known) then
      error(("%s: option %s must be a %s, not a %s"):format(caller, name, want, type(options[name])),
        level + 1)
    end
  end
end

--- Raises unless all options are known and have the right type. Array items are not looked at.
---@param options any  nil stands for no options
---@param known table<string, string|true>  the type of each option; true allows any
---@param caller string  "fs.write"
---@param level? integer  whose line the error names, as for error; default 3, the caller's caller
---@return table options
function M.check(options, known, caller, level)
  level = level or 3
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    error(("%s: options must be a table, not a %s"):format(caller, type(options)), level)
  end
  for name, value in pairs(options) do
    if is_wrong(name, value, known) then
      raise_first(options, known, caller, level)
    end
  end
  return options
end

--- A duration that somebody gave: a number of seconds, or a text such as "50ms". Raises otherwise.
---@param caller string  "rpc.connect"
---@param name string  of the option
---@param value any
---@param low number  seconds, the least that is allowed
---@param high number
---@param level integer  whose line the error names, as for error
---@return number seconds
function M.seconds(caller, name, value, low, high, level)
  local seconds, problem = value, nil
  if type(value) == "string" then
    seconds, problem = units.parse_duration(value)
  elseif type(value) ~= "number" then
    problem = ("seconds or a text like 500ms, not a %s"):format(type(value))
  end
  if not problem and not (seconds >= low and seconds <= high) then
    problem = ("from %s to %s seconds, not %s"):format(low, high, value)
  end
  if problem then
    error(("%s: option %s: %s"):format(caller, name, problem), level)
  end
  return seconds
end

return M
