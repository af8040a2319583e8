--- What stands in the log for a machine in a file (runtime/vm/machine_entry.h).
local fiber = require "perilune.fiber"
local msgpack = require "perilune.msgpack"

local M = {}

local FORMAT = 1

--- Kinds of entries.
M.COMMAND, M.OPEN, M.SHUT, M.TRY, M.UPGRADE, M.PREPARE, M.DECIDE = 0, 1, 2, 3, 4, 5, 6

--- The bytes of an entry. Its time and the seed of its random numbers are drawn here, unless given.
---@param kind integer
---@param body string
---@param given? { now: number?, seed: integer?, session: integer?, sequence: integer? }
---@return string bytes
function M.encode(kind, body, given)
  given = given or {}
  local now_us = math.floor((given.now or fiber.wall()) * 1e6)
  local seed = given.seed or fiber.random(0, math.maxinteger)
  return (msgpack.encode { FORMAT, kind, now_us, seed, given.session or 0, given.sequence or 0, body })
end

--- An argument as bytes; misuse raises, and names the line of who called the method that calls this.
---@param caller string  "group:propose"
---@param what string  "command"
---@param value any
---@return string
function M.argument(caller, what, value)
  local bytes, err = msgpack.encode(value, { name = what })
  if not bytes then
    error(("%s: %s"):format(caller, err), 3)
  end
  return bytes
end

--- The body of OPEN.
---@param seconds number
---@return string
function M.ttl(seconds)
  return (msgpack.encode(math.max(1, math.floor(seconds * 1e6))))
end

--- The body of TRY, UPGRADE and PREPARE.
---@param program perilune.machine.Program
---@param seconds? number  of PREPARE: after which it lapses
---@return string
function M.program(program, seconds)
  return (msgpack.encode { program.name, program.text, seconds and math.floor(seconds * 1e6) })
end

--- The body of DECIDE.
---@param index integer  of the PREPARE
---@param commit boolean
---@return string
function M.decision(index, commit)
  return (msgpack.encode { index, commit })
end

return M
