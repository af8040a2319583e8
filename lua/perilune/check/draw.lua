--- Verdicts as text: a counterexample is drawn, clients as rows, operations as bars.
local describe = require "perilune.check.describe"

local M = {}

local COLUMNS = 100
local NAME_MAX = 14
local LABEL_MAX = 24
local OPERATIONS_MAX = 40 -- drawn; more are only counted

-- The calls and ends of operations in the order of events.
local function moments(operations)
  local list = {}
  for index, op in ipairs(operations) do
    list[#list + 1] = { at = op.call, index = index, is_call = true }
    if op.finish then
      list[#list + 1] = { at = op.finish, index = index }
    end
  end
  table.sort(list, function(a, b)
    return a.at < b.at
  end)
  return list
end

-- Gives every moment a column of its own, so that what happened first stands further left, and every bar
-- room for its label. Returns the columns of calls and ends, and the width.
local function place(operations, labels, gap)
  local calls, ends, at = {}, {}, 0
  for _, moment in ipairs(moments(operations)) do
    at = at + gap
    if moment.is_call then
      calls[moment.index] = at
    else
      at = math.max(at, calls[moment.index] + #labels[moment.index] + 3)
      ends[moment.index] = at
    end
  end
  for index in ipairs(operations) do
    if not ends[index] then
      at = math.max(at, calls[index] + #labels[index] + 3)
    end
  end
  return calls, ends, at + 1
end

-- What an operation is called, with its key where there are several.
local function label_of(op, operations)
  local has_several = false
  for _, other in ipairs(operations) do
    has_several = has_several or other.key ~= op.key
  end
  return (has_several and op.key ~= nil and describe.value(op.key) .. ": " or "") .. describe.label(op)
end

local function label_lists(operations)
  local full, short = {}, {}
  for index, op in ipairs(operations) do
    full[index] = describe.cut(label_of(op, operations), LABEL_MAX)
    short[index] = "#" .. index
  end
  return { full, short }
end

-- The widest drawing that fits, or nil.
local function fit(operations, room)
  for _, labels in ipairs(label_lists(operations)) do
    for _, gap in ipairs { 2, 1 } do
      local calls, ends, width = place(operations, labels, gap)
      if width <= room then
        return labels, calls, ends, width
      end
    end
  end
end

local function put(cells, at, text)
  for index = 1, #text do
    cells[at + index - 1] = text:sub(index, index)
  end
end

local function bar(cells, op, label, from, to, width)
  local last = to or width
  for at = from, last do
    cells[at] = op.finish and "-" or "~"
  end
  cells[from] = "|"
  cells[last] = to and "|" or ">"
  put(cells, from + 1 + math.max(0, (last - from - 1 - #label) // 2), label)
end

local function rows_of(operations)
  local rows, by_process = {}, {}
  for index, op in ipairs(operations) do
    local name = describe.process(op.process)
    local row = by_process[name]
    if not row then
      row = { name = describe.cut(name, NAME_MAX) }
      by_process[name] = row
      rows[#rows + 1] = row
    end
    row[#row + 1] = index
  end
  return rows
end

-- One line for each client.
local function timeline(operations, columns, paint, blocked)
  local rows, name_width = rows_of(operations), 0
  for _, row in ipairs(rows) do
    name_width = math.max(name_width, #row.name)
  end
  local labels, calls, ends, width = fit(operations, columns - name_width - 3)
  if not labels then
    return {}
  end
  local lines = {}
  for _, row in ipairs(rows) do
    local cells, marked = {}, nil
    for at = 1, width do
      cells[at] = " "
    end
    for _, index in ipairs(row) do
      bar(cells, operations[index], labels[index], calls[index], ends[index], width)
      marked = operations[index] == blocked and index or marked
    end
    local line = table.concat(cells):gsub("%s+$", "")
    if marked then
      line = line:sub(1, calls[marked] - 1) .. paint("red", line:sub(calls[marked], ends[marked]))
        .. line:sub(ends[marked] + 1)
    end
    lines[#lines + 1] = ("  %s%s %s"):format(row.name, (" "):rep(name_width - #row.name), line)
  end
  return lines
end

local function span(op)
  if not op.call_us then
    return op.finish and ("lines %d..%d"):format(op.call_line, op.finish_line)
      or ("from line %d"):format(op.call_line)
  end
  return op.finish_us and ("%.3f..%.3f s"):format(op.call_us / 1e6, op.finish_us / 1e6)
    or ("from %.3f s"):format(op.call_us / 1e6)
end

local function legend(operations, blocked, paint)
  local lines = {}
  for index, op in ipairs(operations) do
    local text = ("  #%d %s %s%s, %s%s"):format(index, describe.process(op.process), label_of(op, operations),
      op.node and " on " .. describe.value(op.node) or "", span(op),
      op.outcome == "unknown" and ", outcome unknown" or "")
    lines[#lines + 1] = op == blocked and paint("red", text .. "  <- cannot be") or text
  end
  return lines
end

local function plain(_, text)
  return text
end

--- Draws a counterexample: the timeline and what stands in it.
---@param example perilune.check.Counterexample
---@param options? { columns?: integer, paint?: fun(style: string, text: string): string }
---@return string
function M.counterexample(example, options)
  options = options or {}
  local paint, lines = options.paint or plain, {}
  local operations = example.operations
  if #operations > OPERATIONS_MAX then
    lines[1] = ("  (the %d operations that are left are too many to draw)"):format(#operations)
    operations = { example.other or example.blocked, example.other and example.blocked }
  end
  for _, line in ipairs(timeline(operations, options.columns or COLUMNS, paint, example.blocked)) do
    lines[#lines + 1] = line
  end
  for _, line in ipairs(legend(operations, example.blocked, paint)) do
    lines[#lines + 1] = line
  end
  if example.others > 0 then
    lines[#lines + 1] = ("  (%d other operation%s left out: %s)"):format(example.others,
      example.others == 1 and " is" or "s are", example.is_argued
        and "what they can make of it is counted in, by arithmetic"
        or example.others == 1 and "it cannot make this right" or "they cannot make this right")
  end
  if example.repeated > 0 then
    lines[#lines + 1] = ("  (%d more left out: a later one does the same again)"):format(example.repeated)
  end
  return table.concat(lines, "\n")
end

local STYLES = { [true] = "green", [false] = "red" }
local KEYS_LISTED = 10

local function key_lines(verdict, paint)
  local lines, more = {}, 0
  for _, key in ipairs(verdict.keys) do
    if not key.ok and #verdict.keys > 1 then
      if #lines < KEYS_LISTED then
        lines[#lines + 1] = ("  key %s: %s%s"):format(describe.value(key.key),
          paint(STYLES[key.ok] or "yellow", key.ok == false and "not linearizable" or "undecided"),
          key.ok == nil and ", " .. key.why or "")
      else
        more = more + 1
      end
    end
  end
  if more > 0 then
    lines[#lines + 1] = ("  and %d keys more"):format(more)
  end
  return lines
end

--- Writes a verdict for a person.
---@param verdict perilune.check.Verdict
---@param options? { columns?: integer, paint?: fun(style: string, text: string): string }
---@return string
function M.verdict(verdict, options)
  options = options or {}
  local paint = options.paint or plain
  local lines = { ("%s: %d operation%s%s%s, %d step%s"):format(
    paint(STYLES[verdict.ok] or "yellow", verdict.verdict), verdict.operations,
    verdict.operations == 1 and "" or "s",
    verdict.unknown > 0 and (" (%d of unknown outcome)"):format(verdict.unknown) or "",
    #verdict.keys > 1 and (" on %d keys"):format(#verdict.keys) or "", verdict.steps,
    verdict.steps == 1 and "" or "s") }
  for _, line in ipairs(key_lines(verdict, paint)) do
    lines[#lines + 1] = line
  end
  if verdict.ok == nil then
    lines[#lines + 1] = "  " .. verdict.why
  end
  for _, key in ipairs(verdict.keys) do
    if key.counterexample then
      lines[#lines + 1] = ""
      lines[#lines + 1] = key.counterexample.sentence .. "."
      lines[#lines + 1] = M.counterexample(key.counterexample, options)
    end
  end
  return table.concat(lines, "\n")
end

return M
