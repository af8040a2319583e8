--- perilune kv: a node of the key/value store, and what its clients do, from the command line.
local output = require "perilune.cli.output"
local units = require "perilune.units"

local M = {
  summary = "serve a key/value store, or use one",
  usage = "perilune kv serve DIR",
}

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
  serve = { "id", "members", "listen", "resp" }, get = { "revision", "consistency" },
  put = { "revision", "fence" }, delete = { "revision", "fence" }, append = { "fence" },
  increment = { "fence" }, range = { "revision", "consistency", "limit" },
  count = { "revision", "consistency" }, watch = { "revision" }, status = { "consistency" }, compact = {},
  lock = { "ttl", "wait" }, elect = { "ttl", "wait" }, leader = {},
}

local NAME_MAX = 900 -- bytes of a lock's name: keys are longer by 124
local SESSION = 30 -- seconds that the store remembers a write of the command line

local HINTS = {
  EDEADLINE = "are its servers there? --at says where: perilune kv status --at HOST:PORT",
  EEXIST = "look at it again: perilune kv get KEY --json",
  EBUSY = "others hold it; --wait says how long to wait for it",
  ELOST = "somebody else may have the lock by now",
  ECOMPACTED = "perilune kv status --json says where history begins",
}

-- ---- the command line ----

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

local function read_deadline(text)
  local seconds, why = units.parse_duration(text)
  if seconds and (seconds < 0.001 or seconds > 1e6) then
    return nil, ("'%s' is not between 1ms and 1000000s"):format(text)
  end
  return seconds, why
end

local function read_number(text)
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
  parser:option("--at", "Where the store is served (default: :7300)."):argname "HOST:PORT,..."
    :convert(read_list)
  parser:option("--deadline", "How long to try (default: 5s)."):argname "TIME"
    :convert(read_deadline)
  parser:option("--revision", "get and range: as it was then. put and delete: only when the key's last "
    .. "change is that one, 0: when it is not there. watch: from there on."):argname "N":convert(read_number)
  parser:option("--consistency", "Of reads: linearizable (default), lease, stale."):argname "HOW"
    :convert(read_consistency)
  parser:option("--limit", "range: at most so many keys (default: all)."):argname "N":convert(read_number)
  parser:option("--fence", "put, delete, append, increment: only while this lock is held.")
    :argname "FENCE":convert(read_fence)
  parser:option("--ttl", "lock, elect: how long it lasts when this process was killed, or its machine is "
    .. "gone (default: 10s).")
    :argname "TIME":convert(units.parse_duration)
  parser:option("--wait", "lock, elect: how long to wait for it at most.")
    :argname "TIME":convert(units.parse_duration)
  parser:option("--id", "serve: this node's number among the members (default: 1)."):argname "N"
    :convert(read_number)
  parser:option("--members", "serve: where all nodes of the store hear each other, in the order of their "
    .. "numbers (default: 127.0.0.1:7200, alone)."):argname "HOST:PORT,..."
    :convert(read_members)
  parser:option("--listen", "serve: for clients (default: :7300)."):argname "HOST:PORT":convert(read_listen)
  parser:option("--resp", "serve: for Redis' clients, 6379 or HOST:PORT (default: not for them).")
    :argname "PORT":convert(read_listen)
  parser:flag("--json", "Print results as JSON, one object a line.")
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

-- ---- what is printed ----

local function fail(args, err, code)
  local what = ("kv %s"):format(table.concat({ args.action, args.arguments[1] }, " "))
  return output.fail { what = what, why = err, code = code,
    hint = args.action ~= "serve" and HINTS[code] or nil }
end

-- An object for --json, else a line.
local function print_result(args, object, line)
  if args.json then
    output.json(object)
  else
    io.stdout:write(line, "\n")
  end
  return output.EXIT_OK
end

local function text_of(argument)
  return argument == "-" and io.stdin:read "a" or argument
end

-- ---- actions ----

local actions = {}

--- Prints a value.
function actions.get(store, args)
  local key = args.arguments[1]
  local value, info, code = store:get(key, { revision = args.revision, consistency = args.consistency })
  if code then
    return fail(args, info, code)
  elseif not value then
    return fail(args, "there is no such key", "ENOENT")
  end
  info.key, info.value = key, value
  return print_result(args, info, value)
end

--- Sets a key.
function actions.put(store, args)
  local key, value = args.arguments[1], text_of(args.arguments[2])
  local revision, err, code = store:put(key, value, { revision = args.revision, fence = args.fence })
  if not revision then
    return fail(args, err, code)
  end
  return print_result(args, { key = key, revision = revision }, "revision " .. revision)
end

--- Removes a key.
function actions.delete(store, args)
  local key = args.arguments[1]
  local was_there, err, code = store:delete(key, { revision = args.revision, fence = args.fence })
  if was_there == nil then
    return fail(args, err, code)
  end
  return print_result(args, { key = key, deleted = was_there }, was_there and "deleted" or "was not there")
end

--- Adds to a value.
function actions.append(store, args)
  local key = args.arguments[1]
  local size, err, code = store:append(key, text_of(args.arguments[2]), { fence = args.fence })
  if not size then
    return fail(args, err, code)
  end
  return print_result(args, { key = key, size = size }, size .. " bytes")
