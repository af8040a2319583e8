-- How a run gives up: failures unwind as a table { message, code, ... } and are caught in one place.
local M = {}

--- Gives up.
---@param failure table  { message, code, hint, attempt_error, step, skipped, skip_limit }
function M.raise(failure)
  error(failure, 0)
end

--- Passes value on, or gives up with what came instead of it: message and code, or an attempt's error.
---@param value any
---@param err string|table|nil
---@param code string|nil
---@return any value
function M.check(value, err, code)
  if value ~= nil and value ~= false then
    return value
  elseif type(err) == "table" then
    M.raise(M.of_attempt(err))
  end
  M.raise { message = err, code = code }
end

-- What a task read, for messages.
local function input_of(task, stage)
  local map = task.kind == "map" and stage.maps[task.number]
  if not map or not map.input then
    return ""
  elseif not map.length then
    return (" (%s)"):format(map.input)
  end
  return (" (%s, %d bytes from offset %d)"):format(map.input, map.length, map.offset or 0)
end

-- A task whose workers were lost until it gave up: nothing of the job's own says why.
local function lost_workers(cause, stage)
  local task = cause.task
  return { code = cause.code, step = stage, attempt_error = cause.detail,
    message = ("%s task %d%s failed %d times; the last time %s"):format(task.kind, task.number,
      input_of(task, stage), task.failures, cause.message),
    hint = "when nobody has killed the workers, the system did, most often for lack of memory: see its log "
      .. "(dmesg), and try fewer --workers or less --memory" }
end

--- The failure that an attempt's error, or the cause that a coordinator names, stands for.
---@param err table
---@param stage table|nil  that the cause comes from
---@return table failure
function M.of_attempt(err, stage)
  if err.code == "EWORKER" and err.task then
    return lost_workers(err, stage)
  end
  return { message = err.message, code = err.code, attempt_error = err.detail or err, step = stage,
    skipped = err.skipped, skip_limit = err.skip_limit }
end

-- Bytes that may be anything, as a line.
local function shown(bytes)
  return (bytes:gsub("[%c\127-\255]", function(byte)
    return ("\\x%02x"):format(byte:byte())
  end))
end

--- Where a failed attempt stood: traceback, place in the input, record.
---@param failure table|nil
---@return string|nil lines
function M.details(failure)
  local err = failure and failure.attempt_error or {}
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
  if M.is_skippable(failure) and failure.skip_limit > 0 then
    lines[#lines + 1] = ("skipped before it: %d bad record%s, and the limit is %d"):format(failure.skipped,
      failure.skipped == 1 and "" or "s", failure.skip_limit)
  end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

local SKIPPABLE = { ELUA = true, EFORMAT = true, EINVAL = true, ETOOBIG = true }

--- Whether a record of the input is to blame, which --skip-records might have skipped.
---@param failure table|nil
---@return boolean
function M.is_skippable(failure)
  local err = failure and failure.attempt_error
  return err ~= nil and SKIPPABLE[failure.code] and failure.skip_limit and err.file and err.record
    and true or false
end

--- Calls a function that may give up.
---@param fn function
---@return any result        nil after a failure
---@return string|nil err
---@return string|nil code
---@return table|nil failure
function M.catch(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then
    return result
  elseif type(result) == "table" and result.message then
    return nil, result.message, result.code, result
  end
  error(result, 0)
end

return M
