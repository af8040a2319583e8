--- What a node is told: defaults, then a file of Lua, then PERILUNE_* variables, then flags; the later wins.
---
---   return {                          -- node.lua
---     id = 1,
---     listen = "10.0.0.1:7100",       -- for other nodes and clients
---     resp = "10.0.0.1:6379",
---     data = "/var/lib/perilune",
---     members = { "10.0.0.1:7100", "10.0.0.2:7100", "10.0.0.3:7100" },
---     secret = os.getenv "SECRET",
---   }
---
--- Each value is kept with where it comes from, for perilune config --effective.
local address = require "perilune.cluster.address"
local suggest = require "perilune.suggest"
local units = require "perilune.units"

local M = {}

local ID_MAX = 1 << 53
local SECRET_MIN = 16

local function integer(least)
  return function(value)
    local number = math.tointeger(tonumber(value))
    if not number or number < least or number > ID_MAX then
      return nil, ("'%s' is no whole number from %d on"):format(tostring(value), least)
    end
    return number
  end
end

local function text(value)
  if type(value) ~= "string" or value == "" then
    return nil, "it has to be a text"
  end
  return value
end

local function flag(value)
  if type(value) == "boolean" then
    return value
  elseif value == "true" or value == "1" or value == "false" or value == "0" then
    return value == "true" or value == "1"
  end
  return nil, ("'%s' is neither true nor false"):format(tostring(value))
end

local function one_address(value)
  if type(value) ~= "string" and math.type(value) ~= "integer" then
    return nil, "it has to be PORT, HOST:PORT or unix:/path"
  end
  return address.read(tostring(value))
end

-- A text with commas, or a list.
local function addresses(value)
  local list = value
  if type(value) == "table" then
    for _, item in ipairs(value) do
      if type(item) ~= "string" then
        return nil, "it has to be a list of addresses"
      end
    end
    list = #value > 0 and table.concat(value, ",") or nil
  end
  if type(list) ~= "string" or list == "" then
    return nil, "it has to be a list of addresses"
  end
  return address.read_list(list)
end

local function secret(value)
  if type(value) ~= "string" or #value < SECRET_MIN then
    return nil, ("it has at least %d bytes; make one with: openssl rand -hex 32"):format(SECRET_MIN)
  end
  return value
end

local function duration(value)
  if type(value) == "number" then
    value = value .. "s"
  end
  local seconds, why = units.parse_duration(value)
  if seconds and (seconds < 0.001 or seconds > 60) then
    return nil, ("'%s' is not between 1ms and 60s"):format(value)
  end
  return seconds, why
end

---@class perilune.cluster.Field
---@field name string
---@field read fun(value: any): any, string?  of a file or a text: the value, or nil and what is wrong
---@field argument? string  what the flag takes; nil: it takes nothing
---@field about string
---@field default? any

--- What there is to be told, in the order of help.
---@type perilune.cluster.Field[]
M.fields = {
  { name = "id", read = integer(1), argument = "N", default = 1,
    about = "The node's number in its cluster, for ever (default: 1)." },
  { name = "listen", read = one_address, argument = "HOST:PORT", default = "127.0.0.1:7100",
    about = "Where other nodes and clients reach it (default: 127.0.0.1:7100)." },
  { name = "advertise", read = one_address, argument = "HOST:PORT",
    about = "What others are told to connect to (default: as --listen)." },
  { name = "resp", read = one_address, argument = "HOST:PORT",
    about = "Where Redis' clients reach it (default: nowhere)." },
  { name = "data", read = text, argument = "DIR", default = "data",
    about = "Where its data are (default: data)." },
  { name = "members", read = addresses, argument = "HOST:PORT,...",
    about = "All nodes of a cluster that begins, in the order of their numbers (default: this one alone)." },
  { name = "join", read = addresses, argument = "HOST:PORT,...",
    about = "Nodes of a cluster that is there already, which this one joins." },
  { name = "history", read = integer(0), argument = "N", default = 10000,
    about = "How many revisions can be read and watched, about; 0: all (default: 10000)." },
  { name = "leases", read = flag,
    about = "A leader answers reads by lease; the same on all nodes." },
  { name = "heartbeat", read = duration, argument = "TIME", default = 0.05,
    about = "Time between two heartbeats of a leader; followers wait three to six for one (default: 50ms)." },
  { name = "cluster", read = text, argument = "NAME", default = "default",
    about = "Name of the cluster: others are not let in." },
  { name = "secret", read = secret, is_secret = true,
    about = "What all nodes and clients know; only by file or variable." },
  { name = "ready-file", read = text, argument = "FILE",
    about = "Written once the node is part of its cluster and knows a leader; removed at the end." },
}

