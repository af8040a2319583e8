--- Names the few elements of a list, or pieces of a string, by which a wrong read may show.
---
--- Clients append elements (to a list), or pieces (to a string, which a put starts anew), and read all of it.
--- A read can be wrong for few reasons: it has an element that nobody had asked for, or has it too often; it
--- has two in another order than they happened; it lacks one that was acknowledged before it; it is at odds
--- with another read. Whether the elements of such a reason prove anything, the search says.
local describe = require "perilune.check.describe"
local fiber = require "perilune.fiber"

local M = {}

local MISSING_MAX = 64    -- the last acknowledged elements that are looked for in a read
local GROUPS_MAX = 256    -- of suspects
local YIELD_EVERY = 4096  -- elements

-- What names an element in a table; equal ones have equal names.
local function name_of(element)
  return type(element) == "table" and describe.identity(element) or element
end

-- The elements that a read gave, or nil when they cannot be known.
local function elements_of(part, op)
  if type(op.result) == "string" then
    return part:cut(op.result)
  end
  return type(op.result) == "table" and op.result or {}
end

local function is_read(op)
  return op.f == "read" or op.f == "get"
end

-- What was asked for, by its name: when first, when it was acknowledged, how often. And those that were, in
-- that order.
local function appended_by(operations)
  local appended, acknowledged = {}, {}
  for _, op in ipairs(operations) do
    if not is_read(op) and op.value ~= nil and op.value ~= "" then
      local name = name_of(op.value)
      local known = appended[name] or { value = op.value, call = op.call, count = 0 }
      appended[name] = known
      known.count, known.finish, known.is_put = known.count + 1, op.finish, op.f == "put"
      acknowledged[#acknowledged + 1] = op.finish and known or nil
    end
  end
  table.sort(acknowledged, function(a, b)
    return a.finish < b.finish
  end)
  return appended, acknowledged
end

-- Adds what a read cannot have: not asked for, too often, or in a wrong order. Gives what it has.
local function add_present(add, elements, appended, read)
  local seen, ended = {}, nil -- ended: of those further right, the one that was acknowledged first
  for index = #elements, 1, -1 do
    local name = name_of(elements[index])
    local known = appended[name]
    seen[name] = (seen[name] or 0) + 1
    if not known or known.call > read.finish or seen[name] > known.count then
      add { elements[index] }
    elseif known.count == 1 then
      if ended and ended.finish < known.call then
        add { ended.value, elements[index] }
      end
      ended = known.finish and (not ended or known.finish < ended.finish) and known or ended
    end
  end
  return seen
end

-- Adds what was acknowledged just before a read that does not have it, though it begins earlier.
local function add_missing(add, seen, first, acknowledged, read)
  local low, high = 0, #acknowledged -- the last one that ended before the read began
  while low < high do
    local middle = (low + high + 1) // 2
    if acknowledged[middle].finish < read.call then
      low = middle
    else
      high = middle - 1
    end
  end
  local since = first and first.is_put and (first.finish or math.huge) or -1
  for index = low, math.max(1, low - MISSING_MAX + 1), -1 do
    local known = acknowledged[index]
    if known.call > since and not seen[name_of(known.value)] then
      add { known.value }
    end
  end
end

-- Adds where a read differs from the longest that begins alike.
local function add_differing(add, elements, longest, read)
  local at = 1
  while elements[at] ~= nil and name_of(elements[at]) == name_of(longest.elements[at]) do
    at = at + 1
  end
  local mine, other = elements[at], longest.elements[at]
  if mine ~= nil and other ~= nil then
    add { mine, other }
  elseif other ~= nil and longest.read.finish < read.call then
    add { other }
  end
end

--- Names suspects: groups of elements, each of which may show that a read is wrong.
---@param part userdata
---@param operations table[]  of the part
---@return any[][]
function M.suspects(part, operations)
  local groups, longest, read_count = {}, {}, 0
  local appended, acknowledged = appended_by(operations)
  local function add(group)
    groups[#groups + 1] = group
  end
  for _, read in ipairs(operations) do
    local elements = is_read(read) and elements_of(part, read)
    if elements then
      local first = elements[1] ~= nil and name_of(elements[1]) or nil
      local seen = add_present(add, elements, appended, read)
      add_missing(add, seen, appended[first], acknowledged, read)
      local other = first ~= nil and longest[first]
      if other then
        add_differing(add, elements, other, read)
      end
      if first ~= nil and (not other or #other.elements < #elements) then
        longest[first] = { elements = elements, read = read }
      end
      read_count = read_count + #elements
    end
    if #groups > GROUPS_MAX then
      break
    elseif read_count > YIELD_EVERY then
      read_count = 0
      fiber.yield()
    end
  end
  return groups
end

return M
