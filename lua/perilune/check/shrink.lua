--- Finds the smallest part of a history that is still wrong.
---
--- First the shortest beginning: the completion that no order explains ends it. Then operations are taken
--- out, many at a time and then one by one. Leaving out a write would make every read of its value wrong;
--- so what is taken out may still have happened, at any time or never (in C: CHECK_ANYTIME), and only where
--- the rest is wrong all the same did it not matter. What remains is wrong by itself.
local fiber = require "perilune.fiber"
local judge = require "perilune.check.judge"

local M = {}

local SEARCH_STEPS = 300 * 1000 -- of one attempt
local RECORDED, LEFT_OUT, ANYTIME = "\0", "\1", "\2"
M.RECORDED, M.LEFT_OUT, M.ANYTIME = RECORDED, LEFT_OUT, ANYTIME

---@class perilune.check.Trial
---@field part userdata
---@field states? perilune.check.States  of a model in Lua
---@field budget perilune.check.Budget

--- Searches a key with some of its operations in other roles.
---@param trial perilune.check.Trial
---@param events? integer  only what happened before this event
---@param roles? string[]
---@return string result
---@return table[]|nil order  when legal
function M.try(trial, events, roles)
  local search <close> = assert(trial.part:search(trial.budget.memory, events, roles and table.concat(roles)))
  local result = judge.run(search, trial.states, trial.budget, SEARCH_STEPS)
  return result, result == "legal" and search:order() or nil
end

-- The completions before an event of the operations that the model speaks of, in their order.
local function ends_of(items, events)
  local ends = {}
  for index, item in ipairs(items) do
    if item.finish and item.finish < events then
      ends[#ends + 1] = { finish = item.finish, index = index }
    end
  end
  table.sort(ends, function(a, b)
    return a.finish < b.finish
  end)
  return ends
end

-- The first completion up to which the history is wrong, as far as the attempts could tell.
local function shortest(trial, ends)
  local right, wrong = 0, #ends
  while wrong - right > 1 do
    local middle = (right + wrong) // 2
    if M.try(trial, ends[middle].finish + 1) == "illegal" then
      wrong = middle
    else
      right = middle
    end
  end
  return wrong
end

local LAST = { 8, 32, 128, 512, 2048 }

-- What is wrong is mostly wrong because of what happened last: takes out all but the last few operations,
-- when that is enough. Gives those that are left.
local function keep_last(trial, events, roles, left)
  for _, count in ipairs(LAST) do
    if count >= #left or fiber.now() >= trial.budget.deadline then
      break
    end
    for index = 1, #left do
      roles[left[index]] = index > #left - count and RECORDED or ANYTIME
    end
    if M.try(trial, events, roles) == "illegal" then
      return table.move(left, #left - count + 1, #left, 1, {})
    end
  end
  for _, index in ipairs(left) do
    roles[index] = RECORDED
  end
  return left
end

-- Takes out chunks of what is left, smaller and smaller ones.
local function thin(trial, items, events, blocked)
  local roles, left = {}, {}
  for index, item in ipairs(items) do
    roles[index] = RECORDED
    if item.call < events and index ~= blocked then
      left[#left + 1] = index
    end
  end
  left = keep_last(trial, events, roles, left)
  local size = math.max(1, (#left + 1) // 2)
  while #left > 0 do
    local kept, at = {}, 1
    while at <= #left do
      local last = math.min(at + size - 1, #left)
      for index = at, last do
        roles[left[index]] = ANYTIME
      end
      local is_late = fiber.now() >= trial.budget.deadline
      if is_late or M.try(trial, events, roles) ~= "illegal" then
        for index = at, last do
          roles[left[index]] = RECORDED
          kept[#kept + 1] = left[index]
        end
      end
      at = last + 1
    end
    local is_done = size == 1 and #kept == #left
    left, size = kept, math.max(1, math.min(size // 2, #kept))
    if is_done or fiber.now() >= trial.budget.deadline then
      break
    end
  end
  return roles
end

-- Of operations with the same effect, one after the other, the last tells the story.
local function drop_repeated(trial, items, events, roles, blocked)
  local later = {}
  for index = #items, 1, -1 do
    local item = items[index]
    if roles[index] == RECORDED and item.call < events and index ~= blocked then
      local again = later[item.effect]
      if again and item.finish and item.finish < again.call and fiber.now() < trial.budget.deadline then
        roles[index] = LEFT_OUT
        if M.try(trial, events, roles) ~= "illegal" then
          roles[index] = RECORDED
        end
      end
      if roles[index] == RECORDED then
        later[item.effect] = item
      end
    end
  end
end

--- Finds what is left of a key that is not linearizable.
---@param trial perilune.check.Trial
---@param items table[]  of the part, with call and finish of their operations
---@param is_thinned boolean
---@param events_max? integer  it is known to be wrong before this event
---@return { blocked: integer, events: integer, roles: string[], kept: integer[] }
function M.shrink(trial, items, is_thinned, events_max)
  local ends = ends_of(items, events_max or math.huge)
  local last = ends[is_thinned and shortest(trial, ends) or #ends]
  local events = last.finish + 1
  local roles = {}
  if is_thinned then
    roles = thin(trial, items, events, last.index)
    drop_repeated(trial, items, events, roles, last.index)
  end
  local kept = {}
  for index, item in ipairs(items) do
    if item.call < events and (roles[index] or RECORDED) == RECORDED then
      kept[#kept + 1] = index
    end
  end
  return { blocked = last.index, events = events, roles = roles, kept = kept }
end

return M
