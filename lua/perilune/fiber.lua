--- Fibers: Lua code that waits without holding up the rest.
---
--- Between two calls that wait (sleep, recv, join, ...) a fiber is atomic towards the other fibers of its
--- program. Time and randomness come from here, so that a simulated run can replay them.
local channel = require "perilune.core.channel"
local core = require "perilune.core.fiber"
local options_of = require "perilune.options"

-- What C does alone is not wrapped here: its errors then name the line of the caller.
local M = {}

---@class perilune.Fiber
---@field join fun(self: perilune.Fiber): true|nil, any, string?  true and results, or nil, error, code
---@field cancel fun(self: perilune.Fiber, reason?: string)  ends it; no pcall can catch that
---@field name fun(self: perilune.Fiber): string
---@field id fun(self: perilune.Fiber): integer
---@field status fun(self: perilune.Fiber): "ready"|"running"|"waiting"|"done"|"failed"|"cancelled"
---@field traceback fun(self: perilune.Fiber): string?  of a failed fiber, or where a live one stands
---@field info fun(self: perilune.Fiber): perilune.FiberInfo

---@class perilune.FiberInfo
---@field id integer
---@field name string
---@field status string
---@field cpu number  seconds that it ran
---@field switches integer  how often it was given the baton
---@field parent? integer  id of the fiber that spawned it
---@field age? number  seconds since it was spawned; absent when it has ended
---@field where? string  the line where it stands
---@field waits_for? string  the operation that it waits for

---@class perilune.SpawnOptions
---@field name? string  default: the function's source line
---@field preemptible? boolean  gives the baton away at the end of each slice
---@field detached? boolean  is not cancelled with its parent, and does not keep a script alive
---@field deadline? number  seconds after which it is cancelled
---@field cpu_deadline? number|false  seconds that it may run without waiting; default 30

---@class perilune.Channel
---@field send fun(self: perilune.Channel, value: any): true|nil, string?, string?  waits while full
---@field recv fun(self: perilune.Channel): any, string?, string?  waits; nil, err, code at the end
---@field try_send fun(self: perilune.Channel, value: any): true|nil, string?, string?  EBUSY when full
---@field try_recv fun(self: perilune.Channel): any, string?, string?  EBUSY when empty
---@field values fun(self: perilune.Channel): function, perilune.Channel  ends at nil
---@field close fun(self: perilune.Channel)  senders and, once it is empty, receivers get ECLOSED
---@field is_closed fun(self: perilune.Channel): boolean
---@field len fun(self: perilune.Channel): integer  values that wait in it

local SPAWN_OPTIONS = {
  name = "string", preemptible = true, detached = true, inherit = true, deadline = "number",
  cpu_deadline = true,
}

--- Starts a fiber: spawn(fn, ...) or spawn(options, fn, ...).
---@param options_or_fn perilune.SpawnOptions|function
---@param ... any  the function's arguments
---@return perilune.Fiber fiber
function M.spawn(options_or_fn, ...)
  local fn = options_or_fn
  if type(options_or_fn) == "table" then
    options_of.check(options_or_fn, SPAWN_OPTIONS, "spawn")
    fn = ...
  end
  if type(fn) ~= "function" then
    error(("spawn: a function to run is missing, there is a %s"):format(type(fn)), 2)
  end
  return core.spawn(options_or_fn, ...)
end

--- Waits for fibers. With one it returns what fiber:join does; with several, true when all have
--- returned, else the failure of the first of them that failed.
---@param fiber perilune.Fiber
---@param ... perilune.Fiber
---@return true|nil ok
---@return any result_or_err
---@return string|nil code
function M.join(fiber, ...)
  if select("#", ...) == 0 then
    return fiber:join()
  end
  local fibers = { fiber, ... }
  for _, each in ipairs(fibers) do
    core.expect(each)
  end
  local failure
  for _, each in ipairs(fibers) do
    local ok, err, code = each:join()
    if not ok and not failure then
      failure = { err, code }
    end
  end
  if failure then
    return nil, failure[1], failure[2]
  end
  return true
end

