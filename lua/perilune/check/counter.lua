--- Proves that a counter is wrong by arithmetic, and by few of its reads.
---
--- Between two reads, the one over before the other began, everything is added that began after the first
--- and was over before the second; nothing is that was over before the first began or began after the second
--- was over; what is left may be. That bounds the difference of the two. The object's beginning counts as a
--- read of 0. Sums of what was called and what was over at each event give bounds that are never too tight,
--- for all pairs of reads in one pass; for the pair that is chosen they are computed exactly.
---
--- Where bounds do not tell (no selection of what was open at a time adds up), the reads before the first
--- completion that nothing explains are looked at alone. What was added while none of them was open can be
--- added up to one operation: what a counter adds can be added in any order.
local describe = require "perilune.check.describe"
local evidence = require "perilune.check.evidence"
local fiber = require "perilune.fiber"
local focus = require "perilune.check.focus"

local M = {}

local STEPS_EACH = 50 -- of a search, for each operation: a right one takes that many
local READS_MAX = 64       -- that are looked at together
local EXACT_MAX = 1 << 53  -- of sums
local YIELD_EVERY = 4096   -- operations; others run in between
local START = { f = "read", result = 0, call = -1, finish = -1 } -- a read of nothing yet

local function is_read(op)
  return op.f == "read"
end

-- Running sums of what was added: [sign][moment], the latter "called" (all), "sure" (called, and known to
-- have happened) and "over".
local function no_sums()
  return { up = { called = 0, sure = 0, over = 0 }, down = { called = 0, sure = 0, over = 0 } }
end

local function count(sums, op, moment)
  local side = op.value > 0 and sums.up or sums.down
  side[moment] = side[moment] + op.value
end

