--- Replicated machines in Lua files.
---
---   -- counter.lua
---   return {
---     init = function() return { count = 0 } end,
---     apply = function(state, command) state.count = state.count + command return state.count end,
---     query = function(state) return state.count end,
---   }
---
---   local group = raft.group { id = 1, members = members, machine = machine.load "counter.lua" }
---   group:propose(5)
---
--- With store = true in the file the state is ctx.store: ordered keys on disk.
---
--- The file runs in a sandbox in which replicas cannot differ; a command that raises, or spends its budget,
--- has no effect. runtime/vm/README.md says what is in the sandbox, and how.
local core = require "perilune.core.machine"
local entry = require "perilune.machine.entry"
local msgpack = require "perilune.msgpack"
local options_of = require "perilune.options"

local M = {}

--- A machine's file.
---@class perilune.machine.Program
---@field text string
---@field name string  what error messages call it: the same on every replica, as its errors must be
---@field memory integer  bytes of its Lua state beyond which a replica ends; 0: no limit
local Program = {}
Program.__index = Program

--- A machine that runs alone, without a group: for tests.
---@class perilune.machine.Instance
local Instance = {}
Instance.__index = Instance

local LOAD = { memory = "number", name = "string" }
local APPLY = { now = "number", seed = "number", client = "number", sequence = "number" }

local function check(program)
  local box, err, code = core.open(program.text, program.name)
  if not box then
    return nil, err, code
  end
  box:close()
  return program
end

--- A machine whose text is given.
---@param text string
---@param options? { name: string?, memory: integer? }  name: as for load
---@return perilune.machine.Program|nil program
---@return string? err  where it does not compile, or what it lacks
---@return string? code  "ELUA"
function M.source(text, options)
  options = options_of.check(options, LOAD, "machine.source")
  return check(setmetatable({ text = text, name = options.name or "machine", memory = options.memory or 0 },
    Program))
end

--- Reads a machine's file and looks whether it is one.
---@param path string
---@param options? { name: string?, memory: integer? }  name: default the file's, without folders; memory:
--- bytes of its Lua state beyond which a replica ends; default no limit
---@return perilune.machine.Program|nil program
---@return string? err
---@return string? code  "ELUA" for what is no machine; "ENOENT" ...
function M.load(path, options)
  options = options_of.check(options, LOAD, "machine.load")
  local text, err, code = core.read(path)
  if not text then
    return nil, err, code
  end
  return M.source(text, { name = options.name or path:match "[^/]+$", memory = options.memory })
end

--- Whether a value is a machine of load or source.
---@param value any
---@return boolean
function M.is_program(value)
  return getmetatable(value) == Program
end

--- A client's session with a group: commands that are sent again until they are answered, and happen once
--- (machine/session.lua).
---@param group perilune.raft.Group|function
---@param options? { ttl: number|string, deadline: number|string }
---@return perilune.machine.Session|nil session
---@return string? err
---@return string? code
function M.session(group, options)
  return require("perilune.machine.session").open(group, options)
end

--- Starts the machine alone, with the state of its beginning.
---@return perilune.machine.Instance|nil instance
---@return string? err
---@return string? code
function Program:start()
  local box, err, code = core.open(self.text, self.name, self.memory)
  if not box then
    return nil, err, code
  end
  local done
  done, err, code = box:init()
  if not done then
    return nil, err, code
  end
  return setmetatable({ core = box, index = 0 }, Instance)
end

--- Random commands for the machine: commands:next(). random is like math.random, with integers.
---@param random fun(m: integer, n?: integer): integer
---@return perilune.machine.Commands
function Program:commands(random)
  local box <close> = assert(core.open(self.text, self.name))
  return require("perilune.machine.commands").of(self.text, msgpack.decode((assert(box:samples()))), random)
end

local function decode(bytes, err, code)
  if not bytes then
    return nil, err, code
  end
  return (msgpack.decode(bytes))
end

local function apply(self, kind, body, given)
  self.index = self.index + 1
  return decode(self.core:apply(entry.encode(kind, body, given), self.index))
end

--- Applies a command. What it raises, or that it spent its budget, is nil, message, code.
---@param command any  data
---@param options? { now: number?, seed: integer?, client: integer?, sequence: integer? }  client and
--- sequence: the session, and the number of the command in it
---@return any result
---@return string? err
---@return string? code  "ELUA", "ECPU", "ESESSION"
function Instance:apply(command, options)
  options = options_of.check(options, APPLY, "machine:apply")
  local body = entry.argument("machine:apply", "command", command)
  return apply(self, entry.COMMAND, body,
    { now = options.now, seed = options.seed, session = options.client, sequence = options.sequence })
end

--- Opens a session: its number.
---@param ttl number  seconds
---@param options? { now: number? }
---@return integer|nil id
---@return string? err
---@return string? code
function Instance:open_session(ttl, options)
  return apply(self, entry.OPEN, entry.ttl(ttl), options)
end

--- Changes the code: the version of the new file, once its migrate has run.
---@param program perilune.machine.Program
---@param options? { try: boolean? }  try: all is undone at once
---@return integer|nil version
---@return string? err
---@return string? code
function Instance:upgrade(program, options)
  return apply(self, options and options.try and entry.TRY or entry.UPGRADE, entry.program(program))
end

--- Asks the machine.
---@param query? any  data
---@return any answer
---@return string? err
---@return string? code
function Instance:query(query)
  return decode(self.core:query(entry.argument("machine:query", "query", query), self.index))
end

--- All that there is, as bytes.
---@return string|nil bytes
---@return string? err
---@return string? code
function Instance:snapshot()
  return self.core:snapshot()
end

--- Goes on from a snapshot. index: of the last command that it holds.
---@param bytes string
---@param index? integer
---@return true|nil, string? err, string? code
function Instance:restore(bytes, index)
  local done, err, code = self.core:restore(bytes)
  if not done then
    return nil, err, code
  end
  self.index = index or self.index
  return true
end

--- { hash, version, memory, used }: of all that has happened; of the file; bytes that its Lua state holds;
--- instructions that the last call was charged.
---@return table<string, integer>
function Instance:info()
  return self.core:info()
end

--- Ends it.
function Instance:close()
  self.core:close()
end

Instance.__close = Instance.close

return M
