--- Says why a history is not linearizable, or why nobody knows.
local describe = require "perilune.check.describe"
local evidence = require "perilune.check.evidence"
local fiber = require "perilune.fiber"
local shrink = require "perilune.check.shrink"

local M = {}

local EXPLAINED_MAX = 3    -- keys
local SECONDS = 10         -- that shrinking may take for each, also when the budget is used up
local STEPS = 30 * 1000 * 1000
local YIELD_EVERY = 4096   -- operations; others run in between
local TRIED_MAX = 50       -- operations that the blocked one may contradict

---@class perilune.check.Counterexample
---@field operations table[]  the smallest part found that is wrong, by their calls
---@field blocked? table      the operation among them whose completion nothing explains
---@field other? table        the one that it contradicts
---@field others integer      how many operations before it are left out: it is wrong whatever became of them
---@field repeated integer    how many are left out because one of the operations does the same again later
---@field is_argued? boolean  an argument says so, not a search; what is shown is wrong for the search as well
---@field order? table[]      what could be put in order before the blocked one completed
---@field sentence string

-- shown: what to show of the operations, when the history was made for a proof.
local function items_of(history, part, shown)
  local items = part:items()
  for index, item in ipairs(items) do
    local _, call, finish = part:item(index)
    item.op = shown and shown[item.operation]
      or describe.seen(part, index, history:operation(item.operation))
    item.call, item.finish = call, item.op.finish and finish
    if index % YIELD_EVERY == 0 then
      fiber.yield()
    end
  end
  return items
end

