--- What the functions of a store require of their arguments. Misuse raises, naming the line of the function's
--- caller.
local options_of = require "perilune.options"

local M = {}

--- Most keys that one range gives.
M.RANGE_MAX = 1000

local LEVEL = 4
local CONSISTENCY = { linearizable = true, lease = true, stale = true }

local function need_string(caller, what, value)
  if type(value) ~= "string" then
    error(("%s: %s is a string, not a %s"):format(caller, what, type(value)), LEVEL)
  end
  return value
end

--- A key.
---@param caller string  "store:put"
---@param key any
---@return string
function M.key(caller, key)
  return (need_string(caller, "the key", key))
end

--- A value.
---@param caller string
---@param value any
---@return string
function M.value(caller, value)
  return (need_string(caller, "the value", value))
end

--- What a put says of leases.
---@param caller string
---@param lease any
---@return integer
function M.lease(caller, lease)
  if lease == nil then
    return 0
  elseif lease == true then
    return -1
  end
  local id = math.tointeger(type(lease) == "table" and lease.id or lease)
  return id or error(("%s: lease is a lease, its id, or true"):format(caller), 3)
end

--- The compares that stand for the options revision and version.
---@param caller string
---@param key string
---@param options { revision?: integer, version?: integer }
---@return table[]
function M.compares(caller, key, options)
  local compares = {}
  for _, target in ipairs { "revision", "version" } do
    if options[target] then
      local number = math.tointeger(options[target])
      if not number or number < 0 then
        error(("%s: %s is an integer from 0 on, not %s"):format(caller, target, tostring(options[target])), 3)
      end
      compares[#compares + 1] = { target, key, "=", number }
    end
  end
  return compares
end

local FENCE = "^(%d+):(.+)$"

--- The compare that stands for the option fence: a text such as "17:lock/jobs/000000000000002a", or what has
--- one in its field fence. nil: there is none.
---@param caller string
---@param options? { fence?: any }
---@return table|nil compare
function M.fence(caller, options)
  local fence = options and options.fence
  if fence == nil then
    return nil
  end
  local text = type(fence) == "table" and fence.fence or fence
  local token, key = tostring(text):match(FENCE)
  token = token and math.tointeger(tonumber(token))
  return token and { "created", key, "=", token }
    or error(("%s: fence is that of a lock, or the lock; not %s"):format(caller, tostring(text)), 3)
end

--- What a server says of a key: its value and info, or nil.
---@param found table|nil
---@param age? number
---@return string|nil value
---@return perilune.kv.Info|nil info
function M.found(found, age)
  if found then
    return found[1], {
      revision = found[2], created = found[3], version = found[4], lease = found[5], age = age,
    }
  end
end

-- The first key that is behind all with the prefix; "" when none is.
local function behind(prefix)
  local head, last = prefix:match "^(.-)([^\xff])\xff*$"
  return head and head .. string.char(last:byte() + 1) or ""
end

--- The bounds that key, prefix, from and to say.
---@param caller string
---@param options table
---@return string from
---@return string to  "": to the end
function M.bounds(caller, options)
  local prefix, key = options.prefix, options.key
  if (prefix or key) and (options.from or options.to) or prefix and key then
    error(("%s: key, prefix, and from with to exclude each other"):format(caller), 3)
  elseif key then
    return need_string(caller, "key", key), key .. "\0"
  elseif prefix then
    return need_string(caller, "prefix", prefix), behind(prefix)
  end
  local from, to = options.from or "", options.to or ""
  return need_string(caller, "from", from), need_string(caller, "to", to)
end

--- How a read is done.
---@param caller string
---@param consistency any
---@return string
function M.consistency(caller, consistency)
  if consistency ~= nil and not CONSISTENCY[consistency] then
    error(("%s: consistency is \"linearizable\", \"lease\" or \"stale\", not %s"):format(caller,
      tostring(consistency)), 3)
  end
  return consistency or "linearizable"
end

--- How long a lease lasts.
---@param caller string
---@param ttl any
---@return number seconds
function M.ttl(caller, ttl)
  local seconds = options_of.seconds(caller, "ttl", ttl, 0.1, 2000000, LEVEL)
  return seconds
end

return M
