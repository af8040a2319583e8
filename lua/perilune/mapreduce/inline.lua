-- An executor without processes: every task runs in this one, in the order it was assigned.
local worker = require "perilune.mapreduce.worker"

local Inline = {}
Inline.__index = Inline

---@return table executor
function Inline.start()
  return setmetatable({ queue = {}, is_ready = false }, Inline)
end

--- Runs the oldest assigned task and gives its outcome.
---@return table|nil event
function Inline:next()
  if not self.is_ready then
    self.is_ready = true
    return { type = "worker_ready", worker = 1 }
  end
  local spec = table.remove(self.queue, 1)
  if spec then
    local event = worker.answer(spec, false)
    event.worker = 1
    return event
  end
end

---@param _ integer
---@param spec table
function Inline:assign(_, spec)
  self.queue[#self.queue + 1] = spec
end

--- There is no process to end.
function Inline.kill() end

--- There is no process to end.
function Inline.stop() end

return Inline
