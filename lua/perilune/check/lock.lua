--- Proves that a lock is wrong by few of its holds, and says how.
---
--- Where a client acquired and then released, with nothing else that it knows the end of in between, nobody
--- else held the lock: in every right order such a pair can be left out, and what is left is right still. So
--- can all that one client did. The last pairs before the first completion that nothing explains mostly are
--- enough; of these each is tried without.
local describe = require "perilune.check.describe"
local evidence = require "perilune.check.evidence"
local fiber = require "perilune.fiber"
local focus = require "perilune.check.focus"

local M = {}

local STEPS_EACH = 50 -- of a search, for each operation: a right one takes that many

-- Cuts what was called before an event into pairs, in the order of their ends, and operations that stay. What
-- ends later is open.
local function cut(operations, events)
  local holds, rest, acquired = {}, {}, {}
  for _, op in ipairs(operations) do
    local client = describe.identity(op.process)
    local before = acquired[client]
    if op.call >= events then
      break
    elseif not op.finish or op.finish >= events then
      rest[#rest + 1] = op
    elseif op.f == "acquire" then
      rest[#rest + 1] = before
      acquired[client] = op
    elseif before then
      holds[#holds + 1], acquired[client] = { before, op }, nil
    else
      rest[#rest + 1] = op
    end
  end
  for _, op in pairs(acquired) do
    rest[#rest + 1] = op
  end
  table.sort(holds, function(a, b)
    return a[2].finish < b[2].finish
  end)
  return holds, rest
end

-- Holds and the rest as a history, without what some clients did.
local function history_of(holds, rest, left_out, events)
  local operations = {}
  for _, hold in ipairs(holds) do
    table.move(hold, 1, 2, #operations + 1, operations)
  end
  table.move(rest, 1, #rest, #operations + 1, operations)
  local kept = {}
  for _, op in ipairs(operations) do
    kept[#kept + 1] = not left_out[describe.identity(op.process)] and op or nil
  end
  table.sort(kept, function(a, b)
    return a.call < b.call
  end)
  return evidence.of(kept, "lock", events)
end

-- The history of the fewest last pairs, by doubling, that is wrong.
local function last_holds(holds, rest, events, budget)
  local number = 0
  while fiber.now() < budget.deadline do
    local last = table.move(holds, #holds - number + 1, #holds, 1, {})
    local proof = history_of(last, rest, {}, events)
    if evidence.is_wrong(proof, budget) then
      return proof, last
    elseif number == #holds then
      return nil
    end
    number = math.min(#holds, math.max(1, 2 * number))
  end
end

-- Takes out clients and pairs that are not needed.
local function fewest(proof, holds, rest, events, budget)
  local left_out, at = {}, 1
  for _, op in ipairs(proof.operations) do
    local client = describe.identity(op.process)
    if left_out[client] == nil then
      left_out[client] = true
      local smaller = history_of(holds, rest, left_out, events)
      left_out[client] = evidence.is_wrong(smaller, budget)
      proof = left_out[client] and smaller or proof
    end
  end
  while at <= #holds and fiber.now() < budget.deadline do
    local fewer = table.move(holds, 1, at - 1, 1, {})
    table.move(holds, at + 1, #holds, at, fewer)
    local smaller = history_of(fewer, rest, left_out, events)
    if evidence.is_wrong(smaller, budget) then
      proof, holds = smaller, fewer
    else
      at = at + 1
    end
  end
  return proof
end

--- Finds a proof that a lock is wrong.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget
---@return perilune.check.Proof|nil
function M.find(key, budget)
  local events = focus.first_wrong(key, budget, STEPS_EACH * key.part:item())
  if not events then
    return nil
  end
  local holds, rest = cut(evidence.operations(key.history, key.part), events)
  local proof, last = last_holds(holds, rest, events, budget)
  if not proof then
    return nil
  end
  proof = fewest(proof, last, rest, events, budget)
  proof.is_small = true
  return proof
end

-- An acquire whose token is not smaller than that of another, and that ended before it: the other, which
-- released later still, cannot have been before.
local function greater_token(operations, blocked)
  local greater
  for _, op in ipairs(operations) do
    if op.f == "acquire" and op ~= blocked and op.finish and op.finish < blocked.finish and op.result
      and op.result >= blocked.result then
      greater = op
    end
  end
  return greater
end

-- The acquire of a client that had not asked to release when another was told that it has the lock.
local function holder(operations, blocked)
  local held = {}
  for _, op in ipairs(operations) do
    local client = describe.identity(op.process)
    if op.f == "release" and op.call < blocked.finish then
      held[client] = nil
    elseif op.f == "acquire" and op ~= blocked and op.finish and op.finish < blocked.finish then
      held[client] = op
    end
  end
  for _, op in ipairs(operations) do
    if held[describe.identity(op.process)] == op then
      return op
    end
  end
end

--- Says what a lock did wrong.
---@param operations table[]  what is left, by their calls
---@param blocked table       the one that cannot be
---@return string|nil sentence
---@return table|nil other  the operation that it contradicts
function M.sentence(operations, blocked)
  local subject = ("%s %s %s"):format(describe.process(blocked.process), describe.did(blocked),
    describe.when(blocked))
  local other = blocked.f == "acquire" and blocked.result and greater_token(operations, blocked)
  if other then
    return ("%s although %s had been given %s %s"):format(subject, describe.process(other.process),
      describe.value(other.result), describe.when(other)), other
  elseif blocked.f == "release" then
    return #operations == 1 and subject .. " although it did not hold it" or nil
  end
  other = holder(operations, blocked)
  return other and ("%s although %s, given it %s, had not released it"):format(subject,
    describe.process(other.process), describe.when(other)) or nil, other
end

return M
