--- Models in files. A file sees the same as a job of perilune mr: nothing of the world outside of it, unless
--- it is trusted. That keeps accidents away, not attackers.
local M = {}

local BASE = {
  "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen",
  "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "xpcall", "_VERSION",
}
local LIBRARIES = { "coroutine", "math", "string", "table", "utf8" }
local LEFT_OUT = { string = { dump = true } }

local function copy(library, left_out)
  local result = {}
  for name, value in pairs(library) do
    result[name] = not left_out[name] and value or nil
  end
  return result
end

-- What print writes goes beside the verdicts, not between them.
local function note(...)
  local parts = table.pack(...)
  for index = 1, parts.n do
    parts[index] = tostring(parts[index])
  end
  io.stderr:write(table.concat(parts, "\t"), "\n")
end

-- require for Lua files in a folder, which see no more than the model does.
local function requirer(folder, env)
  local loaded = {}
  return function(name)
    if type(name) ~= "string" or not name:find "^[%w_.-]+$" then
      error(("a model can only require files beside it, not %s"):format(tostring(name)), 2)
    elseif loaded[name] == nil then
      local path = ("%s/%s.lua"):format(folder, name:gsub("%.", "/"))
      local chunk, why = loadfile(path, "t", env)
      if not chunk then
        error(("module '%s' not found: a model can only require files beside it: %s"):format(name, why), 2)
      end
      local value = chunk(name)
      loaded[name] = value == nil and true or value
    end
    return loaded[name]
  end
end

local function library(folder)
  local env = { print = note }
  for _, name in ipairs(BASE) do
    env[name] = _G[name]
  end
  for _, name in ipairs(LIBRARIES) do
    env[name] = copy(_G[name], LEFT_OUT[name] or {})
  end
  env._G, env.require = env, requirer(folder, env)
  return env
end

--- What an error of a model hides: that something is not there. A hint, or nil.
---@param message string
---@return string|nil
function M.hint(message)
  local name = message:match "%(global '([%w_]+)'%)"
  local is_hidden = name == "load" or _G[name] ~= nil
  return is_hidden and ("a model sees no %s; --trusted gives it everything"):format(name) or nil
end

--- Loads a model.
---@param path string
---@param text string  what is in the file
---@param is_trusted? boolean  it gets all libraries
---@return table|nil model
---@return string? err
---@return string? code  "ELUA", "EUSAGE"
function M.load(path, text, is_trusted)
  local env = is_trusted and _G or library(path:match "^(.*)/[^/]*$" or ".")
  local chunk, why = load(text:gsub("^#[^\n]*", "", 1), "@" .. path, "t", env)
  if not chunk then
    return nil, why, "ELUA"
  end
  local ok, model = pcall(chunk)
  if not ok then
    return nil, tostring(model), "ELUA"
  elseif type(model) ~= "table" then
    return nil, "the file returns no table { init =, step = }", "EUSAGE"
  end
  model.name = model.name or path
  ok, why = pcall(require("perilune.check.model").check, model, path)
  if not ok then
    return nil, (tostring(why):gsub("^perilune/[%w_/]+%.lua:%d+: ", "")), "EUSAGE"
  end
  return model
end

return M
