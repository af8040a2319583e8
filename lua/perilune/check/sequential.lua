--- Finds a small part of a history that is not sequentially consistent.
---
--- An order of all operations is one of a part of them as well, when what is left out never changed anything
--- (reads), when it is all that was done with some keys, or when it is all that concerns some values (in C:
--- check_part_focus). A part that has no order proves that the whole has none. A beginning of a history is no
--- such part: without real time a read may give what is written later.
local describe = require "perilune.check.describe"
local fiber = require "perilune.fiber"
local json = require "perilune.json"
local judge = require "perilune.check.judge"
local narrow = require "perilune.check.narrow"

local M = {}

local STEPS = 200 * 1000   -- of one attempt
local BLOCK, WIDTHS = 256, { 2, 8, 32 } -- values that are looked at together
local SHARE = 0.5           -- of the time that is left, to look for a few values
local PURE = { read = true, get = true, contains = true }

-- What is left: the part of the operations that are kept, seen through the values that are kept.
local function part_of(left)
  local operations = {}
  for _, op in ipairs(left.operations) do
    if left.keys[describe.identity(op.key)] and not left.dropped[op.index] then
      operations[#operations + 1] = op.index
    end
  end
  local part = assert(left.history:part(left.model, operations))
  return left.values and part:focus(left.values) or part
end

local function is_wrong_part(part, budget)
  local search <close> = assert(part:sequential(budget.memory))
  return judge.run(search, nil, budget, STEPS) == "illegal"
end

local function is_wrong(left, budget)
  return is_wrong_part(part_of(left), budget)
end

-- Tries what is left with some of it replaced; keeps that when it is still wrong.
local function try_with(left, budget, field, value)
  local before = left[field]
  left[field] = value
  local is_enough = is_wrong(left, budget)
  left[field] = is_enough and value or before
  return is_enough
end

local function keep_keys(left, budget)
  local list = {}
  for id in pairs(left.keys) do
    list[#list + 1] = id
  end
  table.sort(list)
  narrow.fewest(list, budget, function(rest)
    local keys = {}
    for _, id in ipairs(rest) do
      keys[id] = true
    end
    return try_with(left, budget, "keys", keys)
  end)
end

-- Every value that an operation speaks of; what is nil counts as one.
local function values_in(operations)
  local list, add_all = narrow.collection()
  local function add(value)
    add_all { value == nil and json.null or value }
  end
  for _, op in ipairs(operations) do
    if op.f == "cas" then
      add(op.value[1])
      add(op.value[2])
    elseif op.value ~= nil or not PURE[op.f] then
      add(op.value)
    end
    if op.outcome == "ok" and type(op.result) ~= "table" and op.f ~= "contains" then
      add(op.result)
    end
  end
  return list
end

local function keep_values(left, budget, values)
  if values or try_with(left, budget, "values", values_in(left.operations)) then
    left.values = values or left.values
    narrow.fewest(left.values, budget, function(rest)
      return #rest > 0 and try_with(left, budget, "values", rest)
    end)
  end
end

-- Some values of a list that stand together, and the value that is none.
local function some_of(values, from, count)
  local some = table.move(values, from, math.min(#values, from + count - 1), 1, {})
  some[#some + 1] = json.null
  return some
end

-- The values of a block of operations that are wrong by themselves.
local function in_block(block, values, from, budget, deadline)
  for _, width in ipairs(WIDTHS) do
    for at = from, math.min(#values, from + BLOCK - 1), width // 2 do
      local some = some_of(values, at, width)
      if fiber.now() >= deadline then
        return nil
      elseif is_wrong_part(block:focus(some), budget) then
        return some
      end
    end
    fiber.yield()
  end
end

--- Looks for a few values by which a history is not sequentially consistent: those first spoken of one after
--- the other. Mostly they tell, also where the search of the whole does not end.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget  a part of its time is used
---@return any[]|nil values  nil says nothing
function M.find(key, budget)
  if not key.part:focus {} then
    return nil
  end
  local now = fiber.now()
  local deadline = now + (budget.deadline - now) * SHARE
  local values = values_in(narrow.operations(key))
  for from = 1, #values, BLOCK - WIDTHS[#WIDTHS] do
    local found = in_block(key.part:focus(some_of(values, from, BLOCK)), values, from, budget, deadline)
    if found or fiber.now() >= deadline then
      return found
    end
  end
end

local function keep_reads(left, budget)
  local reads, part = {}, part_of(left)
  for index = 1, part:item() do
    local op = left.history:operation((part:item(index)))
    reads[#reads + 1] = PURE[op.f] and op.index or nil
  end
  narrow.fewest(reads, budget, function(rest)
    local dropped = {}
    for _, index in ipairs(reads) do
      dropped[index] = true
    end
    for _, index in ipairs(rest) do
      dropped[index] = nil
    end
    return try_with(left, budget, "dropped", dropped)
  end)
end

local function sentence(operations)
  local first = operations[1]
  if #operations == 1 then
    return ("%s %s %s although nothing that was asked for leads to that"):format(
      describe.process(first.process), describe.did(first), describe.when(first))
  end
  return ("no order of these %d operations, each client's in its own, explains what they gave"):format(
    #operations)
end

--- Finds a part of a wrong history that is wrong by itself.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget
---@param is_shrunk boolean
---@return perilune.check.Counterexample
function M.counterexample(key, budget, is_shrunk)
  local left = {
    history = key.history, model = key.model, operations = narrow.operations(key), keys = {}, dropped = {},
  }
  for _, op in ipairs(left.operations) do
    left.keys[describe.identity(op.key)] = true
  end
  if is_shrunk then
    local values = key.proof or M.find(key, budget)
    if values or key.part:focus {} then
      keep_values(left, budget, values)
    end
    keep_keys(left, budget)
    keep_reads(left, budget)
  end
  local part, operations = part_of(left), {}
  for index = 1, part:item() do
    operations[index] = describe.seen(part, index, key.history:operation((part:item(index))))
  end
  return {
    operations = operations, others = #left.operations - #operations, repeated = 0,
    sentence = sentence(operations),
  }
end

return M
