-- The life of a worker process: one description in, one result out, until the parent is gone.
local log = require "perilune.log"
local msgpack = require "perilune.msgpack"
local task = require "perilune.mr_task"

local M = {}

local function send(message)
  task.send(msgpack.encode(message))
end

--- Answers one description; "describe" and "until" run no task.
---@param spec table
---@param is_reporting boolean  send progress frames meanwhile
---@return table message
function M.answer(spec, is_reporting)
  local result, err
  if spec.kind == "describe" then
    result, err = task.describe(spec)
  elseif spec.kind == "until" then
    result, err = task.ask(spec)
  else
    result, err = task.run(spec, is_reporting)
  end
  if err then
    return { type = "task_failed", error = err }
  end
  return { type = "task_done", result = result }
end

--- Serves the parent on standard input and output.
function M.serve()
  log.level "error" -- a task holds this process for as long as it runs: no news
  for bytes in task.receive do
    send(M.answer(msgpack.decode(bytes), true))
    collectgarbage()
  end
end

return M
