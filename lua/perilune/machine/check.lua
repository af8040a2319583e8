--- Runs a machine on replicas whose histories differ, and looks whether they stay equal:
---   first      applies one command after the other
---   restarted  now and then is thrown away and begins again from its own snapshot; it runs in the
---              shortest slices
---   rejoined   comes late, again and again, from a snapshot of the first
--- They are compared after each command: result, error, hash; and their states wherever one was restored.
local commands_of = require "perilune.machine.commands"
local core = require "perilune.core.machine"
local entry = require "perilune.machine.entry"
local fiber = require "perilune.fiber"
local msgpack = require "perilune.msgpack"

local M = {}

local RESTART, REJOIN = 7, 31 -- in so many commands, one time
local SPENT_MAX = 100e6 -- instructions, by commands that spend their budget: that takes long

---@class perilune.machine.CheckResult
---@field ok boolean
---@field commands integer  that were applied
---@field done integer  that had an effect or at least no error
---@field refused integer  that raised
---@field spent integer  whose budget was spent; after spent_max instructions (100 million) the check ends
---@field errors { text: string, count: integer }[]  what was raised most
---@field restores integer
---@field samples integer  commands that the file gives
---@field index? integer  of the first command after which something differs
---@field why? string  what differs
---@field command? any
---@field replicas? { name: string, result: any, err: string|nil, state: any }[]  the first two that differ

-- A generator of its own, so that a seed means the same everywhere (splitmix64).
local function generator(seed)
  local state = seed
  return function(low, high)
    if not high then
      low, high = 1, low
    end
    state = state + 0x9e3779b97f4a7c15
    local z = state
    z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
    z = (z ~ (z >> 27)) * 0x94d049bb133111eb
    return low + ((z ~ (z >> 31)) >> 1) % (high - low + 1)
  end
end

local Replica = {}
Replica.__index = Replica

-- A replica at the beginning, or from a snapshot; or nil, message.
local function open(program, name, slice, snapshot)
  local box, err = core.open(program.text, program.name, program.memory, slice)
  if not box then
    return nil, err
  end
  local done
  if snapshot then
    done, err = box:restore(snapshot)
  else
    done, err = box:init()
  end
  return done and setmetatable({ core = box, name = name, slice = slice, program = program }, Replica), err
end

--- Applies an entry, and keeps what came of it.
---@param bytes string
---@param index integer
function Replica:apply(bytes, index)
  local result, err, code = self.core:apply(bytes, index)
  self.result, self.err, self.code = result, err, code
end

--- The state as MessagePack.
---@return string
function Replica:state()
  return assert(self.core:state())
end

--- Begins again from a snapshot. Returns what is wrong with that.
---@param snapshot string
---@param state string  that it has to give
---@param whose string  "the first replica": who took it
---@return string|nil why
function Replica:restore(snapshot, state, whose)
  local again, err = open(self.program, self.name, self.slice, snapshot)
  if not again then
    return ("the snapshot of %s cannot be restored: %s"):format(whose, err)
  end
  self.core:close()
  self.core = again.core
  if self:state() ~= state then
    return ("restore gives another state than that of which %s took the snapshot"):format(whose)
  end
end

local function describe(replica)
  return {
    name = replica.name, result = replica.result and (msgpack.decode(replica.result)), err = replica.err,
    state = (msgpack.decode((replica:state()))),
  }
end

local function difference(a, b)
  if a.err ~= b.err then
    return "one has another error"
  elseif a.result ~= b.result then
    return "one has another result"
  elseif a.core:info().hash ~= b.core:info().hash then
    return "they have written something else"
  end
end

local function count(report, replica, errors)
  if replica.code == "ECPU" then
    report.spent = report.spent + 1
  elseif replica.err then
    report.refused = report.refused + 1
    local place, why = replica.err:match "^(%S+:%d+: )(.*)$" -- numbers of the place stay
    local text = ((place or "") .. (why or replica.err):gsub("%d+", "N")):sub(1, 100)
    errors[text] = (errors[text] or 0) + 1
  else
    report.done = report.done + 1
  end
end

local function list_errors(errors)
  local list = {}
  for text, number in pairs(errors) do
    list[#list + 1] = { text = text, count = number }
  end
  table.sort(list, function(a, b)
    if a.count ~= b.count then
      return a.count > b.count
    end
    return a.text < b.text
  end)
  return list
end

-- Restarts and rejoins that are due after the command. Returns what is wrong, and whose.
local function restore_some(report, first, restarted, rejoined, random)
  if random(RESTART) == 1 then
    report.restores = report.restores + 1
    local snapshot, err = restarted.core:snapshot()
    if not snapshot then
      return "no snapshot can be taken: " .. err, restarted
    end
    local before = describe(restarted)
    before.name = "before the restart"
    local why = restarted:restore(snapshot, restarted:state(), "the restarted replica")
    if why then
      return why, restarted, before
    end
  end
  if random(REJOIN) == 1 then
    report.restores = report.restores + 1
    return rejoined:restore(assert(first.core:snapshot()), first:state(), "the first replica"), rejoined
  end
end

local function fail(report, why, index, command, a, b)
  report.ok, report.why, report.index, report.command = false, why, index, command
  report.replicas = { a.core and describe(a) or a, describe(b) }
  return report
end

--- Applies random commands to replicas of a machine.
---@param program perilune.machine.Program
---@param options { commands: integer, seed: integer, spent_max: number? }  spent_max: instructions
---@return perilune.machine.CheckResult|nil result
---@return string? err  init raises
---@return string? code  "ELUA"
function M.run(program, options)
  local random = generator(options.seed)
  local report = { ok = true, commands = 0, done = 0, refused = 0, spent = 0, restores = 0 }
  local replicas = {}
  for i, name in ipairs { "first", "restarted", "rejoined" } do
    local replica, err = open(program, name, i == 2 and 1 or 0)
    if not replica then
      return nil, err, "ELUA"
    end
    replicas[i] = replica
  end
  local first, restarted, rejoined = table.unpack(replicas)
  local samples = msgpack.decode((assert(first.core:samples())))
  local commands = commands_of.of(program.text, samples, random)
  report.samples = samples and #samples or 0
  local errors, now, spent = {}, 1e9, 0
  for index = 1, options.commands do
    fiber.yield() -- commands that spend their budgets take long, and the program may be asked to end
    local command = commands:next()
    now = now + random(0, 2000) / 1000
    local body = assert(msgpack.encode(command))
    local bytes = entry.encode(entry.COMMAND, body,
      { now = now, seed = random(1 << 60), session = random(5) })
    local before = first:state()
    for _, replica in ipairs(replicas) do
      replica:apply(bytes, index)
    end
    report.commands = index
    spent = spent + (first.code == "ECPU" and first.core:info().used or 0)
    count(report, first, errors)
    for i = 2, #replicas do
      local why = difference(first, replicas[i])
      if why then
        return fail(report, why, index, command, first, replicas[i])
      end
    end
    if first.err and first:state() ~= before then
      return fail(report, "a command that failed has changed the state", index, command, first, first)
    end
    if spent >= (options.spent_max or SPENT_MAX) then
      break
    end
    local why, whose, other = restore_some(report, first, restarted, rejoined, random)
    if why then
      return fail(report, why, index, command, other or first, whose)
    end
  end
  report.errors = list_errors(errors)
  for _, replica in ipairs(replicas) do
    replica.core:close()
  end
  return report
end

return M
