--- Models that are Lua tables: init, step, and perhaps equal, partition, pure, by_process, name.
---
--- The search in C asks what a step gives, once for each state and each kind of operation; the answer is
--- computed here, in the caller's fiber, so that a step may take as long as the budget lasts.
local M = {}

---@class perilune.check.Model
---@field init any|fun(): any          the first state, or a function that makes it
---@field step fun(state: any, op: perilune.check.Step): boolean, any  is op legal? the state after
---@field equal? fun(a: any, b: any): boolean   whether two states are the same; default: equal contents
---@field partition? fun(op: table): any        a key: operations of different keys do not meet
---@field pure? string[]     operations that never change the state, such as { "read" }: shorter searches
---@field by_process? boolean  step looks at op.process
---@field name? string

---@class perilune.check.Step
---@field f string
---@field value any       the argument
---@field result any      what came back; nil when that is unknown
---@field is_unknown boolean  whether it ended is unknown: if it happened, this is the time
---@field process any     only with by_process

local FIELDS = {
  init = true, step = "function", equal = "function", partition = "function", pure = "table",
  by_process = "boolean", name = "string",
}

--- Checks the shape of a model; raises when it is none.
---@param model table
---@param name string  what to call it in the message
---@return table model
function M.check(model, name)
  require("perilune.options").check(model, FIELDS, name, 3)
  if type(model.step) ~= "function" then
    error(("%s: a model needs step, a function(state, op) that returns whether op is legal and the state "
      .. "after it"):format(name), 3)
  end
  return model
end

-- A text that equal contents share: keys in order, types told apart.
local function contents(value, depth)
  if type(value) ~= "table" then
    return math.type(value) == "float" and ("%a"):format(value) or type(value):sub(1, 1) .. tostring(value)
  elseif depth > 64 then
    error("a state has more than 64 levels of tables; give the model a function equal", 0)
  end
  local keys, parts = {}, {}
  for key, item in pairs(value) do
    local text = contents(key, depth + 1)
    keys[#keys + 1] = text
    parts[text] = contents(item, depth + 1)
  end
  table.sort(keys)
  for index, key in ipairs(keys) do
    keys[index] = ("%d:%s=%d:%s"):format(#key, key, #parts[key], parts[key])
  end
  return "{" .. table.concat(keys, ",") .. "}"
end

---@class perilune.check.States
---@field package model table
---@field package states any[]   by number + 1
---@field package numbers table<string, integer>
---@field package steps table<integer, table>  by effect
local States = {}
States.__index = States

--- Makes the states of one part.
---@param model table
---@param part userdata
---@return perilune.check.States
function M.states(model, part)
  local self = setmetatable({ model = model, part = part, states = {}, count = 0, numbers = {}, steps = {} },
    States)
  local init = model.init
  self:number(type(init) == "function" and init() or init)
  return self
end

--- The number of a state.
---@param state any
---@return integer
function States:number(state)
  local equal = self.model.equal
  if equal then
    for index = 1, self.count do
      if equal(self.states[index], state) then
        return index - 1
      end
    end
  else
    local text = contents(state, 0)
    local known = self.numbers[text]
    if known then
      return known
    end
    self.numbers[text] = self.count
  end
  self.count = self.count + 1
  self.states[self.count] = state
  return self.count - 1
end

--- The state of a number.
---@param number integer
---@return any
function States:get(number)
  return self.states[number + 1]
end

local function plain(value)
  if type(value) == "userdata" then
    return nil -- null inside a table
  end
  return value
end

--- Computes what an operation makes of a state: the number of the state after it, or nil.
---@param state integer
---@param effect integer
---@return integer|nil
function States:step(state, effect)
  local op = self.steps[effect]
  if not op then
    local what = self.part:effect(effect)
    op = {
      f = plain(what[1]), value = plain(what[2]), result = plain(what[3]), is_unknown = what[4],
      process = plain(what[5]),
    }
    self.steps[effect] = op
  end
  local is_legal, next_state = self.model.step(self.states[state + 1], op)
  return is_legal and self:number(next_state) or nil
end

return M
