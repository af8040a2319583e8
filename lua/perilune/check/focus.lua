--- Proves that a long history is wrong by a few of its values.
---
--- What is wrong seen through a few values (in C: check_part_focus) is wrong; the fewest that do are a small
--- history that explains itself. Which values? Of a set each element alone; of a queue three that are apart.
--- Else those of operations that stand together: mostly a fault shows between neighbours. Else the first
--- completion that no order explains is found by halving, and the values near it, and near what else was
--- done with its value, are tried. What clients append to has suspects of its own (lists).
local fiber = require "perilune.fiber"
local json = require "perilune.json"
local judge = require "perilune.check.judge"
local lists = require "perilune.check.lists"
local narrow = require "perilune.check.narrow"

local M = {}

local WIDTHS = { 2, 8, 32, 128 } -- operations on each side
local STEPS_BASE, STEPS_EACH = 100 * 1000, 3 -- of one search: enough where the history is right
local PLACES_MAX = 12  -- of operations on the same value
local ELEMENTS_MAX = 8 -- of a list
local LOOKED_BACK_MAX = 1000 * 1000
local STEPS_MAX = 2000 * 1000

local BLOCK, WINDOW = 2048, 64 -- operations whose values are looked at together
local STRIDE = 16 -- values between those of a queue that are looked at together

local function search(part, budget, events, steps_max)
  local steps = steps_max or STEPS_BASE + STEPS_EACH * part:item()
  local run <close> = assert(part:search(budget.memory, events))
  return judge.run(run, nil, budget, steps)
end

-- The first event before which all is right and with which nothing is. Searches that take too long count as
-- wrong: they do where no order is found quickly.
local function first_wrong(part, events, budget, steps_max)
  local right, wrong = 0, events
  while wrong - right > 1 do
    local middle = (right + wrong) // 2
    if fiber.now() >= budget.deadline then
      return nil
    elseif search(part, budget, middle, steps_max) == "legal" then
      right = middle
    else
      wrong = middle
    end
    fiber.yield()
  end
  return wrong
end

-- The last item that was called before an event.
local function item_before(part, event)
  local low, high = 0, part:item()
  while low < high do
    local middle = (low + high + 1) // 2
    local _, call = part:item(middle)
    if call < event then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- The item that ended with an event.
local function item_ending(part, event)
  local last = item_before(part, event)
  for index = last, math.max(1, last - LOOKED_BACK_MAX), -1 do
    local _, _, finish = part:item(index)
    if finish == event then
      return index
    end
  end
end