end

--- Adds to a number.
function actions.increment(store, args)
  local key = args.arguments[1]
  local delta = math.tointeger(tonumber(args.arguments[2] or 1))
  if not delta then
    return output.usage_error("kv increment", ("'%s' is no whole number"):format(args.arguments[2]))
  end
  local sum, err, code = store:increment(key, delta, { fence = args.fence })
  if not sum then
    return fail(args, err, code)
  end
  return print_result(args, { key = key, sum = sum }, tostring(sum))
end

--- Prints keys and values in order.
function actions.range(store, args)
  local from, to = require("perilune.kv.arguments").bounds("range", { prefix = args.arguments[1] })
  local left, revision = args.limit or math.huge, args.revision
  while from and left > 0 do
    local items, next_from, at = store:range { from = from, to = to, limit = math.min(left, 1000),
      revision = revision, consistency = args.consistency }
    if not items then
      return fail(args, next_from, at)
    end
    for _, item in ipairs(items) do
      print_result(args, item, item.key .. "\t" .. item.value)
    end
    from, revision, left = next_from, revision or at, left - #items
  end
  return output.EXIT_OK
end

--- Prints how many keys there are.
function actions.count(store, args)
  local count, err, code = store:count { prefix = args.arguments[1], revision = args.revision,
    consistency = args.consistency }
  if not count then
    return fail(args, err, code)
  end
  return print_result(args, { count = count }, tostring(count))
end

--- Prints changes until it is ended.
function actions.watch(store, args)
  local watch, err, code = store:watch { prefix = args.arguments[1], revision = args.revision }
  while watch do
    local event
    event, err, code = watch:recv()
    if not event then
      break
    end
    print_result(args, event, ("%d\t%s\t%s%s"):format(event.revision, event.type, event.key,
      event.value and "\t" .. event.value or ""))
  end
  return fail(args, err, code)
end

--- Prints how the store stands.
function actions.status(store, args)
  local status, err, code = store:status { consistency = args.consistency }
  if not status then
    return fail(args, err, code)
  end
  return print_result(args, status, ("revision %d, history from %d on\n%d keys, %d leases, %d sessions")
    :format(status.revision, status.compacted, status.keys, status.leases, status.sessions))
end

--- Lets go of history.
function actions.compact(store, args)
  local revision = read_number(args.arguments[1])
  if not revision then
    return output.usage_error("kv compact", ("'%s' is no revision"):format(args.arguments[1]))
  end
  local done, err, code = store:compact(revision)
  if not done then
    return fail(args, err, code)
  end
  return print_result(args, { compacted = revision }, "history begins at " .. revision)
end

for _, name in ipairs { "lock", "elect", "leader" } do
  actions[name] = function(store, args)
    local status, err, code = require("perilune.cli.kv_lock")[name](store, args)
    return status or fail(args, err, code)
  end
end

-- ---- serving ----

local function serve(args)
  local raft, kv, perilune = require "perilune.raft", require "perilune.kv", require "perilune"
  local members, id = args.members or { "127.0.0.1:7200" }, args.id or 1
  if not members[id] then
    return output.usage_error("--id", ("%d is no member's number: those go from 1 to %d"):format(id,
      #members))
  end
  local node, err, code = raft.open {
    id = id, path = args.arguments[1], listen = #members > 1 and members[id]:match ":%d+$" or members[id],
  }
  if not node then
    return fail(args, err, code)
  end
  local group, server
  group, err, code = raft.group { id = 1, members = members, machine = "kv" }
  if group then
    server, err, code = kv.serve { group = group, listen = args.listen or ":7300",
      resp = args.resp }
  end
  if not server then
    node:close()
    return fail(args, err, code)
  end
  print_result(args, { id = id, address = server:address(), resp = err, members = members },
    ("node %d serves clients at %s%s"):format(id, server:address(),
      err and ", Redis' at " .. err or ""))
  while true do
    perilune.sleep(3600)
  end
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
  return argv, {}
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

---@param args table
---@return integer exit_code
function M.run(args)
  local option, takes = misplaced_option(args)
  if option then
    return output.usage_error("kv " .. args.action, ("it takes no --%s, but %s"):format(option,
      table.concat(takes, ", ")))
  end
  if args.action ~= "lock" and args.action ~= "elect" then -- what stands behind -- is no option, but its own
    table.move(args.rest, 1, #args.rest, #args.arguments + 1, args.arguments)
  end
  local least, most, what = table.unpack(TAKES[args.action])
  local name = what:find "^NAME" and args.arguments[1]
  if #args.arguments < least or #args.arguments > most then
    return output.usage_error("kv " .. args.action, ("it takes %s"):format(what ~= "" and what or "nothing"))
  elseif name and (name == "" or #name > NAME_MAX) then
    return output.usage_error("kv " .. args.action, ("a NAME has 1 to %d bytes"):format(NAME_MAX))
  elseif args.action == "serve" then
    return serve(args)
  end
  local store <close> = require("perilune.kv").connect(args.at or ":7300", {
    deadline = args.deadline, session = math.max(SESSION, 2 * (args.deadline or 0)),
  })
  local status = actions[args.action](store, args)
  store:leave()
  return status
end

return M
