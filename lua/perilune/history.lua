--- Records what clients ask and hear, for the checker (perilune.check).
---
--- An operation is announced before it is sent and closed when its answer is there, or when nobody will
--- ever know: that is unknown, and its client goes on under a new name. Events go where `setup` or `file`
--- says; else they are kept here.
local fiber = require "perilune.fiber"
local options_of = require "perilune.options"

local M = {}

local MICROSECONDS = 1000 * 1000
local OPTIONS = { sink = "function", node = "string", incarnation = "number", now = "function" }

---@class perilune.history.Event
---@field process string
---@field type "invoke"|"ok"|"fail"|"info"
---@field f string
---@field key any
---@field value any
---@field time integer  microseconds
---@field node? string
---@field error? string

---@class perilune.history.Operation
---@field package client perilune.history.Client
---@field package event perilune.history.Event
local Operation = {}
Operation.__index = Operation

---@class perilune.history.Client
---@field package name string
---@field package lives integer
---@field package open perilune.history.Operation|nil
local Client = {}
Client.__index = Client

local function fresh()
  return { events = {}, clients = setmetatable({}, { __mode = "k" }), count = 0 }
end

local state = fresh()

local function now()
  return state.now and state.now() or math.floor(fiber.now() * MICROSECONDS)
end

local function emit(event)
  if state.sink then
    state.sink(event)
  elseif state.stream then
    state.stream:write(require("perilune.json").encode(event), "\n")
    state.stream:flush()
  else
    table.insert(state.events, event)
  end
end

--- Says where events go. Without a sink they are kept for `events`.
---@param options { sink?: fun(event: perilune.history.Event), node?: string, incarnation?: integer,
---   now?: fun(): integer }
---   sink: takes each event, in their order, and may keep it; node: stands in events and in front of clients'
---   names; incarnation: how often the node was restarted, for its clients are others then; now: the time in
---   microseconds
function M.setup(options)
  options = options_of.check(options, OPTIONS, "history.setup")
  state.sink = options.sink or state.sink
  state.node = options.node or state.node
  state.incarnation = options.incarnation or state.incarnation
  state.now = options.now or state.now
end

--- Sends events to a file from now on, as JSON lines.
---@param path string
---@return true|nil ok
---@return string|nil err
---@return string|nil code
function M.file(path)
  local stream, err = io.open(path, "w")
  if not stream then
    return nil, err, "EFAILED"
  end
  M.close()
  state.stream = stream
  return true
end

--- Closes the file of `file`; events are kept again.
function M.close()
  if state.stream then
    state.stream:close()
    state.stream = nil
  end
end

--- The events that were kept, in their order.
---@return perilune.history.Event[]
function M.events()
  return state.events
end

--- Forgets everything: events, clients, where events go.
function M.reset()
  M.close()
  state = fresh()
end

-- What stands in front of clients' names: who comes back after a crash remembers nothing of what was before,
-- so it is another client ("n1!1/c1").
local function prefix()
  local life = state.incarnation and state.incarnation > 0 and ("!%d"):format(state.incarnation) or ""
  return state.node and ("%s%s/"):format(state.node, life) or ""
end

--- Makes a client. It has at most one open operation.
---@param name? string  default: a number
---@return perilune.history.Client
function M.client(name)
  state.count = state.count + 1
  name = name or ("c%d"):format(state.count)
  return setmetatable({ name = prefix() .. name, lives = 0 }, Client)
end

local function process_of(client)
  return client.lives == 0 and client.name or ("%s'%d"):format(client.name, client.lives + 1)
end

--- Announces an operation, before it is sent.
---@param f string  what: "read", "write", "cas" ...; the models of perilune.check say what they know
---@param key any   which object; nil when there is one
---@param value any the argument
---@return perilune.history.Operation
function Client:invoke(f, key, value)
  if type(f) ~= "string" then
    error("history.invoke: what is done must be a string, such as \"read\"", 2)
  elseif self.open then
    error(("history.invoke: %s still has an open %s; end it with :ok, :fail or :unknown"):format(self.name,
      self.open.event.f), 2)
  end
  local event = {
    process = process_of(self), type = "invoke", f = f, key = key, value = value, time = now(),
    node = state.node,
  }
  self.open = setmetatable({ client = self, event = event }, Operation)
  emit(event)
  return self.open
end

--- Announces an operation of the fiber that runs; each fiber is a client.
---@param f string
---@param key any
---@param value any
---@return perilune.history.Operation
function M.invoke(f, key, value)
  local self = fiber.self()
  local client = state.clients[self]
  if not client then
    client = M.client()
    state.clients[self] = client
  end
  return Client.invoke(client, f, key, value)
end

local function complete(operation, kind, value, why)
  local client, event = operation.client, operation.event
  if client.open ~= operation then
    error(("history: this %s has ended already"):format(event.f), 3)
  end
  client.open = nil
  if kind == "info" then
    client.lives = client.lives + 1
  end
  emit {
    process = event.process, type = kind, f = event.f, key = event.key, value = value, time = now(),
    node = event.node, error = why,
  }
end

--- It happened, and gave this value.
---@param value any
function Operation:ok(value)
  complete(self, "ok", value)
end

--- It did not happen and never will. A cas that fails without a reason says that the value did not match.
---@param why? string
function Operation:fail(why)
  complete(self, "fail", nil, why)
end

--- Nobody knows whether it happened, or will.
---@param why? string
function Operation:unknown(why)
  complete(self, "info", nil, why)
end

return M