-- The last operation that ended before the blocked one began and does not go together with it: the two
-- alone are wrong.
local function contradicted(trial, items, found)
  local blocked, earlier = items[found.blocked], {}
  for _, index in ipairs(found.kept) do
    if items[index].finish and items[index].finish < blocked.call then
      earlier[#earlier + 1] = index
    end
  end
  table.sort(earlier, function(a, b)
    return items[a].finish > items[b].finish
  end)
  for number, index in ipairs(earlier) do
    if number > TRIED_MAX or fiber.now() >= trial.budget.deadline then
      return nil
    end
    local roles = {}
    for other in ipairs(items) do
      roles[other] = (other == index or other == found.blocked) and shrink.RECORDED or shrink.LEFT_OUT
    end
    if shrink.try(trial, found.events, roles) == "illegal" then
      return items[index].op
    end
  end
end

local function sentence(blocked, other, operations)
  local subject = ("%s %s%s %s"):format(describe.process(blocked.process), describe.did(blocked),
    blocked.key ~= nil and (" (key %s)"):format(describe.value(blocked.key)) or "", describe.when(blocked))
  if other and other.f == "contains" then
    return ("%s although %s %s %s"):format(subject, describe.process(other.process), describe.did(other),
      describe.when(other))
  elseif other and (other.f == "read" or other.f == "get") then
    return ("%s although %s had already %s %s"):format(subject, describe.process(other.process),
      describe.did(other), describe.when(other))
  elseif other then
    return ("%s although %s's %s had been acknowledged %s"):format(subject, describe.process(other.process),
      describe.noun(other), describe.when(other))
  elseif #operations == 1 then
    return subject .. " although nothing that was asked for until then leads to that"
  elseif #operations == 2 then
    other = operations[1] == blocked and operations[2] or operations[1]
    return ("%s, at odds with %s's %s %s"):format(subject, describe.process(other.process),
      describe.noun(other), describe.when(other))
  end
  return ("%s, which no order of these %d operations explains"):format(subject, #operations)
end

-- What a model says about its own.
local function told(key, result)
  if key.model == "lock" then
    return require("perilune.check.lock").sentence(result.operations, result.blocked)
  end
end

-- What an argument shows is small already. It speaks of all that began before the blocked one ended.
local function argued(key, proof)
  local others = 0
  for index = 1, key.part:item() do
    local _, call = key.part:item(index)
    others = others + (call < proof.blocked.finish and 1 or 0)
  end
  for _, op in ipairs(proof.operations) do
    others = others - (op.index and 1 or op.stands_for)
  end
  return {
    operations = proof.operations, blocked = proof.blocked, other = proof.other, sentence = proof.sentence,
    others = others, repeated = 0, is_argued = true,
  }
end

local function counterexample(history, key, budget)
  local own = { deadline = fiber.now() + SECONDS, steps = STEPS, memory = budget.memory }
  local proof = key.proof or budget.shrink and evidence.find(key, own) or nil
  if proof and proof.sentence then
    return argued(key, proof)
  end
  local part = proof and proof.part or key.part
  local trial = { part = part, states = key.states, budget = own }
  local items = items_of(history, part, proof and proof.operations)
  local found = shrink.shrink(trial, items, budget.shrink and not (proof and proof.is_small),
    proof and proof.events)
  local result = { operations = {}, others = 0, repeated = 0, blocked = items[found.blocked].op }
  for _, index in ipairs(found.kept) do
    table.insert(result.operations, items[index].op)
  end
  for index, item in ipairs(items) do
    local role = item.call < found.events and found.roles[index]
    result.others = result.others + (role == shrink.ANYTIME and 1 or 0)
    result.repeated = result.repeated + (role == shrink.LEFT_OUT and 1 or 0)
  end
  if proof then
    result.others = result.others + key.part:item() - #items
  end
  result.other = contradicted(trial, items, found)
  local said, other = told(key, result)
  result.other = said and other or result.other
  if not (proof and proof.operations) then
    local _, order = shrink.try(trial, found.events - 1)
    result.order = order and M.order(items, order)
  end
  result.sentence = said or sentence(result.blocked, result.other, result.operations)
  return result
end

--- Turns the order of a search into operations and the numbers of the states after them (see state).
---@param items table[]
---@param order table[]
---@return table[]
function M.order(items, order)
  local steps = {}
  for index, step in ipairs(order) do
    steps[index] = { operation = items[step.item].operation, state = step.state }
    if index % YIELD_EVERY == 0 then
      fiber.yield()
    end
  end
  return steps
end

local REASONS = {
  time = "the time (--budget) was used up", memory = "the memory (--memory) was used up",
  steps = "the number of steps was used up",
}

local function undecided(history, key)
  local open, index = key.part:widest()
  key.window = { open = open, operation = index }
  local op = index and history:operation(index)
  return ("%s after %d steps%s; at most %s open at a time%s"):format(REASONS[key.reason],
    key.steps, key.key ~= nil and (" on key " .. describe.value(key.key)) or "",
    open == 1 and "1 operation is" or ("%d operations are"):format(open),
    op and (", first at line %d%s"):format(op.call_line,
      op.call_us and " (" .. describe.time(op.call_us) .. ")" or "") or "")
end

--- The state of a number in an order.
---@param key table
---@param number integer
---@return any
function M.state(key, number)
  if key.states then
    return key.states:get(number)
  end
  return (key.part:state(number))
end

--- Adds to a verdict what explains it: counterexamples, the orders found, the sentence.
---@param verdict perilune.check.Verdict
---@param budget perilune.check.Budget
function M.all(verdict, budget)
  local explained = 0
  for _, key in ipairs(verdict.keys) do
    if key.ok == false and explained < EXPLAINED_MAX then
      explained = explained + 1
      key.counterexample = counterexample(verdict.history, key, budget)
      key.why = key.counterexample.sentence
      verdict.why = explained == 1 and key.why or verdict.why
    elseif key.ok then
      key.order = M.order(key.part:items(), key.order)
    elseif key.ok == nil then
      key.why = undecided(verdict.history, key)
      if verdict.ok == nil then
        verdict.why = verdict.why or key.why
      end
    end
  end
end

return M
