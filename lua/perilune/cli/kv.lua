--- perilune kv: a node of the key/value store, and what its clients do, from the command line.
local arguments = require "perilune.cli.kv_arguments"
local output = require "perilune.cli.output"

local M = {
  summary = "serve a key/value store, or use one",
  usage = "perilune kv serve DIR",
  parser = arguments.parser,
  split = arguments.split,
}

local SUBJECT_MAX = 100 -- bytes of a key in messages
local SESSION = 30 -- seconds that the store remembers a write of the command line

local HERE = "perilune status says what is missing; --at asks a store elsewhere"
local HINTS = {
  EUNREACHABLE = "perilune up starts them; --at asks a store elsewhere",
  EDEADLINE = "are its servers there? --at says where: perilune kv status --at HOST:PORT",
  EEXIST = "look at it again: perilune kv get KEY --json",
  EBUSY = "others hold it; --wait says how long to wait for it",
  ELOST = "somebody else may have the lock by now",
  ECOMPACTED = "perilune kv status --json says where history begins",
}

-- ---- what is printed ----

local function fail(args, err, code)
  local subject = args.arguments[1]
  if subject and #subject > SUBJECT_MAX then
    subject = subject:sub(1, SUBJECT_MAX) .. "..."
  end
  local what = ("kv %s"):format(table.concat({ args.action, subject }, " "))
  local hint = args.action ~= "serve" and HINTS[code] or nil
  return output.fail { what = what, why = err, code = code,
    hint = code == "EDEADLINE" and args.is_here and HERE or hint }
end

local function to_hex(bytes)
  return (bytes:gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end))
end

-- An object for --json, else a line. Bytes that no JSON text has are in hexadecimal digits.
local function print_result(args, object, line)
  if args.json then
    for _, name in ipairs { "key", "value" } do
      local text = object[name]
      if text and not utf8.len(text) then
        object[name], object[name .. "_hex"] = nil, to_hex(text)
      end
    end
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

-- A line about a member.
local function member_line(status, member)
  local words = { ("node %d\t%s\t%s"):format(member.id, member.address or "", member.is) }
  if member.id == status.leader then
    words[#words + 1] = ("leads term %d"):format(status.term)
  elseif member.behind then
    words[#words + 1] = ("%d entries behind"):format(member.behind)
  end
  if member.silent and member.silent >= 1 then
    words[#words + 1] = ("silent for %.0f s"):format(member.silent)
  end
  return table.concat(words, "\t")
end

--- Prints how the store stands, and who has it.
function actions.status(store, args)
  local status, err, code = store:status { consistency = args.consistency }
  if not status then
    return fail(args, err, code)
  end
  local lines = {
    ("revision %d, history from %d on"):format(status.revision, status.compacted),
    ("%d keys, %d leases, %d sessions"):format(status.keys, status.leases, status.sessions),
  }
  if not status.leader then
    lines[#lines + 1] = "no leader is known"
  end
  for _, member in ipairs(status.members) do
    lines[#lines + 1] = member_line(status, member)
  end
  return print_result(args, status, table.concat(lines, "\n"))
end

--- Lets go of history.
function actions.compact(store, args)
  local revision = arguments.number(args.arguments[1])
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
  local members, id = args.members or { "127.0.0.1:7200" }, args.id or 1
  if not members[id] then
    return output.usage_error("kv serve --id", ("%d is no member's number: those go from 1 to %d"):format(id,
      #members))
  end
  local node, err, code = require("perilune.cluster.node").start {
    id = id, data = args.arguments[1], members = members, leases = args.leases, resp = args.resp,
    listen = #members > 1 and members[id]:match ":%d+$" or members[id], clients = args.listen or ":7300",
    history = args.history, is_quiet = true,
  }
  if not node then
    return fail(args, err, code)
  end
  print_result(args, { id = id, address = node:address(), resp = node.resp, members = members },
    ("node %d serves clients at %s%s"):format(id, node:address(),
      node.resp and ", Redis' at " .. node.resp or ""))
  while true do
    require("perilune").sleep(3600)
  end
end

-- Where the store is: as told, or the cluster of the directory, or where kv serve serves by itself. One node
-- of a cluster is enough: it knows where the others are, of which one leads.
local function addresses_of(args)
  if args.at and #args.at == 1 then
    return require("perilune.cluster.client").known(args.at[1], math.min(1, args.deadline or 1))
  elseif args.at then
    return args.at
  end
  local target = require "perilune.cli.cluster_target"
  local folder, err, code = target.folder {}
  if not folder then
    return code == "ENOENT" and ":7300" or nil, err, code
  elseif not folder:is_alive() then
    return nil, ("no node of the cluster in %s runs"):format(folder.path), "EUNREACHABLE"
  end
  args.is_here = true
  return folder:addresses()
end

---@param args table
---@return integer exit_code
function M.run(args)
  local problem = arguments.problem(args)
  if problem then
    return output.usage_error("kv " .. args.action, problem)
  elseif args.action == "serve" then
    return serve(args)
  end
  local addresses, err, code = addresses_of(args)
  if not addresses then
    return fail(args, err, code)
  end
  local store <close> = require("perilune.kv").connect(addresses, {
    deadline = args.deadline, session = math.max(SESSION, 2 * (args.deadline or 0)),
  })
  local status = actions[args.action](store, args)
  store:leave()
  return status
end

return M
