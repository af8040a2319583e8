--- The command line of perilune kv: its options, and which of them fit which action.
local units = require "perilune.units"

local M = {}

local ACTIONS = {
  "serve", "get", "put", "delete", "append", "increment", "range", "count", "watch", "lock", "elect",
  "leader", "status", "compact",
}

-- What stands behind each action: how many arguments at least and at most, and what they are.
local TAKES = {
  serve = { 1, 1, "DIR" }, get = { 1, 1, "KEY" }, put = { 2, 2, "KEY VALUE" }, delete = { 1, 1, "KEY" },
  append = { 2, 2, "KEY BYTES" }, increment = { 1, 2, "KEY [N]" }, range = { 0, 1, "[PREFIX]" },
  count = { 0, 1, "[PREFIX]" }, watch = { 0, 1, "[PREFIX]" }, status = { 0, 0, "" },
  compact = { 1, 1, "REVISION" }, lock = { 1, 1, "NAME [-- COMMAND...]" },
  elect = { 2, 2, "NAME VALUE [-- COMMAND...]" }, leader = { 1, 1, "NAME" },
}

-- The options that an action takes beside --json; all but serve take CLIENT's as well.
local CLIENT = { "at", "deadline" }
local OPTIONS = {
  serve = { "id", "members", "listen", "resp", "history", "leases" }, get = { "revision", "consistency" },
  put = { "revision", "fence" }, delete = { "revision", "fence" }, append = { "fence" },
  increment = { "fence" }, range = { "revision", "consistency", "limit" },
  count = { "revision", "consistency" }, watch = { "revision" }, status = { "consistency" }, compact = {},
  lock = { "ttl", "wait" }, elect = { "ttl", "wait" }, leader = {},
}

local NAME_MAX = 900 -- bytes of a lock's name: keys are longer by 124
local SECRET_MIN = 16 -- bytes, as for all connections

local function read_list(text)
  local list = {}
  for item in (text .. ","):gmatch "([^,]*)," do
    if item == "" then
      return nil, ("'%s' is no list of addresses: HOST:PORT, with commas between"):format(text)
    end
    local port = item:match ":(%d+)$"
    if port and tonumber(port) > 65535 then
      return nil, ("'%s' has no port of 0 to 65535"):format(item)
    end
    list[#list + 1] = item
  end
  return list
end

-- The members of a store: nobody stands among them twice.
local function read_members(text)
  local list, why = read_list(text)
  local seen = {}
  for _, item in ipairs(list or {}) do
    if seen[item] then
      return nil, ("'%s' stands there twice"):format(item)
    end
    seen[item] = true
  end
  return list, why
end

-- Reads durations from least seconds on, which are written as shown.
local function duration_from(least, shown)
  return function(text)
    local seconds, why = units.parse_duration(text)
    if seconds and (seconds < least or seconds > 1e6) then
      return nil, ("'%s' is not between %s and 1000000s"):format(text, shown)
    end
    return seconds, why
  end
end

local read_deadline = duration_from(0.001, "1ms")
local read_ttl = duration_from(0.1, "100ms") -- of a lock, as long as the store allows

--- A whole number from 0 on, or nil and what is wrong.
---@param text string
---@return integer|nil number
---@return string? why
function M.number(text)
  local number = math.tointeger(tonumber(text))
  if not number or number < 0 then
    return nil, ("'%s' is no whole number from 0 on"):format(text)
  end
  return number
end

-- Where to listen: an address, or a port of all that this machine has.
local function read_listen(text)
  local host, port = text:match "^([^%s]*):(%d+)$"
  if not host then
    host, port = "", text:match "^%d+$"
  end
  if port and tonumber(port) <= 65535 then
    return host .. ":" .. port
  elseif text:find "^unix:/" then
    return text
  end
  return nil, ("'%s' is nowhere to listen: PORT, as 6379, HOST:PORT or unix:/path"):format(text)
end

local function read_fence(text)
  if text:find "^%d+:." then
    return text
  end
  return nil, ("'%s' is no fence: perilune kv lock gives one, and PERILUNE_FENCE has it"):format(text)
end

local function read_action(text)
  if TAKES[text] then
    return text
  end
  local near = require("perilune.suggest").nearest(text, ACTIONS)
  return nil, ("'%s' is nothing that a store does; %s"):format(text, near
    and ("did you mean %s?"):format(near) or "there are " .. table.concat(ACTIONS, ", "))
end

local function read_consistency(text)
  if text == "linearizable" or text == "lease" or text == "stale" then
    return text
  end
  return nil, ("'%s' is none of linearizable, lease, stale"):format(text)
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune kv", "Serves a key/value store that is replicated by Raft, or reads and "
    .. "writes one.")
  parser:argument("action", "serve DIR; get KEY, put KEY VALUE, delete KEY, append KEY BYTES, increment KEY "
    .. "[N]; range, count or watch [PREFIX]; lock NAME [-- COMMAND], elect NAME VALUE [-- COMMAND], leader "
    .. "NAME; status; compact REVISION."):argname("ACTION")
    :convert(read_action).completes = ACTIONS
  parser:argument("arguments", "What the action takes; a VALUE or BYTES of - is read from standard input.")
    :args "*":argname "ARGUMENT"
  parser:option("--at", "Where the store is served (default: the cluster that perilune up started here, "
    .. "or :7300)."):argname "HOST:PORT,..."
    :convert(read_list)
  parser:option("--deadline", "How long to try (default: 5s)."):argname "TIME"
    :convert(read_deadline)
  parser:option("--revision", "get and range: as it was then. put and delete: only when the key's last "
    .. "change is that one, 0: when it is not there. watch: from there on."):argname "N":convert(M.number)
  parser:option("--consistency", "Of reads: linearizable (default), lease (the same, for nodes with "
    .. "--leases), stale."):argname "HOW"
    :convert(read_consistency)
  parser:option("--limit", "range: at most so many keys (default: all)."):argname "N":convert(M.number)
  parser:option("--fence", "put, delete, append, increment: only while this lock is held.")
    :argname "FENCE":convert(read_fence)
  parser:option("--ttl", "lock, elect: how long it lasts when this process was killed, or its machine is "
    .. "gone (default: 10s).")
    :argname "TIME":convert(read_ttl)
  parser:option("--wait", "lock, elect: how long to wait for it at most.")
    :argname "TIME":convert(units.parse_duration)
  parser:option("--id", "serve: this node's number among the members (default: 1)."):argname "N"
    :convert(M.number)
  parser:option("--members", "serve: where all nodes of the store hear each other, in the order of their "
    .. "numbers (default: 127.0.0.1:7200, alone)."):argname "HOST:PORT,..."
    :convert(read_members)
  parser:option("--listen", "serve: for clients (default: :7300)."):argname "HOST:PORT":convert(read_listen)
  parser:option("--resp", "serve: for Redis' clients, 6379 or HOST:PORT (default: not for them).")
    :argname "PORT":convert(read_listen)
  parser:option("--history", "serve: how many revisions can be read and watched, about; 0: all (default: "
    .. "10000)."):argname "N":convert(M.number)
  parser:flag("--leases", "serve: a leader answers reads by lease without asking the others; the same on all "
    .. "nodes.")
  parser:flag("--json", "Print results as JSON, one object a line. What is no UTF-8 is in key_hex and "
    .. "value_hex, instead of key and value.")
  parser:epilog [[
Between machines all nodes and clients need the same PERILUNE_SECRET.

lock and elect hold as long as COMMAND runs, or without one until a signal ends them. A signal goes on to
COMMAND, and what is held is given back once that has ended; the second one ends all at once. COMMAND
finds PERILUNE_FENCE in its environment: what it writes with --fence "$PERILUNE_FENCE" is refused once the
lock is lost.

Examples:
  perilune kv serve data
  perilune kv put greeting hello
  perilune kv get greeting
  perilune kv range user/ --limit 10 --json
  perilune kv put greeting hi --revision 1
  perilune kv lock backup -- sh -c 'perilune kv put last now --fence "$PERILUNE_FENCE"'
  perilune kv serve data1 --id 1 --members :7201,:7202,:7203 --listen :7301]]
  return parser
