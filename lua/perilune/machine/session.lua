--- A client's session: commands that are sent again until they are answered, and happen once.
---
---   local session = assert(machine.session(group))
---   session:propose(command)
---
--- Instead of a group a function may be given that reaches one, as the propose of a group does: over rpc, to
--- one
--- server after the other. It gets "open", "shut" or "propose", an argument, and options.
local fiber = require "perilune.fiber"
local options_of = require "perilune.options"

local M = {}

local OPTIONS = { ttl = true, deadline = true, pause = "number" }
local TTL, DEADLINE, PAUSE = 600, 5, 0.05
local RETRIED = {
  ENOTLEADER = true, EBUSY = true, EFULL = true, EDEADLINE = true, EUNREACHABLE = true, EDISCONNECTED = true,
  EDOWN = true, ECLOSED = true,
}

---@class perilune.machine.Session
---@field id integer  ctx.client of its commands
local Session = {}
Session.__index = Session

local function asker(target)
  if type(target) == "function" then
    return target
  end
  return function(what, argument, options)
    if what == "open" then
      return target:open_session(argument, options)
    elseif what == "shut" then
      return target:shut_session(argument, options)
    end
    return target:propose(argument, options)
  end
end

-- Asks again while the answer is that there was none.
local function ask(self, what, argument, options)
  local due = fiber.now() + (options.deadline or self.deadline)
  while true do
    options.deadline = math.max(due - fiber.now(), 0.001)
    local result, err, code, details = self.ask(what, argument, options)
    if err == nil or not RETRIED[code] or fiber.now() + PAUSE >= due then
      return result, err, code, details
    end
    fiber.sleep(PAUSE)
  end
end

--- Opens a session, which ends when it was not used for ttl seconds.
---@param target perilune.raft.Group|fun(what: string, argument: any, options: table): any
---@param options? { ttl: number|string, deadline: number|string }  default 10 minutes; 5 s for each command
---@return perilune.machine.Session|nil session
---@return string? err
---@return string? code
function M.open(target, options)
  options = options_of.check(options, OPTIONS, "machine.session")
  local self = setmetatable({
    ask = asker(target), sequence = 0,
    deadline = options_of.seconds("machine.session", "deadline", options.deadline or DEADLINE, 0, 1e6, 3),
  }, Session)
  local ttl = options_of.seconds("machine.session", "ttl", options.ttl or TTL, 0.001, 1e9, 3)
  local id, err, code = ask(self, "open", ttl, {})
  if not id then
    return nil, err, code
  end
  self.id = id
  return self
end

--- Proposes a command, again and again until it is answered or the deadline passes; it happens once. One at a
--- time. nil, message, "ESESSION" when the session has ended. After "EDEADLINE" the same command can be given
--- to retry.
---@param command any  data
---@return any result
---@return string? err
---@return string? code
---@return table? details
function Session:propose(command)
  self.sequence = self.sequence + 1
  self.last = command
  return self:retry()
end

--- The last command once more: what it gave, or will give.
---@return any result
---@return string? err
---@return string? code
---@return table? details
function Session:retry()
  return ask(self, "propose", self.last, { session = self.id, sequence = self.sequence })
end

--- Ends it.
---@return true|nil, string? err, string? code
function Session:close()
  return ask(self, "shut", self.id, {})
end

return M