--- The key of a field in a file and in the table of values.
---@param field perilune.cluster.Field
---@return string
function M.key(field)
  return (field.name:gsub("-", "_"))
end

--- The variable of a field.
---@param field perilune.cluster.Field
---@return string
function M.variable(field)
  return "PERILUNE_" .. M.key(field):upper()
end

-- What a file may use: the library of Lua, with globals of its own.
local function load_file(path)
  local chunk, why = loadfile(path, "t", setmetatable({}, { __index = _G }))
  if not chunk then
    return nil, why
  end
  local ok, values = pcall(chunk)
  if not ok then
    return nil, tostring(values)
  elseif type(values) ~= "table" then
    return nil, ("%s: it has to return a table, not a %s"):format(path, type(values))
  end
  return values
end

local function unknown_key(path, values)
  local known, names = {}, {}
  for _, field in ipairs(M.fields) do
    known[M.key(field)], names[#names + 1] = true, M.key(field)
  end
  table.sort(names)
  local wrong = {}
  for key in pairs(values) do
    if not known[key] then
      wrong[#wrong + 1] = tostring(key)
    end
  end
  table.sort(wrong)
  return wrong[1] and ("%s: there is no '%s'; %s"):format(path, wrong[1], suggest.hint(wrong[1], names))
end

-- What does not go together.
local function conflict(values)
  if values.members and values.join then
    return "members and join exclude each other: a cluster begins, or is there already"
  elseif values.members and not values.members[values.id] then
    return ("id %d is no member's number: those go from 1 to %d"):format(values.id, #values.members)
  end
  for _, name in ipairs { "listen", "resp" } do
    if values[name] and not values.secret and not address.is_loopback(values[name]) then
      return ("%s is %s, which other machines reach, and there is no secret: set PERILUNE_SECRET (openssl "
        .. "rand -hex 32), or listen at 127.0.0.1"):format(name, values[name])
    end
  end
  local is_alone = not values.members and not values.join
  if not is_alone and not values.advertise and address.is_any(values.listen) then
    return ("others cannot connect to %s: say --advertise HOST:PORT"):format(values.listen)
  end
end

--- Reads all sources. The values, and for each where it comes from ("default", "file FILE",
--- "PERILUNE_ID", "--id"); or nil and what is wrong.
---@param flags table<string, any>  what the command line says, read already; by key
---@param path? string  of the file
---@return table|nil values
---@return table<string, string>|string sources  or what is wrong
function M.read(flags, path)
  path = path or os.getenv "PERILUNE_CONFIG"
  local from_file = {}
  if path and path ~= "" then
    local values, why = load_file(path)
    why = why or unknown_key(path, values)
    if why then
      return nil, why
    end
    from_file = values
  end
  local values, sources = {}, {}
  for _, field in ipairs(M.fields) do
    local key, variable = M.key(field), M.variable(field)
    local given = os.getenv(variable)
    local raw, source = field.default, "default"
    if flags[key] ~= nil then
      values[key], sources[key] = flags[key], "--" .. field.name
    elseif given and given ~= "" then
      raw, source = given, variable
    elseif from_file[key] ~= nil then
      raw, source = from_file[key], "file " .. path
    end
    if values[key] == nil and raw ~= nil then
      local why
      values[key], why = field.read(raw)
      if values[key] == nil then
        return nil, ("%s (%s): %s"):format(key, source, why)
      end
    end
    sources[key] = sources[key] or (raw ~= nil and source or "not set")
  end
  local why = conflict(values)
  if why then
    return nil, why
  end
  return values, sources
end

return M
