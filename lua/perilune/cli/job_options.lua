--- What the verbs that run jobs share: arguments of the job, and how its failure is reported.
local output = require "perilune.cli.output"

local M = {}

--- Reads NAME=VALUE, for --arg.
---@param text string
---@return string[]|nil pair
---@return string|nil err
function M.read_argument(text)
  local name, value = text:match("^([%a_][%w_]*)=(.*)$")
  if not name then
    return nil, ("'%s' is not NAME=VALUE"):format(text)
  end
  return { name, value }
end

--- The table of all --arg options; the last of a name wins.
---@param pairs_given string[][]|nil
---@return table<string, string>
function M.collect(pairs_given)
  local collected = {}
  for _, pair in ipairs(pairs_given or {}) do
    collected[pair[1]] = pair[2]
  end
  return collected
end

local HINTS = {
  ENOSPC = "free some space, or put OUT on another disk",
  EMEMORY = "raise --memory, or keep less in Lua variables",
}

-- Bytes that may be anything, as a line.
local function shown(bytes)
  return (bytes:gsub("[%c\127-\255]", function(byte)
    return ("\\x%02x"):format(byte:byte())
  end))
end

-- Where a failed attempt stood, as lines below the message.
local function details(err)
  local lines = { err.traceback }
  if err.file then
    lines[#lines + 1] = ("input: %s, %soffset %d"):format(err.file,
      err.line and ("line %d, "):format(err.line) or "", err.offset)
  end
  if err.record then
    local cut = err.record_size > #err.record
    lines[#lines + 1] = ("%s: %s%s"):format(err.file and "record" or "key", shown(err.record),
      cut and (" ... (%d bytes)"):format(err.record_size) or "")
  end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

--- Reports a failed job and returns the exit code.
---@param what string
---@param message string
---@param code string|nil
---@param failure table|nil  as perilune.mapreduce.run gives it
---@return integer exit_code
function M.report(what, message, code, failure)
  failure = failure or {}
  return output.fail { what = what, why = message, code = code, hint = failure.hint or HINTS[code],
    detail = details(failure.attempt_error or {}) }
end

return M
