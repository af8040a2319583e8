--- Machines: what a group replicates, and the fiber that runs it.
local machine_of = require "perilune.machine"
local msgpack = require "perilune.msgpack"
local options_of = require "perilune.options"
local store = require "perilune.raft.store"

local M = {}

---@class perilune.raft.Machine
---@field init? fun(): any  the first state; default an empty table
---@field apply fun(state: any, command: any, ctx: perilune.raft.Context): any
---@field query? fun(state: any, query: any, ctx: perilune.raft.Context): any
---@field store? boolean  the state is in ctx.store, on disk: state is nil; no init, snapshot, restore
---@field snapshot? fun(state: any): any  data that holds the state; default the state itself
---@field restore? fun(data: any): any  the state; default the data itself

---@class perilune.raft.Context
---@field index integer  of the command; of a query, the last that was applied
---@field term integer
---@field store? perilune.raft.Store  of a machine with store = true

local OPTIONS = {
  init = "function", apply = "function", query = "function", snapshot = "function", restore = "function",
  store = "boolean",
}

--- The key/value store, which is a machine in C (perilune.kv stands in front).
M.KV = "kv"

--- Raises unless machine is one, naming the line that called raft.group, which calls this.
---@param machine any
---@return perilune.raft.Machine|perilune.machine.Program|"kv"
function M.check(machine)
  if machine == M.KV or machine_of.is_program(machine) then
    return machine
  end
  machine = options_of.check(machine, OPTIONS, "raft.group: machine", 4)
  if not machine.apply then
    error("raft.group: the machine has no function apply", 3)
  end
  for _, name in ipairs { "init", "snapshot", "restore" } do
    if machine.store and machine[name] then
      error(("raft.group: a machine with store = true has no function %s: its state is in ctx.store")
        :format(name), 3)
    end
  end
  return machine
end

--- What the core wants to know of a machine, and whether a fiber is to run it.
---@param machine perilune.raft.Machine|perilune.machine.Program|"kv"
---@return any kind
---@return boolean is_native
function M.kind(machine)
  if machine == M.KV or machine_of.is_program(machine) then
    return machine, true
  end
  return machine.store or false, false
end

local function same(value)
  return value
end

local function encode(what, value)
  local bytes, err = msgpack.encode(value, { name = what })
  if not bytes then
    error(err, 0)
  end
  return bytes
end

local tasks = {
  apply = function(machine, state, input, index, term)
    local context = { index = index, term = term, store = state.store }
    return encode("result", machine.apply(state.value, (msgpack.decode(input)), context))
  end,
  query = function(machine, state, input, index, term)
    if not machine.query then
      error("the machine answers no queries: it has no function query", 0)
    end
    local context = { index = index, term = term, store = state.store }
    return encode("answer", machine.query(state.value, (msgpack.decode(input)), context))
  end,
  snapshot = function(machine, state)
    return encode("snapshot", (machine.snapshot or same)(state.value))
  end,
  restore = function(machine, state, input)
    state.value = (machine.restore or same)((msgpack.decode(input)))
    return ""
  end,
}

--- The machine's fiber: its errors are results, which every replica has alike. The group ends with it.
---@param box userdata  the core's group
---@param machine perilune.raft.Machine
function M.run(box, machine)
  local _ <close> = box
  local state = {}
  if machine.store then
    state.store = store.view(box)
  elseif machine.init then
    state.value = machine.init()
  else
    state.value = {}
  end
  while true do
    local kind, input, index, term = box:task()
    if not kind then
      return
    end
    local ok, output = pcall(tasks[kind], machine, state, input, index, term)
    if ok then
      box:done(output)
    else
      box:done(nil, tostring(output))
    end
  end
end

--- The fiber of a group whose machine is in C: it tells who waits that something has taken effect. The group
--- ends with it.
---@param box userdata  the core's group
---@param group perilune.raft.Group
function M.attend(box, group)
  local _ <close> = box
  local count = 0
  while count do
    count = box:applied(count)
    group:tell(count)
  end
end

return M