local function moments_of(operations)
  local moments, size = {}, 0
  for _, op in ipairs(operations) do
    size = size + (is_read(op) and 0 or math.abs(op.value / 1))
    moments[#moments + 1] = { at = op.call, op = op, is_call = true }
    if op.finish then
      moments[#moments + 1] = { at = op.finish, op = op }
    end
  end
  table.sort(moments, function(a, b)
    return a.at < b.at
  end)
  return moments, size <= EXACT_MAX
end

-- The better of the bounds that reads give to later ones: at most up more than what is added, at least down.
local function better(best, read, over, sums)
  local up, down = read.result - over.up - sums.down.sure, read.result - over.down - sums.up.sure
  return {
    up = math.min(best.up, up), up_read = up < best.up and read or best.up_read,
    down = math.max(best.down, down), down_read = down > best.down and read or best.down_read,
  }
end

-- The read whose bounds this one breaks, if it breaks any.
local function broken(read, best, over, sums)
  return read.result - sums.up.called - over.down > best.up and best.up_read
    or read.result - sums.down.called - over.up < best.down and best.down_read or nil
end

-- The first read, by its end, that is out of the bounds of an earlier one; and that one.
local function first_beyond(operations)
  local moments, is_exact = moments_of(operations)
  local sums, best, at_call = no_sums(), { up = 0, down = 0, up_read = START, down_read = START }, {}
  for number, moment in ipairs(is_exact and moments or {}) do
    local op = moment.op
    if not is_read(op) then
      count(sums, op, moment.is_call and "called" or "over")
      if moment.is_call and op.finish then
        count(sums, op, "sure")
      end
    elseif math.type(op.result) ~= "integer" then
      return op
    elseif moment.is_call then
      at_call[op] = { best = best, over = { up = sums.up.over, down = sums.down.over } }
    else
      local before = at_call[op]
      at_call[op] = nil
      local first = broken(op, before.best, before.over, sums)
      if first then
        return op, first
      end
      best = better(best, op, before.over, sums)
    end
    if number % YIELD_EVERY == 0 then
      fiber.yield()
    end
  end
end

-- What lies between two reads: the sum and number of adds that must, the least and the most that the others
-- can make of it.
local function between(operations, first, second)
  local result = { sum = 0, count = 0, least = 0, most = 0, open = 0 }
  for _, op in ipairs(operations) do
    local may_be = not is_read(op) and op.call < second.finish and not (op.finish and op.finish < first.call)
    if may_be and op.call > first.finish and op.finish and op.finish < second.call then
      result.sum, result.count = result.sum + op.value, result.count + 1
      result.from = result.from or op
      result.to = result.to and result.to.finish > op.finish and result.to or op
    elseif may_be then
      result.open = result.open + 1
      result.least = result.least + math.min(0, op.value)
      result.most = result.most + math.max(0, op.value)
    end
  end
  result.least = first.result + result.sum + result.least
  result.most = first.result + result.sum + result.most
  return result
end

-- The latest read before another that gives bounds which that one breaks, and the bounds; `known` is one.
local function contradicted(operations, second, known)
  local earlier = {}
  for _, op in ipairs(operations) do
    if is_read(op) and op.finish < second.call then
      earlier[#earlier + 1] = op
    end
  end
  table.sort(earlier, function(a, b)
    return a.finish > b.finish
  end)
  for index = 1, math.min(#earlier, READS_MAX) do
    local bounds = between(operations, earlier[index], second)
    if second.result < bounds.least or second.result > bounds.most then
      return earlier[index], bounds
    end
    fiber.yield()
  end
  return known, between(operations, known, second)
end

-- One add in the place of many, of which `first` was called first and `last` ended last.
local function sum_of(sum, number, first, last)
  return {
    process = ("%d add%s"):format(number, number == 1 and "" or "s"), stands_for = number,
    f = "add", value = sum, outcome = "ok",
    call = first.call, finish = last.finish, call_line = first.call_line, finish_line = last.finish_line,
    call_us = first.call_us, finish_us = last.finish_us,
  }
end

local function sentence(first, second, bounds)
  local is_low = second.result < bounds.least
  local limit = is_low and bounds.least or bounds.most
  local subject = ("%s read %d %s"):format(describe.process(second.process), second.result,
    describe.when(second))
  local at = bounds.open > 0 and (is_low and "at least " or "at most ") or ""
  if first == START then
    return ("%s although the adds %s make %s%d"):format(subject, is_low
      and "acknowledged before" or "asked for until then", at, limit)
  end
  return ("%s although %s's %d %s and the adds since make %s%d"):format(subject,
    describe.process(first.process), first.result, describe.when(first), at, limit)
end

-- A read of what is no number.
local function by_kind(second)
  local proof = evidence.of({ second }, "counter")
  proof.blocked, proof.sentence = second, ("%s read %s %s, which is no sum"):format(
    describe.process(second.process), describe.value(second.result), describe.when(second))
  return proof
end

-- What is shown: the earlier read, of an object that has what it read; the sum of what came between; the
-- later read. Whatever else was open makes no more of it than the bounds say.
local function by_bounds(operations, second, known)
  local first, bounds = contradicted(operations, second, known)
  local shown = {}
  if first ~= START then
    shown[1] = {
      process = "before", f = "add", value = first.result, outcome = "ok", call = -2, finish = -1,
      call_line = 1, finish_line = first.call_line, stands_for = 0,
    }
    shown[2] = first
  end
  if bounds.count > 0 then
    shown[#shown + 1] = sum_of(bounds.sum, bounds.count, bounds.from, bounds.to)
  end
  shown[#shown + 1] = second
  local proof = evidence.of(shown, "counter")
  proof.blocked, proof.other = second, first ~= START and first or nil
  proof.sentence = sentence(first, second, bounds)
  return proof
end

-- The last reads that ended before an event.
local function last_reads(operations, events, count_max)
  local reads = {}
  for _, op in ipairs(operations) do
    if is_read(op) and op.finish < events then
      reads[#reads + 1] = op
    end
  end
  table.sort(reads, function(a, b)
    return a.finish > b.finish
  end)
  return table.move(reads, 1, count_max, 1, {}), #reads
end

-- What is left when only some reads are kept: them; the adds that overlap one of them, or end with `events`
-- or later; and the sums of the others, { value, count, first, last }, by the gap between reads they lie in.
local function around(operations, reads, events)
  local is_kept, shown, sums, open, gap = {}, {}, {}, 0, 1
  for _, read in ipairs(reads) do
    is_kept[read] = true
  end
  local began_in = {} -- adds that are open, or overlap a read: the gap in which they were called, or 0
  for _, moment in ipairs((moments_of(operations))) do
    local op = moment.op
    if moment.at >= events then
      break
    elseif is_kept[op] then
      open = open + (moment.is_call and 1 or -1)
      gap = gap + 1
      shown[#shown + 1] = moment.is_call and op or nil
    elseif not is_read(op) and moment.is_call then
      began_in[op] = open == 0 and gap or 0
    elseif not is_read(op) and open == 0 and began_in[op] == gap then
      local sum = sums[gap] or { value = 0, count = 0, first = op, last = op }
      sums[gap], began_in[op] = sum, nil
      sum.value, sum.count, sum.last = sum.value + op.value, sum.count + 1, op
      sum.first = op.call < sum.first.call and op or sum.first
    end
  end
  for op in pairs(began_in) do
    shown[#shown + 1] = op
  end
  return shown, sums
end

-- The operations that are left when only some reads are kept, sums as one add each.
local function few_of(operations, reads, events)
  local shown, sums = around(operations, reads, events)
  for _, sum in pairs(sums) do
    shown[#shown + 1] = sum_of(sum.value, sum.count, sum.first, sum.last)
  end
  table.sort(shown, function(a, b)
    return a.call < b.call
  end)
  return shown
end

-- Looks at the last reads before the first completion that nothing explains.
local function by_reads(key, operations, budget)
  local events = focus.first_wrong(key, budget, STEPS_EACH * key.part:item())
  local count_max = 1
  while events and fiber.now() < budget.deadline do
    local reads, all = last_reads(operations, events, count_max)
    local proof = evidence.of(few_of(operations, reads, events), "counter", events)
    if evidence.is_wrong(proof, budget) then
      return proof
    elseif count_max >= all or count_max >= READS_MAX then
      return nil
    end
    count_max = 2 * count_max
  end
end

--- Finds a proof that a counter is wrong.
---@param key perilune.check.KeyVerdict
---@param budget perilune.check.Budget
---@return perilune.check.Proof|nil
function M.find(key, budget)
  local operations = evidence.operations(key.history, key.part)
  local second, first = first_beyond(operations)
  local proof
  if second then
    proof = first and by_bounds(operations, second, first) or by_kind(second)
    proof = evidence.is_wrong(proof, budget) and proof or nil
  end
  return proof or by_reads(key, operations, budget)
end

return M
