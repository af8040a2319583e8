--- perilune recover: the data of a node that does not run, and members by force.
local log = require "perilune.log"
local output = require "perilune.cli.output"
local verbs = require "perilune.cli.verbs"

local M = {
  summary = "look at a stopped node's data, or force members upon a group",
  usage = "perilune recover DIR",
}

local function read_group(text)
  local group = math.tointeger(tonumber(text))
  if not group or group < 1 then
    return nil, ("'%s' is not the id of a group, which is a whole number from 1 on"):format(text)
  end
  return group
end

local function is_address(text)
  local port = tonumber(text:match "^[^%s,]+:(%d+)$")
  return text:find "^unix:/" ~= nil or port ~= nil and port >= 1 and port <= 65535
end

-- "1,2=host:port" as { [1] = false, [2] = "host:port" }
local function read_members(text)
  local members = {}
  for item in (text .. ","):gmatch "([^,]*)," do
    local id, address = item:match "^(%d+)=(.+)$"
    id = math.tointeger(tonumber(id or item:match "^%d+$"))
    if not id or id < 1 then
      return nil, ("'%s' is no member: ID or ID=HOST:PORT, with commas between"):format(item)
    elseif address and not is_address(address) then
      return nil, ("'%s' is no address of node %d: HOST:PORT, with a port of 1 to 65535"):format(address, id)
    elseif members[id] ~= nil then
      return nil, ("node %d comes twice"):format(id)
    end
    members[id] = address or false
  end
  return members
end

-- "7:120"
local function read_last(text)
  local term, index = text:match "^(%d+):(%d+)$"
  term, index = math.tointeger(tonumber(term)), math.tointeger(tonumber(index))
  if not term or not index or index < 1 then
    return nil, ("'%s' is no entry: TERM:INDEX, as 'last' in what perilune recover DIR shows"):format(text)
  end
  return { term = term, index = index }
end

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune recover", "Shows what a node that does not run holds of its groups. With "
    .. "--members it gives a group other members, when the majority of the old ones is lost for good: "
    .. "first only as a plan; with --force, for real.")
  parser:argument("dir", "The node's data, the path of raft.open."):argname "DIR"
  parser:option("-g --group", "The group (default: all, to look at)."):argname "N":convert(read_group)
  parser:option("-m --members", "Who shall be its members: those that are left, all of them voters. "
    .. "DIR's own node is one."):argname "ID[=HOST:PORT],...":convert(read_members)
  parser:option("-l --last", "With several members: the entry that the log of each of them ends with, as "
    .. "'last' shows it for their data. A log that ends elsewhere is refused."):argname "TERM:INDEX"
    :convert(read_last)
  parser:flag("--force", "Write the members. This cannot be undone.")
  parser:flag("--json", "Print the result as one JSON object.")
  parser:epilog [[
Forcing members loses what the others had acknowledged and this node does
not hold. So:
  1. make sure that the lost nodes never start again with their data: they
     would be a second group;
  2. stop the nodes that are left, and look at the data of each: the one whose
     last entry (TERM:INDEX) has the highest term, then index, holds most;
  3. run the command on that one, with itself as the only member, and start
     it; the others come back empty, under new ids, with group:add.
Only when all that are left end with the same entry may step 3 be run on each
of them, with the same members and --last; it refuses a log that ends
elsewhere, for of logs that differ the longer one may lose.

Examples:
  perilune recover data
  perilune recover data --group 1 --members 2
  perilune recover data --group 1 --members 2,3=n3:7200 --last 7:120 --force]]
  return parser
end