end

-- Negative numbers, which are no options behind "increment".
local function part_numbers(argv)
  local own, numbers, is_increment = {}, {}, false
  for _, word in ipairs(argv) do
    is_increment = is_increment or word == "increment"
    local list = is_increment and word:find "^%-%d+$" and numbers or own
    list[#list + 1] = word
  end
  return own, numbers
end

--- Parts what lock and elect run from the rest.
---@param argv string[]
---@return string[] own
---@return string[] rest
function M.split(argv)
  for i, word in ipairs(argv) do
    if word == "--" and i > 1 then
      return table.move(argv, 1, i - 1, 1, {}), table.move(argv, i + 1, #argv, 1, {})
    end
  end
  return part_numbers(argv)
end

-- The first option, by name, that the action has no use for, and those that it has.
local function misplaced_option(args)
  local takes, known = {}, {}
  for _, list in ipairs { OPTIONS[args.action], args.action ~= "serve" and CLIENT or {} } do
    for _, name in ipairs(list) do
      takes[name], takes[#takes + 1] = true, "--" .. name
    end
  end
  for _, list in pairs(OPTIONS) do
    table.move(list, 1, #list, #known + 1, known)
  end
  table.move(CLIENT, 1, #CLIENT, #known + 1, known)
  table.sort(known)
  for _, name in ipairs(known) do
    if args[name] ~= nil and not takes[name] then
      return name, takes
    end
  end
end

--- What is wrong with arguments that fit the parser: nil, or the problem. What stands behind -- becomes
--- arguments where it is no command.
---@param args table
---@return string|nil problem
function M.problem(args)
  local option, takes = misplaced_option(args)
  if option then
    return ("it takes no --%s, but %s"):format(option, table.concat(takes, ", "))
  end
  if args.action ~= "lock" and args.action ~= "elect" then
    table.move(args.rest, 1, #args.rest, #args.arguments + 1, args.arguments)
  end
  local least, most, what = table.unpack(TAKES[args.action])
  local name = what:find "^NAME" and args.arguments[1]
  if #args.arguments < least or #args.arguments > most then
    return ("it takes %s"):format(what ~= "" and what or "nothing")
  elseif name and (name == "" or #name > NAME_MAX) then
    return ("a NAME has 1 to %d bytes"):format(NAME_MAX)
  end
  local secret = os.getenv "PERILUNE_SECRET" or ""
  if secret ~= "" and #secret < SECRET_MIN then
    return ("PERILUNE_SECRET has at least %d bytes; make one with: openssl rand -hex 32"):format(SECRET_MIN)
  end
end

return M
