--- Random commands for a machine of which nobody knows what its commands are: its own samples, changed here
--- and there, and data made of the words that its text has.
local M = {}

local WORDS_MAX, DEPTH_MAX = 60, 3
local NUMBERS = { 0, 1, -1, 2, 3, 10, 100, 1000, 1 << 40, 0.5, -2.5 }

-- The strings and field names of the text: what commands are asked for is among them.
local function words_of(text)
  local words, seen = {}, {}
  for _, pattern in ipairs { "%.([%a_][%w_]*)", '"([^"\n]*)"', "'([^'\n]*)'", "([%a_][%w_]*)%s*=" } do
    for word in text:gmatch(pattern) do
      if not seen[word] and #words < WORDS_MAX then
        seen[word] = true
        words[#words + 1] = word
      end
    end
  end
  return #words > 0 and words or { "a", "b" }
end

---@class perilune.machine.Commands
local Commands = {}
Commands.__index = Commands

--- A word of the machine's text.
---@return string
function Commands:word()
  return self.words[self.random(#self.words)]
end

--- Any data.
---@param depth integer  of tables around it
---@return any
function Commands:value(depth)
  local kind = self.random(depth >= DEPTH_MAX and 3 or 5)
  if kind == 1 then
    return NUMBERS[self.random(#NUMBERS)]
  elseif kind == 2 then
    return self:word()
  elseif kind == 3 then
    return self.random(2) == 1
  end
  local value = {}
  for i = 1, self.random(0, 4) do
    value[kind == 4 and i or self:word()] = self:value(depth + 1)
  end
  return value
end

--- A copy in which one thing in a few is another.
---@param value any
---@param depth integer
---@return any
function Commands:change(value, depth)
  if type(value) == "table" then
    local copy = {}
    for key, inner in pairs(value) do
      copy[key] = self:change(inner, depth + 1)
    end
    return copy
  elseif self.random(6) > 1 then
    return value
  elseif math.type(value) == "integer" then
    return value + self.random(-3, 3)
  elseif type(value) == "string" and depth > 0 and self.random(3) > 1 then
    local other = self.samples[self.random(#self.samples)]
    local _, found = next(type(other) == "table" and other or {})
    return type(found) == "string" and found or self:word()
  end
  return self:value(depth)
end

--- The next command.
---@return any
function Commands:next()
  if #self.samples > 0 and self.random(10) > 1 then
    local sample = self.samples[self.random(#self.samples)]
    return self.random(2) == 1 and sample or self:change(sample, 0)
  end
  return self:value(0)
end

--- Commands for a machine. random: like math.random.
---@param text string
---@param samples any[]|nil
---@param random fun(m: integer, n?: integer): integer
---@return perilune.machine.Commands
function M.of(text, samples, random)
  return setmetatable({ words = words_of(text), samples = samples or {}, random = random }, Commands)
end

return M