local function ids_of(members)
  local ids = {}
  for _, member in ipairs(members) do
    ids[#ids + 1] = member.id .. (member.is == "learner" and " (learner)" or "")
  end
  return #ids > 0 and table.concat(ids, ", ") or "unknown"
end

local function end_of(group)
  return ("%d:%d"):format(group.last_term, group.last_index)
end

local function show_groups(found)
  local rows = { { "group", "health", "term", "entries", "last", "snapshot", "members" } }
  for _, group in ipairs(found.groups) do
    local entries = group.last_index < group.first_index and "none"
      or ("%d..%d"):format(group.first_index, group.last_index)
    rows[#rows + 1] = { group.group, group.health, group.term, entries, end_of(group),
      group.snapshot_index > 0 and group.snapshot_index or "none", ids_of(group.members) }
  end
  io.stdout:write(("data of node %d\n%s\n"):format(found.node, output.table(rows)))
  for _, group in ipairs(found.groups) do
    if group.why then
      io.stdout:write(("group %d is %s: %s\n"):format(group.group, group.health, group.why))
    end
  end
end

-- Members of the group that are not among those that stay.
local function given_up(group, members)
  local lost = {}
  for _, member in ipairs(group.members) do
    if members[member.id] == nil then
      lost[#lost + 1] = member.id
    end
  end
  return lost
end

-- What people have to know before, and after.
local function warnings(group, members)
  local list, lost = {}, given_up(group, members)
  if #lost > 0 then
    list[#list + 1] = ("never start node%s %s again with the old data: they would be a second group")
      :format(#lost > 1 and "s" or "", table.concat(lost, ", "))
  end
  list[#list + 1] = "what others acknowledged and this node does not hold is lost"
  if group.health ~= "clean" then
    list[#list + 1] = ("this replica is %s: %s; what it has lost is lost for good"):format(group.health,
      group.why)
  end
  if group.first_index > 1 and group.snapshot_index == 0 then
    list[#list + 1] = ("no snapshot is here that holds the entries before %d"):format(group.first_index)
  end
  return list
end

local function sorted_ids(members)
  local ids = {}
  for id in pairs(members) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  return table.concat(ids, ", ")
end

local NO_DATA = "DIR is where a node keeps its data: the path of raft.open, or DIR of perilune kv serve DIR"
local HINTS = {
  EINVAL = "force the one that holds most alone; the others come back empty, under new ids",
  ENOENT = NO_DATA,
  ENOTDIR = NO_DATA,
  ECORRUPT = "take the group from its other members: remove this one, and add it under a new id",
}

local function find_group(found, id)
  for _, group in ipairs(found.groups) do
    if group.group == id then
      return group
    end
  end
end

local function fail(args, err, code, hint)
  return output.fail { what = "recover " .. args.dir, why = err, code = code, hint = hint or HINTS[code] }
end

local function fail_no_group(args, found)
  local ids = {}
  for _, group in ipairs(found.groups) do
    ids[#ids + 1] = group.group
  end
  return fail(args, ("node %d holds no group %d"):format(found.node, args.group), "ENOENT",
    #ids == 0 and "it holds none at all"
    or ("it holds %s %s"):format(#ids > 1 and "groups" or "group", table.concat(ids, ", ")))
end

local function only(found, id)
  if id then
    found.groups = { find_group(found, id) }
  end
  return found
end

local function check(args)
  if args.members and not args.group then
    return output.usage_error("--members", "of which group?", "add --group N")
  elseif args.members and next(args.members, next(args.members)) and not args.last then
    return output.usage_error("--members",
      "several members may hold different logs, and the longest has to count",
      "add --last TERM:INDEX, which the data of each must end with, or name one member alone")
  elseif args.last and not args.members then
    return output.usage_error("--last", "it says where the logs of --members end",
      "add --group N --members ID,...")
  elseif args.force and not args.members then
    return output.usage_error("--force", "nothing to write", "add --group N --members ID,...")
  end
end

local function force(args, group)
  local done, err, code
  if args.last and (args.last.term ~= group.last_term or args.last.index ~= group.last_index) then
    return fail(args, ("the log of node %d ends with %s, not with %d:%d"):format(group.replica,
      end_of(group), args.last.term, args.last.index), "EINVAL")
  end
  if args.force then
    local raft = require "perilune.raft"
    done, err, code = raft.recover { path = args.dir, group = args.group, members = args.members,
      last = args.last }
    if not done then
      return fail(args, err, code)
    end
  end
  local told = warnings(group, args.members)
  if args.json then
    output.json { forced = done ~= nil, node = group.replica, group = group, index = done and done.index,
      term = done and done.term, warnings = told }
    return output.EXIT_OK
  end
  if done then
    io.stdout:write(("group %d has the members %s from now on: entry %d of term %d of node %d says so\n")
      :format(group.group, sorted_ids(args.members), done.index, done.term, group.replica))
  else
    io.stdout:write(("group %d of node %d would get the members %s; nothing was changed, --force does it\n")
      :format(group.group, group.replica, sorted_ids(args.members)))
  end
  for _, warning in ipairs(told) do
    output.note(output.paint("stderr", "yellow", "warning: ") .. warning)
  end
  return output.EXIT_OK
end

---@param args table
---@return integer exit_code
function M.run(args)
  local wrong = check(args)
  if wrong then
    return wrong
  end
  if not verbs.settings.log_level then
    log.level "error" -- what it says at its usual level is what we say ourselves
  end
  local found, err, code = require("perilune.raft").inspect(args.dir)
  if not found then
    return fail(args, err, code)
  end
  local group = args.group and find_group(found, args.group)
  if args.group and not group then
    return fail_no_group(args, found)
  elseif args.members and args.members[found.node] == nil then
    return output.usage_error("--members",
      ("these are the data of node %d, which is none of them"):format(found.node),
      "name the nodes that are left")
  elseif args.members then
    return force(args, group)
  end
  if args.json then
    output.json(only(found, args.group))
  else
    show_groups(only(found, args.group))
  end
  return output.EXIT_OK
end

return M
