--- Finds a small history that is wrong, and whose being wrong proves that a long one is.
---
--- How depends on the model. Counters and locks have arguments of their own; what is about values is seen
--- through a few of them (focus). What an argument builds is a history by itself: the search judges it again.
local core = require "perilune.core.check"
local fiber = require "perilune.fiber"
local judge = require "perilune.check.judge"

local M = {}

local FINDERS = { counter = "perilune.check.counter", lock = "perilune.check.lock" }
local YIELD_EVERY = 4096   -- operations; others run in between
local STEPS = 1000 * 1000  -- of one search of a small history
local LARGE = 200          -- operations: fewer are thinned out as they are

---@class perilune.check.Proof
---@field part userdata    wrong
---@field events integer   up to this event of its history
---@field operations? table[]  of a history that was made for it: what to show of each operation
---@field is_small? boolean  nothing can be taken out of it
---@field blocked? table   the operation that cannot be, when the argument says so
---@field other? table     the one that it contradicts
---@field sentence? string

--- Finds a proof that a key is wrong; nil says nothing.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget
---@return perilune.check.Proof|nil
function M.find(key, budget)
  local finder = FINDERS[key.model]
  if type(key.model) ~= "string" or not finder and key.part:item() <= LARGE then
    return nil
  end
  return require(finder or "perilune.check.focus").find(key, budget)
end

--- The operations of a part, in the order of their calls.
---@param history userdata
---@param part userdata
---@return table[]
function M.operations(history, part)
  local operations = {}
  for index = 1, part:item() do
    operations[index] = history:operation((part:item(index)))
    if index % YIELD_EVERY == 0 then
      fiber.yield()
    end
  end
  return operations
end

-- The invocations and completions of operations, in their order; what ends with `events` or later is open.
local function moments_of(operations, events)
  local moments = {}
  for _, op in ipairs(operations) do
    moments[#moments + 1] = { at = op.call, op = op, type = "invoke" }
    if op.finish and op.finish < events then
      moments[#moments + 1] = { at = op.finish, op = op, type = op.outcome }
    end
  end
  table.sort(moments, function(a, b)
    return a.at < b.at
  end)
  return moments
end

--- Makes a history of operations, which may be made up: { process, f, value, result, outcome, call, finish },
--- in the order of their calls. A client that goes on while its operation is open does not know its outcome.
---@param operations table[]
---@param model string
---@param events_max? integer  what ends with this event or later is open
---@return perilune.check.Proof proof  of nothing, until it is judged
function M.of(operations, model, events_max)
  local history, open, events, indices = core.history(), {}, 0, {}
  local function add(op, type, value)
    events = events + 1
    assert(history:add({ process = op.process, type = type, f = op.f, value = value }, events))
    open[op.process] = type == "invoke" and op or nil
  end
  for _, moment in ipairs(moments_of(operations, events_max or math.huge)) do
    local op = moment.op
    if moment.type == "invoke" then
      if open[op.process] then
        add(open[op.process], "info")
      end
      add(op, "invoke", op.value)
    else
      add(op, moment.type, op.result)
    end
  end
  for index in ipairs(operations) do
    indices[index] = index
  end
  return { part = assert(history:part(model, indices)), events = events, operations = operations }
end

--- True when the search says that a part is wrong.
---@param proof perilune.check.Proof
---@param budget perilune.check.Budget
---@return boolean
function M.is_wrong(proof, budget)
  local search <close> = assert(proof.part:search(budget.memory, proof.events))
  return judge.run(search, nil, budget, STEPS) == "illegal"
end

return M
