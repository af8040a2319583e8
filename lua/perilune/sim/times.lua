--- Durations of scenarios: seconds, or "10ms", "5s", "2m".
local units = require "perilune.units"

local M = {}

--- Reads a duration.
---@param value any
---@param what string  for messages: "sim:sleep"
---@param level? integer  whose line the error names, as for error
---@return number seconds
function M.seconds(value, what, level)
  local seconds, why = value, nil
  if type(value) == "string" then
    seconds, why = units.parse_duration(value)
  end
  if type(seconds) ~= "number" then
    error(("%s: %s"):format(what, why or ("a duration is a number of seconds or a text like 10ms, not a %s")
      :format(type(value))), (level or 1) + 1)
  elseif seconds ~= seconds or seconds < 0 then
    error(("%s: a duration cannot be negative: %s"):format(what, value), (level or 1) + 1)
  end
  return seconds
end

--- Reads a duration as whole microseconds.
---@param value any
---@param what string
---@param level? integer
---@return integer
function M.microseconds(value, what, level)
  return math.floor(M.seconds(value, what, (level or 1) + 1) * 1e6 + 0.5)
end

return M
