--- Log lines on standard error: logfmt by default, JSON on request.
---
---     log.info("job done", { records = 21845, seconds = 1.5 })
---     time=2026-11-20T20:05:40.123456Z level=info msg="job done" records=21845 seconds=1.5
local core = require "perilune.core.log"
local json = require "perilune.json"

local M = {}

-- A field's text, and whether JSON shows it without quotes.
local function show(value)
  if math.type(value) == "integer" or type(value) == "boolean" then
    return tostring(value), true
  elseif type(value) == "number" or type(value) == "table" then
    local text = json.encode(value)
    if text then
      return text, type(value) == "number"
    end
  end
  return tostring(value), false
end

local function write(level, message, fields)
  if not core.is_on(level) then
    return
  end
  local keys, list = {}, {}
  for key in pairs(fields or {}) do
    keys[#keys + 1] = tostring(key)
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    if key ~= "component" then
      local text, is_literal = show(fields[key])
      list[#list + 1] = key
      list[#list + 1] = text
      list[#list + 1] = is_literal
    end
  end
  core.write(level, fields and fields.component, tostring(message), list)
end

--- Logs for somebody who looks for a fault. Dropped unless the level is "debug".
---@param message string
---@param fields? table<string, any>  written in the order of their names; component comes first
function M.debug(message, fields)
  write("debug", message, fields)
end

--- Logs what is good to know.
---@param message string
---@param fields? table<string, any>
function M.info(message, fields)
  write("info", message, fields)
end

--- Logs what somebody should look at.
---@param message string
---@param fields? table<string, any>
function M.warn(message, fields)
  write("warn", message, fields)
end

--- Logs a failure.
---@param message string
---@param fields? table<string, any>
function M.error(message, fields)
  write("error", message, fields)
end

--- The level below which lines are dropped; sets it when one is given.
---@param level? "debug"|"info"|"warn"|"error"
---@return string before
function M.level(level)
  return core.level(level)
end

--- The format of the lines; sets it when one is given.
---@param format? "logfmt"|"json"
---@return string before
function M.format(format)
  return core.format(format)
end

return M
