--- What the verbs that run jobs share: arguments of the job, and how its failure is reported.
local failures = require "perilune.mapreduce.failure"
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
  EMEMORY = "raise --memory, of which Lua gets a part, or keep less in Lua variables",
  EDEADLINE = "is there a loop that does not end? timeout = \"5min\" in the job allows more for one record",
}

-- What people expect of a job that the sandbox does not have.
local SANDBOX_HINTS = {
  { "%(global 'io'%)", "a job reads files through side = { name = \"path\" } and writes with out:to; "
    .. "--trusted allows io" },
  { "%(global 'os'%)", "a job has no clock and no environment, but --arg NAME=VALUE; --trusted allows os" },
  { "module 'perilune%.?[%w_.]*' not found", "jobs have no fibers, files or processes; scripts do: "
    .. "perilune run SCRIPT.lua" },
  { "there is no global '", "in a job file, a function stands above the line that names it" },
  { "unexpected symbol near '{'", "a job file begins with return: return { map = ... }" },
}

local function hint_of(message, code, failure)
  for _, hint in ipairs(SANDBOX_HINTS) do
    if message:find(hint[1]) then
      return hint[2]
    end
  end
  -- A map that takes not even the first record has a mistake; one that took some may have met a bad one.
  local is_skippable = failures.is_skippable(failure) and failure.skip_limit == 0
    and failure.attempt_error.offset > 0
  return HINTS[code] or is_skippable and "where bad records are to be expected, --skip-records N leaves out "
    .. "at most N of them, and lists them in OUT" or nil
end

--- Reports a failed job and returns the exit code.
---@param verb string  "mr"
---@param job string   path of the job file; it is told once when the message begins with it
---@param message string
---@param code string|nil
---@param failure table|nil  as perilune.mapreduce.run gives it
---@return integer exit_code
function M.report(verb, job, message, code, failure)
  failure = failure or {}
  local is_named = message:sub(1, #job + 1) == job .. ":"
  return output.fail { what = is_named and verb or verb .. " " .. job, why = message, code = code,
    hint = failure.hint or hint_of(message, code, failure), detail = failures.details(failure) }
end

return M
