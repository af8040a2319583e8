--- Operations in words.
local json = require "perilune.json"
local msgpack = require "perilune.msgpack"

local M = {}

local SHOWN_MAX = 40

--- The beginning of a text: at most so many bytes, and no half of a character.
---@param text string
---@param size_max integer
---@return string
function M.cut(text, size_max)
  return #text > size_max and text:sub(1, utf8.offset(text, 0, size_max + 1) - 1) or text
end

--- A value as short text.
---@param value any
---@param size_max? integer
---@return string
function M.value(value, size_max)
  local text
  size_max = size_max or SHOWN_MAX
  if value == nil or value == json.null then
    return "nil"
  elseif type(value) == "string" then
    value = #value > 2 * size_max and M.cut(value, 2 * size_max) or value -- more is never shown
    text = value:match "^[%w_%-./:+'! ]+$" and not value:match "^%s" and value or ("%q"):format(value)
  else
    if type(value) == "table" and #value > size_max then
      value = json.array(table.move(value, 1, size_max, 1, {}))
    end
    text = json.encode(value, { lossy = true })
  end
  text = text:gsub("%c", " "):gsub("\xc2[\x80-\x9f]", " ") -- the latter: controls as well, in UTF-8
  return #text > size_max and M.cut(text, size_max - 3) .. ".." or text
end

--- A client's name: clients with numbers are c1, c2.
---@param process any
---@return string
function M.process(process)
  return type(process) == "number" and "c" .. M.value(process) or M.value(process)
end

local function pair(op)
  local value = type(op.value) == "table" and op.value or {}
  return M.value(value[1]), M.value(value[2])
end

-- Of a list or a string of which only a few elements count, those: op.seen.
local function seen(op)
  local values = {}
  for index, value in ipairs(type(op.seen) == "table" and op.seen or { op.seen ~= "" and op.seen or nil }) do
    values[index] = M.value(value)
  end
  return #values == 0 and "none of it" or (".. %s .."):format(table.concat(values, " .. "))
end

local function result_or(op, none)
  if op.outcome ~= "ok" then
    return "?"
  elseif op.seen ~= nil then
    return seen(op)
  elseif op.result == nil then
    return none
  end
  return M.value(op.result)
end

-- What stands in a bar, what a client did (as a clause, the client in front), and what it is called.
local WORDS = {
  read = {
    label = function(op) return "read " .. result_or(op, "nil") end,
    did = function(op)
      return "read " .. result_or(op, "nothing")
    end,
    noun = function(op) return "read of " .. result_or(op, "nothing") end,
  },
  write = {
    label = function(op) return "write " .. M.value(op.value) end,
    did = function(op) return "wrote " .. M.value(op.value) end,
    noun = function(op) return "write of " .. M.value(op.value) end,
  },
  cas = {
    label = function(op)
      return ("cas %s>%s"):format(pair(op)) .. (op.outcome == "fail" and " no" or "")
    end,
    did = function(op)
      local old, new = pair(op)
      return op.outcome == "fail" and ("was told that the value is not %s"):format(old)
        or ("changed %s to %s"):format(old, new)
    end,
    noun = function(op)
      return (op.outcome == "fail" and "failed change of %s to %s" or "change of %s to %s"):format(pair(op))
    end,
  },
  append = {
    label = function(op) return "append " .. M.value(op.value) end,
    did = function(op) return "appended " .. M.value(op.value) end,
    noun = function(op) return "append of " .. M.value(op.value) end,
  },
  dequeue = {
    label = function(op) return "dequeue " .. result_or(op, "nil") end,
    did = function(op)
      return op.result == nil and "found the queue empty" or "dequeued " .. M.value(op.result)
    end,
    noun = function(op) return "dequeue of " .. result_or(op, "nothing") end,
  },
  contains = {
    label = function(op) return ("has %s: %s"):format(M.value(op.value), result_or(op, "nil")) end,
    did = function(op)
      return (op.result and "found " or "did not find ") .. M.value(op.value)
    end,
    noun = function(op) return ("look for %s"):format(M.value(op.value)) end,
  },
  acquire = {
    label = function(op) return "acquire" .. (op.result and " " .. M.value(op.result) or "") end,
    did = function(op)
      return "acquired the lock" .. (op.result and " with token " .. M.value(op.result) or "")
    end,
    noun = function() return "acquire" end,
  },
  release = {
    label = function() return "release" end,
    did = function() return "released the lock" end,
    noun = function() return "release" end,
  },
}
for name, past in pairs { put = "put", add = "added", remove = "removed", enqueue = "enqueued" } do
  WORDS[name] = {
    label = function(op) return name .. " " .. M.value(op.value) end,
    did = function(op) return past .. " " .. M.value(op.value) end,
    noun = function(op) return name .. " of " .. M.value(op.value) end,
  }
end
WORDS.get = {
  label = function(op) return "get " .. result_or(op, "nil") end,
  did = function(op) return "got " .. result_or(op, "nothing") end,
  noun = function(op) return "get of " .. result_or(op, "nothing") end,
}
WORDS.delete = {
  label = function() return "delete" end,
  did = function() return "deleted it" end,
  noun = function() return "delete" end,
}

local function words(op)
  return WORDS[op.f] or {
    label = function()
      return M.value(op.f) .. (op.value ~= nil and " " .. M.value(op.value) or "")
        .. (op.result ~= nil and op.result ~= op.value and ": " .. M.value(op.result) or "")
    end,
    did = function()
      return ("did %s %s"):format(M.value(op.f), M.value(op.value))
        .. (op.result ~= nil and " and got " .. M.value(op.result) or "")
    end,
    noun = function() return M.value(op.f) .. (op.value ~= nil and " of " .. M.value(op.value) or "") end,
  }
end

--- "write 5": for the bar of an operation.
---@param op table
---@return string
function M.label(op)
  return words(op).label(op)
end

--- "wrote 5": behind the client's name.
---@param op table
---@return string
function M.did(op)
  return words(op).did(op)
end

--- "write of 5".
---@param op table
---@return string
function M.noun(op)
  return words(op).noun(op)
end

--- When an operation ended: "at 12.031 s", "on line 7".
---@param op table
---@return string
function M.when(op)
  return op.finish_us and "at " .. M.time(op.finish_us) or "on " .. M.time(nil, op.finish_line)
end

--- Adds to an operation what a part sees of its list, or of its string with pieces, where that is not all.
---@param part userdata
---@param index integer  of the part's item
---@param op table
---@return table op
function M.seen(part, index, op)
  local _, result = part:seen(index)
  local is_less = type(result) == "table" and #result < #op.result
    or type(result) == "string" and #result < #op.result
  op.seen = is_less and result or nil
  return op
end

--- A text that equal values share, and others do not.
---@param value any
---@return string
function M.identity(value)
  return assert(msgpack.encode(value))
end

--- When something happened: "12.031 s", or the line of the file.
---@param us? integer
---@param line? integer
---@return string
function M.time(us, line)
  return us and ("%.3f s"):format(us / 1e6) or ("line %d"):format(line or 0)
end

return M
