-- How a run gives up: failures unwind as a table { message, code, ... } and are caught in one place.
local M = {}

--- Gives up.
---@param failure table  { message, code, hint, attempt_error, step }
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

--- The failure that an attempt's error, or the cause that a coordinator names, stands for.
---@param err table
---@param step table|nil
---@return table failure
function M.of_attempt(err, step)
  return { message = err.message, code = err.code, attempt_error = err.detail or err, step = step }
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
