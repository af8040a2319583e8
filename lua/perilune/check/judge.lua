--- Drives searches within a budget, and gives each key its verdict.
local fiber = require "perilune.fiber"
local models = require "perilune.check.model"
local msgpack = require "perilune.msgpack"

local M = {}

local SLICE_STEPS = 20000
local PASSES = { 100 * 1000, 4 * 1000 * 1000, math.maxinteger }
local PROVEN_PASSES = 2 -- after the first ones a proof is looked for of what is undecided

---@class perilune.check.Budget
---@field deadline number   on the monotonic clock
---@field steps number      that are left
---@field spent? integer    steps so far
---@field memory integer    bytes that a search may take

local function spend(budget, steps)
  budget.steps = budget.steps - steps
  budget.spent = (budget.spent or 0) + steps
end

--- Runs one search until it is decided or something is used up.
---@param search userdata
---@param states perilune.check.States|nil  of a model in Lua
---@param budget perilune.check.Budget
---@param steps_max? number  of this search alone
---@return string result  "legal", "illegal", "memory", "time", "steps"
function M.run(search, states, budget, steps_max)
  local before = search:effort()
  local limit = math.min(steps_max or math.huge, budget.steps)
  while true do
    local used = search:effort() - before
    if used >= limit then
      spend(budget, used)
      return "steps"
    end
    local result, state, effect = search:run(math.ceil(math.min(SLICE_STEPS, limit - used)))
    if not result then
      error(("check: %s"):format(state), 0)
    elseif result == "ask" then
      assert(search:answer(states:step(state, effect)))
    elseif result ~= "more" then
      spend(budget, search:effort() - before)
      return result
    else
      fiber.yield()
    end
    if fiber.now() >= budget.deadline then
      spend(budget, search:effort() - before)
      return "time"
    end
  end
end

-- The parts that a model in Lua wants: groups of groups, by what its partition gives.
local function partition(history, model, groups)
  local parts, by_key = {}, {}
  for _, group in ipairs(groups) do
    for _, index in ipairs(group.operations) do
      local key = model.partition(history:operation(index))
      local id, why = msgpack.encode(key, { name = "the key that partition gave" })
      if not id then
        error(why, 0)
      end
      local found = by_key[id]
      if not found then
        found = { key = key, operations = {} }
        by_key[id] = found
        parts[#parts + 1] = found
      end
      table.insert(found.operations, index)
    end
  end
  for _, part in ipairs(parts) do
    table.sort(part.operations)
  end
  return parts
end

--- Cuts a history into parts that are searched alone.
---@param history userdata
---@param model string|table
---@return table[]|nil keys  { key =, operations = count, part =, states = }
---@return string|nil err
---@return string|nil code
function M.parts(history, model)
  local groups, external = history:groups(), nil
  if type(model) == "table" then
    external = { by_process = model.by_process, pure = model.pure }
    groups = model.partition and partition(history, model, groups) or groups
  end
  local keys = {}
  for index, group in ipairs(groups) do
    local part, err, code = history:part(external and "external" or model, group.operations, external)
    if not part then
      return nil, err, code
    end
    keys[index] = {
      key = group.key, operations = #group.operations, part = part, steps = 0, memory = 0,
      history = history, model = model,
      states = external and models.states(model, part) or nil,
    }
  end
  return keys
end

-- Searches one key; its verdict is ok = true, false, or nil and a reason.
local function search_key(key, budget, steps_max)
  local search <close> = assert(key.part:search(budget.memory))
  key.reason = M.run(search, key.states, budget, steps_max)
  local steps, memory = search:effort()
  key.steps, key.memory = key.steps + steps, math.max(key.memory, memory)
  if key.reason == "legal" or key.reason == "illegal" then
    key.ok, key.reason = key.reason == "legal", nil
    key.order = key.ok and search:order() or nil
  end
end

-- Asks for a proof of what the search cannot decide.
local function prove_key(key, budget, prove)
  local before = budget.spent
  key.proof = prove(key, budget)
  key.steps = key.steps + budget.spent - before
  if key.proof then
    key.ok, key.reason = false, nil
  end
end

local function undecided(keys)
  local open = {}
  for _, key in ipairs(keys) do
    if key.ok == nil and key.reason ~= "memory" then
      open[#open + 1] = key
    end
  end
  return open
end

--- Searches all keys: first a little each, so that one that is hard does not hide the others' verdicts, then
--- with what is left, in equal shares.
---@param keys table[]
---@param budget perilune.check.Budget
---@param prove? fun(key: table, budget: perilune.check.Budget): table|nil  that a key is wrong
function M.search(keys, budget, prove)
  for number, pass in ipairs(PASSES) do
    local open = undecided(keys)
    for index, key in ipairs(open) do
      local shares = #open - index + 1
      local now = fiber.now()
      local share = {
        memory = budget.memory, deadline = now + (budget.deadline - now) / shares,
        steps = budget.steps / shares,
      }
      local given = share.steps
      search_key(key, share, pass)
      if prove and number <= PROVEN_PASSES and key.ok == nil then
        prove_key(key, share, prove)
      end
      budget.steps = budget.steps - (given - share.steps)
    end
  end
end

-- The indices of all operations.
local function all_of(history)
  local indices = {}
  for index = 1, (history:counts()) do
    indices[index] = index
  end
  return indices
end

--- Searches a whole history for sequential consistency: a little, then for a proof that it is wrong, then on.
---@param history userdata
---@param model string
---@param budget perilune.check.Budget
---@param prove fun(key: table, budget: perilune.check.Budget): table|nil  that it is wrong
---@return table|nil key  as of parts, with its verdict
---@return string|nil err
---@return string|nil code
function M.sequential(history, model, budget, prove)
  local operations = all_of(history)
  local part, err, code = history:part(model, operations)
  if not part then
    return nil, err, code
  end
  local key = { operations = #operations, part = part, history = history, model = model }
  local search <close> = assert(part:sequential(budget.memory))
  key.reason = M.run(search, nil, budget, PASSES[1])
  if key.reason == "steps" then
    key.proof = prove(key, budget)
    key.reason = key.proof and "illegal" or M.run(search, nil, budget)
  end
  key.steps, key.memory = search:effort()
  if key.reason == "legal" or key.reason == "illegal" then
    key.ok, key.reason = key.reason == "legal", nil
    key.order = key.ok and search:order() or nil
  end
  return key
end

return M
