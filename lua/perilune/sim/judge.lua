--- What a controller waits for, draws and judges: part of perilune.sim.Controller.
local core = require "perilune.core.sim"
local perilune = require "perilune"
local times = require "perilune.sim.times"
local values = require "perilune.sim.values"

---@class perilune.sim.Judge
local Judge = {}

local CHECK_STEPS = 20000000 -- of the checker: effort, not time, so that a seed's verdict is always the same

--- Waits.
---@param duration number|string
function Judge:sleep(duration) -- luacheck: ignore 212
  perilune.sleep(times.seconds(duration, "sim:sleep", 2))
end

--- Virtual seconds since the start of the run.
---@return number
function Judge:now() -- luacheck: ignore 212
  return core.now() / 1e6
end

--- Calls fn(...) once, later, in a fiber of its own; gives the fiber.
---@param duration number|string
---@param fn function
---@param ... any
---@return perilune.Fiber
function Judge:after(duration, fn, ...) -- luacheck: ignore 212
  return perilune.timer(times.seconds(duration, "sim:after", 2), fn, ...)
end

--- Calls fn(...) again and again; gives the fiber, to cancel.
---@param duration number|string
---@param fn function
---@param ... any
---@return perilune.Fiber
function Judge:every(duration, fn, ...) -- luacheck: ignore 212
  return perilune.every(times.seconds(duration, "sim:every", 2), fn, ...)
end

--- Asks predicate() again and again until it is true; gives what it gave.
---@param predicate fun(): any
---@param timeout? number|string  default "60s"
---@param step? number|string     default "10ms"
---@return any|nil value  or nil, message, "EDEADLINE"
---@return string? err
---@return string? code
function Judge:wait_until(predicate, timeout, step)
  local limit = self:now() + times.seconds(timeout or 60, "sim:wait_until", 2)
  local pause = times.seconds(step or 0.01, "sim:wait_until", 2)
  repeat
    local value = predicate()
    if value then
      return value
    end
    perilune.sleep(pause)
  until self:now() >= limit
  return nil, ("it has not become true within %s"):format(timeout or "60s"), "EDEADLINE"
end

--- Like math.random, from the world's stream of the workload: a draw more in a node's own code shifts
--- nothing here.
---@param low? integer
---@param high? integer
---@return number
function Judge:random(low, high) -- luacheck: ignore 212
  local bits = core.random()
  if not low then
    return (bits >> 10) * 0x1p-53
  elseif not high then
    low, high = 1, low
  end
  if math.type(low) ~= "integer" or math.type(high) ~= "integer" or low > high then
    error("sim:random: two integers, the smaller first", 2)
  end
  return low + bits % (high - low + 1)
end

--- True with the probability.
---@param probability number
---@return boolean
function Judge:chance(probability)
  return self:random() < probability
end

--- One item of a list.
---@param list any[]
---@return any
function Judge:pick(list)
  if #list == 0 then
    error("sim:pick: the list is empty", 2)
  end
  return list[self:random(#list)]
end

--- The items of a list in a random order, as a new list.
---@param list any[]
---@return any[]
function Judge:shuffle(list)
  local items = table.move(list, 1, #list, 1, {})
  for index = #items, 2, -1 do
    local other = self:random(index)
    items[index], items[other] = items[other], items[index]
  end
  return items
end

--- Writes a line into the trace.
---@param message string
---@param fields? table
function Judge:log(message, fields) -- luacheck: ignore 212
  core.note(values.line(message, fields))
end

--- Ends the run as failed.
---@param message string
function Judge:fail(message) -- luacheck: ignore 212
  core.fail("controller", tostring(message))
end

--- Ends the run as failed unless condition is true; gives its arguments.
---@param condition any
---@param message? string
---@return any ...
function Judge:assert(condition, message, ...)
  if not condition then
    local where = debug.getinfo(2, "Sl")
    self:fail(("%s:%d: %s"):format(where.short_src, where.currentline, message or "assertion failed"))
  end
  return condition, message, ...
end

--- What clients have recorded through perilune.history, in the one order of the world.
---@return table[] events
function Judge:history() -- luacheck: ignore 212
  return values.unpack_list(core.history())
end

--- Judges the history by a model: "register", "kv", ..., or a table (perilune.check). The run fails when it
--- is not linearizable, or when that cannot be decided.
---@param model string|table
---@param options? table  of check.linearizable
---@return table verdict
function Judge:check(model, options)
  local check = require "perilune.check"
  local settings = { steps = CHECK_STEPS }
  for name, value in pairs(options or {}) do
    settings[name] = value
  end
  local ok, verdict, err = pcall(check.linearizable, self:history(), model, settings)
  if not ok or not verdict then
    local why = tostring(verdict or err):gsub("^perilune/[%w_/]+%.lua:%d+: ", "", 1)
    error("sim:check: " .. why:gsub("^check%.linearizable: ", "", 1), 2)
  elseif not verdict.ok then
    core.fail(verdict.ok == nil and "undecided" or "check", check.text(verdict))
  end
  return verdict
end

--- What has happened so far: events, messages (sent, delivered, lost, ...), operations.
---@return table<string, integer>
function Judge:stats() -- luacheck: ignore 212
  return core.stats()
end

return Judge
