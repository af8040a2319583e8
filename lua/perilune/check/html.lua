--- Verdicts as one page that needs nothing else: clients and time, what was done when, in which order.
local describe = require "perilune.check.describe"
local explain = require "perilune.check.explain"
local fiber = require "perilune.fiber"
local json = require "perilune.json"

local M = {}

local OPERATIONS_MAX = 3000      -- shown of one key: the last ones before what is wrong
local SIZE_MAX = 4 * 1024 * 1024 -- of all keys together; the page says what is left out
local KEYS_MAX = 500
local YIELD_EVERY = 64           -- operations; others run in between, in a fiber
local DETAIL_MAX = 200           -- characters of a value

-- Where the operations of an order take effect: behind the call of all that come before.
local function points_of(key, history)
  local order = key.order or key.counterexample and key.counterexample.order or {}
  local points, at = {}, 0
  for number, step in ipairs(order) do
    local op = history:operation(step.operation)
    at = math.max(at + 0.01, op.call + 0.2)
    points[op.index] = { at = at, number = number, state = step.state }
  end
  return points
end

local function marks_of(key)
  local marks, example = {}, key.counterexample
  for _, op in ipairs(example and example.operations or {}) do
    if op.index then -- else it stands for others
      marks[op.index] = "kept"
    end
  end
  if example and example.blocked then
    marks[example.blocked.index] = "blocked"
    if example.other then
      marks[example.other.index] = "other"
    end
  end
  return marks
end

local function detail(op)
  local lines = { ("%s: %s"):format(describe.process(op.process), describe.label(op)) }
  if op.node ~= nil then
    lines[#lines + 1] = "node " .. describe.value(op.node)
  end
  lines[#lines + 1] = "asked " .. describe.value(op.value, DETAIL_MAX)
  lines[#lines + 1] = op.outcome == "unknown" and "outcome unknown" .. (op.error
    and ": " .. describe.value(op.error) or "") or op.outcome .. " " .. describe.value(op.result, DETAIL_MAX)
  lines[#lines + 1] = ("from %s%s"):format(describe.time(op.call_us, op.call_line),
    op.finish and " to " .. describe.time(op.finish_us, op.finish_line) or "")
  return table.concat(lines, "\n")
end

local function row(key, op, points, marks)
  local point = points[op.index]
  local text = detail(op)
  if point then
    text = ("%s\nnumber %d in the order%s"):format(text, point.number,
      point.state and "; then: " .. describe.value(explain.state(key, point.state), DETAIL_MAX) or "")
  end
  return {
    client = describe.process(op.process), label = describe.label(op), call = op.call, finish = op.finish,
    outcome = op.outcome, point = point and point.at, mark = marks[op.index], detail = text,
  }
end

-- The operations of a key, the last OPERATIONS_MAX of those up to what is wrong.
local function key_data(key, history)
  local indices, points, marks = {}, points_of(key, history), marks_of(key)
  local blocked = key.counterexample and key.counterexample.blocked
  local last = blocked and blocked.finish or math.maxinteger
  for index = 1, key.part:item() do
    local operation, call = key.part:item(index)
    if call <= last then
      indices[#indices + 1] = operation
    end
  end
  local first = math.max(1, #indices - OPERATIONS_MAX + 1)
  local rows = json.array {}
  for at = first, #indices do
    rows[#rows + 1] = row(key, history:operation(indices[at]), points, marks)
    if at % YIELD_EVERY == 0 and coroutine.isyieldable() then
      fiber.yield()
    end
  end
  return {
    name = key.key ~= nil and describe.value(key.key) or "the object", operations = rows,
    verdict = key.ok and "yes" or key.ok == false and "no" or "undecided", why = key.why,
    total = key.operations, left_out = key.operations - #rows,
  }
end

local RANK = { [false] = 1, [true] = 3 }

-- Wrong keys first, then undecided ones.
local function ranked(keys)
  local list = table.move(keys, 1, #keys, 1, {})
  local place = {}
  for index, key in ipairs(keys) do
    place[key] = index
  end
  table.sort(list, function(a, b)
    local left, right = RANK[a.ok] or 2, RANK[b.ok] or 2
    if left ~= right then
      return left < right
    end
    return place[a] < place[b]
  end)
  return list
end

--- Makes the page of a verdict: at most 5 MB, whatever the history; it says what it leaves out.
---@param verdict perilune.check.Verdict
---@param title? string
---@return string html
function M.page(verdict, title)
  local parts, size, left_out = {}, 0, 0
  for _, key in ipairs(ranked(verdict.keys)) do
    local text = #parts < KEYS_MAX and size < SIZE_MAX and json.encode(key_data(key, verdict.history)) or nil
    if text and size + #text <= SIZE_MAX then
      parts[#parts + 1], size = text, size + #text
    else
      left_out = left_out + 1
    end
  end
  local head = json.encode {
    title = title or "history", verdict = verdict.verdict, why = verdict.why, operations = verdict.operations,
    unknown = verdict.unknown, steps = verdict.steps, keys_left_out = left_out,
  }
  local data = ("{\"head\":%s,\"keys\":[%s]}"):format(head, table.concat(parts, ","))
  -- No text of a history can end the script element.
  local safe = data:gsub("<", "\\u003c"):gsub("\u{2028}", "\\u2028"):gsub("\u{2029}", "\\u2029")
  return (require("perilune.check.page"):gsub("@DATA@", function()
    return safe
  end))
end

return M
