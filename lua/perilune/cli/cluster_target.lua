--- What the verbs of clusters have in common: the cluster that is meant, its nodes by name, and failures.
local client = require "perilune.cluster.client"
local folder_of = require "perilune.cluster.folder"
local output = require "perilune.cli.output"

local M = {}

local DIR = ".perilune"

local HINTS = {
  ENOENT = "perilune up starts one; --dir says where it is",
  EUNREACHABLE = "do its nodes run, with the same PERILUNE_SECRET? perilune ps",
  ENOTLEADER = "perilune status says what is missing",
  EADDRINUSE = "another cluster or program has that port: choose others with --base-port, or end that one",
  EBUSY = "wait until it is done",
}

--- The directory of a cluster on this machine when nobody says which.
---@return string
function M.default_dir()
  local dir = os.getenv "PERILUNE_DIR"
  return dir and dir ~= "" and dir or DIR
end

--- Adds --dir and --json, and with_at --at.
---@param parser table
---@param with_at? boolean
function M.add_options(parser, with_at)
  parser:option("--dir", "Directory of a cluster on this machine (default: .perilune, or PERILUNE_DIR).")
    :argname "DIR"
  if with_at then
    parser:option("--at", "Nodes of a cluster anywhere, instead of a directory."):argname "HOST:PORT,..."
      :convert(require("perilune.cluster.address").read_list)
  end
  parser:flag("--json", "Print the result as one JSON object.")
end

--- Reports a failure of a verb.
---@param verb string
---@param err string
---@param code? string
---@param hint? string|false  false: there is nothing to do
---@param detail? string
---@return integer exit_code
function M.fail(verb, err, code, hint, detail)
  hint = hint or hint == nil and HINTS[code] or nil
  return output.fail { what = verb, why = err, code = code, hint = hint, detail = detail }
end

--- Reports a failure of a verb that starts nodes: with the last lines of one that did not become ready.
---@param verb string
---@param err string
---@param code? string
---@param trouble? perilune.cluster.Trouble
---@param hint? string|false
---@return integer exit_code
function M.not_ready(verb, err, code, trouble, hint)
  if not trouble then
    return M.fail(verb, err, code, hint)
  end
  local detail = #trouble.lines > 0
    and "the last lines of its log:\n  " .. table.concat(trouble.lines, "\n  ") or nil
  return M.fail(verb, err, code, ("all it said: perilune logs %s; perilune down ends the others")
    :format(trouble.node), detail)
end

--- The directory that the arguments mean, or nil, message, code.
---@param args table
---@return perilune.cluster.Folder|nil folder
---@return string? err
---@return string? code
function M.folder(args)
  return folder_of.open(args.dir or M.default_dir())
end

--- Where nodes of the folder can be asked: those whose processes run.
---@param folder perilune.cluster.Folder
---@return string[]
function M.running(folder)
  local list = {}
  for _, node in ipairs(folder.nodes) do
    if folder:state(node) == "running" then
      list[#list + 1] = node.listen
    end
  end
  return list
end

--- Where the nodes can be asked that the arguments mean, and the folder when they are of one.
---@param args table
---@return string[]|nil addresses
---@return perilune.cluster.Folder|string|nil folder  or what is wrong
---@return string? code
function M.addresses(args)
  if args.at then
    return args.at
  end
  local folder, err, code = M.folder(args)
  if not folder then
    return nil, err, code
  end
  return M.running(folder), folder
end

local function by_role(folder, wants_leader)
  local leader = client.leader_of(client.ask(M.running(folder)))
  if not leader then
    return nil, "nobody leads now", "ENOTLEADER"
  end
  local list = {}
  for _, node in ipairs(folder.nodes) do
    if (node.id == leader.id) == wants_leader then
      list[#list + 1] = node
    end
  end
  return list
end

--- The nodes that a text selects: names or numbers with commas between, leader, followers, or all.
---@param folder perilune.cluster.Folder
---@param text string
---@return perilune.cluster.LocalNode[]|nil nodes
---@return string? err
---@return string? code
function M.select(folder, text)
  if text == "all" then
    return folder.nodes
  elseif text == "leader" or text == "followers" then
    return by_role(folder, text == "leader")
  end
  local list, names = {}, { "leader", "followers", "all" }
  for i, node in ipairs(folder.nodes) do
    names[i + 3] = node.name
  end
  for name in (text .. ","):gmatch "([^,]*)," do
    local node = folder:find(name)
    if not node then
      local hint = require("perilune.suggest").hint(name, names)
      return nil, ("'%s' is no node; %s"):format(name, hint), "EINVAL"
    end
    list[#list + 1] = node
  end
  return list
end

--- The cluster on this machine that the arguments mean, and those of its nodes that a text selects.
---@param args table
---@param text string  as for select
---@return perilune.cluster.Folder|nil folder
---@return perilune.cluster.LocalNode[]|string nodes  or what is wrong
---@return string? code
function M.selected(args, text)
  local folder, err, code = M.folder(args)
  if not folder then
    return nil, err, code
  end
  local nodes
  nodes, err, code = M.select(folder, text)
  if not nodes then
    return nil, err, code
  end
  return folder, nodes
end

--- The number that a name means, "n3" or "3"; nil for what is none.
---@param name string
---@return integer|nil id
function M.id_of(name)
  return math.tointeger(tonumber(name:match "^n?(%d+)$"))
end

return M