--- Ends a fiber and the fibers that it spawned; no pcall can catch that, __close handlers run.
---@param fiber perilune.Fiber
---@param reason? string
function M.cancel(fiber, reason)
  fiber:cancel(reason)
end

-- What a fiber's join gave, as the call itself would have ended.
local function unwrap(ok, ...)
  if ok then
    return ...
  end
  local err, code = ...
  if code == "ELUA" then
    error(err, 0)
  end
  return nil, err, code
end

--- Calls fn(...) and gives up after some seconds. Returns what fn returns, or nil, err, "EDEADLINE";
--- what fn raises is raised. Everything that fn has spawned is cancelled with it.
---@param seconds number
---@param fn function
---@param ... any
---@return any
function M.deadline(seconds, fn, ...)
  if math.type(seconds) == nil or type(fn) ~= "function" then
    error("deadline: seconds and a function, as in deadline(5, fn)", 2)
  end
  local name = ("%s (deadline %gs)"):format(core.self():name(), seconds)
  return unwrap(core.spawn({ name = name, deadline = seconds, inherit = true }, fn, ...):join())
end

--- The fiber that runs.
---@type fun(): perilune.Fiber
M.self = core.self

--- All fibers that have not ended, oldest first.
---@type fun(): perilune.Fiber[]
M.fibers = core.fibers

--- Waits until the fibers that this one has spawned, and those spawned by them, have ended; detached
--- fibers do not count.
function M.settle()
  local child = core.child()
  while child do
    core.await(child)
    child = core.child()
  end
end

--- How many fibers have failed so far without anybody joining them; each was logged when it failed.
---@type fun(): integer
M.lost = core.lost

--- Waits for some seconds.
---@type fun(seconds: number)
M.sleep = core.sleep

--- Lets the other fibers that are ready run first.
---@type fun()
M.yield = core.yield

--- The monotonic clock.
---@type fun(): number
M.now = core.now

--- The wall clock: seconds since 1970-01-01 UTC. It may jump.
---@type fun(): number
M.wall = core.wall

--- Like math.random, from the environment's generator: random() in [0, 1), random(m), random(m, n).
---@type fun(m?: integer, n?: integer): number
M.random = core.random

--- Calls fn(...); a preemptible fiber keeps the baton meanwhile, for one second at most.
---@type fun(fn: function, ...: any): any
M.atomic = core.atomic

--- How often a fiber of this program was interrupted at the end of a slice.
---@type fun(): integer
M.preemptions = core.preemptions

--- Creates a channel. Without capacity a sender waits until a receiver takes the value.
---@type fun(capacity?: integer): perilune.Channel
M.channel = channel.channel

local SELECT_OPTIONS = { timeout = "number", default = true }

--- Waits for the first of several channel operations that can be done:
--- select{ {ch, "recv"}, {ch2, "send", value}, timeout = seconds, default = true }.
--- Returns the index of the case and what the operation returned; 0 when nothing was ready and a
--- default was asked for; nil, err, "EDEADLINE" after the timeout.
---@param cases table
---@return integer|nil index
---@return any
function M.select(cases)
  options_of.check(cases, SELECT_OPTIONS, "select")
  return channel.select(cases)
end

--- Calls fn(...) once, after some seconds, in a fiber of its own; cancel that fiber to call it off.
---@param seconds number
---@param fn function
---@param ... any
---@return perilune.Fiber
function M.timer(seconds, fn, ...)
  return core.spawn({ name = "timer" }, function(...)
    core.sleep(seconds)
    fn(...)
  end, ...)
end

--- Calls fn(...) every so many seconds, in a fiber of its own, until that is cancelled. Beats that fall
--- into a call that takes longer are left out.
---@param seconds number
---@param fn function
---@param ... any
---@return perilune.Fiber
function M.every(seconds, fn, ...)
  assert(seconds > 0, "every: a number of seconds above 0")
  return core.spawn({ name = "every" }, function(...)
    local due = core.now() + seconds
    while true do
      core.sleep(math.max(0, due - core.now()))
      fn(...)
      due = math.max(due + seconds, core.now())
    end
  end, ...)
end

return M