-- The values that an operation is about.
local function values_of(op, model)
  if model == "lock" then
    return { op.process }
  elseif op.f == "cas" then
    return { op.value[1], op.value[2] }
  elseif op.f == "read" and type(op.result) == "table" and (model == "set" or model == "append") then
    return table.move(op.result, math.max(1, #op.result - ELEMENTS_MAX + 1), #op.result, 1, {})
  elseif op.f == "dequeue" and op.result == nil then
    return {} -- of an empty queue: says little of its neighbours
  elseif op.f == "read" or op.f == "get" or op.f == "dequeue" then
    return { op.outcome == "ok" and op.result == nil and json.null or op.result }
  elseif op.f == "delete" then
    return { json.null }
  end
  return { op.value == nil and json.null or op.value }
end

-- Where in a part things are done with the values of an item, and where that item is.
local function places_of(history, model, part, blocked, limit)
  local places, values = { blocked }, values_of(history:operation((part:item(blocked))), model)
  local own, err = part:focus(values)
  if not own then
    return nil, err
  end
  local last = item_before(own, limit)
  for index = last, math.max(1, last - PLACES_MAX + 1), -1 do
    local _, call = own:item(index)
    places[#places + 1] = item_before(part, call + 1)
  end
  return places, values
end

-- The part of the fewest values of those by which a part is wrong.
local function fewest(part, values, events, budget)
  narrow.fewest(values, budget, function(rest)
    local smaller = #rest > 0 and part:focus(rest)
    local is_enough = smaller and search(smaller, budget, events) == "illegal"
    part = is_enough and smaller or part
    return is_enough
  end)
  return part
end

-- The values of the items [from, to] of a part.
local function values_between(key, part, from, to)
  local list, add = narrow.collection()
  for index = math.max(1, from), math.min(part:item(), to) do
    add(values_of(key.history:operation((part:item(index))), key.model))
  end
  return list
end

-- The part of some values when that is wrong, made small.
local function proof_of(part, values, events, budget)
  local near = #values > 0 and part:focus(values)
  if near and search(near, budget, events) == "illegal" then
    return { part = fewest(near, values, events, budget), events = events }
  end
end

-- The first proof among parts of a part: of the values that values_at gives for each place.
local function first_proof(part, last, step, values_at, events, budget)
  for place = 1, last, step do
    local proof = proof_of(part, values_at(place), events, budget)
    if proof or fiber.now() >= budget.deadline then
      return proof
    end
    fiber.yield()
  end
end

-- Tries the values of each window of a part alone, half of a window apart.
local function by_windows(key, part, events, budget)
  return first_proof(part, part:item(), WINDOW // 2, function(from)
    return values_between(key, part, from, from + WINDOW - 1)
  end, events, budget)
end

-- Tries each value with two that come a while later. In a queue the order of those that were enqueued at the
-- same time shows only when they leave: few that are apart are judged at once.
local function by_strides(key, part, events, budget)
  local values = values_between(key, part, 1, part:item())
  return first_proof(part, #values, 1, function(index)
    return { values[index], values[index + STRIDE], values[index + 2 * STRIDE] }
  end, events, budget)
end

-- Tries windows of a part; in blocks, so that each window need not look at everything. Where a few values
-- stand for most of the part nothing would be gained.
local function by_blocks(key, events, budget)
  local part = key.part
  for from = 1, part:item(), BLOCK - WINDOW do
    local values = values_between(key, part, from, from + BLOCK - 1)
    local block = part:focus(values)
    if fiber.now() >= budget.deadline or #values * 2 < math.min(BLOCK, part:item()) // 4 then
      return nil
    end
    local proof = (key.model == "queue" and by_strides or by_windows)(key, block, events, budget)
    if proof then
      return proof
    end
  end
end

-- Tries groups of values together, and where the search cannot tell, halves of them.
local function by_groups(part, groups, events, budget)
  local values, add = narrow.collection()
  for _, group in ipairs(groups) do
    add(group)
  end
  local near = part:focus(values)
  fiber.yield()
  local result = near and search(near, budget, events)
  if result == "illegal" then
    return { part = fewest(near, values, events, budget), events = events }
  elseif result == "legal" or #groups <= 1 or fiber.now() >= budget.deadline then
    return nil -- what is right stays so, seen through fewer values
  end
  local half = #groups // 2
  return by_groups(near, table.move(groups, 1, half, 1, {}), events, budget)
    or by_groups(near, table.move(groups, half + 1, #groups, 1, {}), events, budget)
end

-- Tries the elements of a set, some at a time.
local function by_elements(key, events, budget)
  local list, add = narrow.collection()
  for index, op in ipairs(narrow.operations(key)) do
    add(values_of(op, key.model))
    if index % BLOCK == 0 then
      fiber.yield()
    end
  end
  for from = 1, #list, WINDOW do
    local groups = {}
    for index = from, math.min(#list, from + WINDOW - 1) do
      groups[#groups + 1] = { list[index] }
    end
    local proof = by_groups(key.part, groups, events, budget)
    if proof or fiber.now() >= budget.deadline then
      return proof
    end
    fiber.yield()
  end
end

--- The first event with which a wrong key is wrong, or nil when the time is used up.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget
---@param extra? integer  steps that a search may take beyond what is enough for most
---@return integer|nil
function M.first_wrong(key, budget, extra)
  local _, _, event_count = key.history:counts()
  return first_wrong(key.part, event_count, budget, STEPS_BASE + STEPS_EACH * key.part:item() + (extra or 0))
end

-- Tries values near the first completion that nothing explains.
local function by_halving(key, budget)
  local part, events = key.part, M.first_wrong(key, budget, math.min(2 * key.steps, STEPS_MAX))
  local blocked = events and item_ending(part, events - 1)
  if not blocked then
    return nil
  end
  local places, own = places_of(key.history, key.model, part, blocked, events)
  if not places then
    return nil
  end
  for _, width in ipairs(WIDTHS) do
    local values, add = narrow.collection()
    add(own)
    add(key.model == "queue" and { json.null } or {})
    for _, place in ipairs(places) do
      add(values_between(key, part, place - width, place + width))
      fiber.yield()
    end
    local proof = proof_of(part, values, events, budget)
    if proof or fiber.now() >= budget.deadline then
      return proof
    end
  end
end

--- Finds a part of a key that is wrong by itself and is about few values.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget
---@return { part: userdata, events: integer }|nil proof  the part is wrong up to this event of the history;
---  nil: none was found, which says nothing
function M.find(key, budget)
  if not key.part:focus {} then
    return nil
  end
  local _, _, events = key.history:counts()
  if key.model == "append" or key.part:cut "" then
    local groups = lists.suspects(key.part, narrow.operations(key))
    local proof = #groups > 0 and by_groups(key.part, groups, events, budget)
    if proof then
      return proof
    end
  end
  return key.model == "set" and by_elements(key, events, budget)
    or by_blocks(key, events, budget) or by_halving(key, budget)
end

return M
