--- The directory of a cluster on this machine: which nodes it has, and which processes they are.
---
---   .perilune/cluster.json      { format, base_port, next_id, nodes = { { id, name, listen, resp, admin }
--- } }
---   .perilune/lock              the command that changes the cluster now, while it does
---   .perilune/n1/node.lua       what the node is told; yours to edit
---   .perilune/n1/{data,log}     its data; what it says
---   .perilune/n1/run.json       the process that was started last, until it was stopped: { pid, started,
--- boot }
---   .perilune/n1/ready          while it is part of the cluster
---
--- A process is known by its id, by when it was started and by the boot of the machine: an id alone may
--- belong to somebody else by now.
local fs = require "perilune.fs"
local json = require "perilune.json"
local process = require "perilune.process"

local M = {}

local FORMAT = 1
local PORTS = 10 -- of a node: base + 10 id, and the two that follow

---@class perilune.cluster.LocalNode
---@field id integer
---@field name string
---@field listen string
---@field resp string
---@field admin string  reserved

---@class perilune.cluster.Folder
---@field path string
---@field base_port integer
---@field next_id integer
---@field nodes perilune.cluster.LocalNode[]
local Folder = {}
Folder.__index = Folder

-- ---- processes ----

-- Field 3 and 22 of proc(5): the state, and when it was started, in ticks since the boot.
local function look_at(pid)
  local text = fs.read(("/proc/%d/stat"):format(pid))
  local rest = text and text:match "^.*%) (.*)$"
  if not rest then
    return nil
  end
  local fields = {}
  for field in rest:gmatch "%S+" do
    fields[#fields + 1] = field
  end
  return fields[1], math.tointeger(tonumber(fields[20]))
end

local function boot_id()
  return ((fs.read "/proc/sys/kernel/random/boot_id" or ""):gsub("%s+$", ""))
end

--- What makes a process known again.
---@param pid integer
---@return { pid: integer, started: integer?, boot: string }
function M.identify(pid)
  local _, started = look_at(pid)
  return { pid = pid, started = started, boot = boot_id() }
end

--- The state of a process that was identified: "running", "paused", or nil when it is gone.
---@param known { pid: integer, started: integer?, boot: string }
---@return "running"|"paused"|nil
function M.state_of(known)
  local state, started = look_at(known.pid)
  if not state or state == "Z" or state == "X" or started ~= known.started or boot_id() ~= known.boot then
    return nil
  end
  return (state == "T" or state == "t") and "paused" or "running"
end

-- ---- the directory ----

local function read_json(path)
  local text = fs.read(path)
  return text and json.decode(text)
end

--- The node with that number, as it is laid out from a base port.
---@param base_port integer
---@param id integer
---@return perilune.cluster.LocalNode
function M.lay_out(base_port, id)
  local port = base_port + PORTS * id
  local function at(offset)
    return ("127.0.0.1:%d"):format(port + offset)
  end
  return { id = id, name = "n" .. id, listen = at(0), resp = at(1), admin = at(2) }
end

--- Reads the directory: nil, message, "ENOENT" when there is no cluster.
---@param path string
---@return perilune.cluster.Folder|nil folder
---@return string? err
---@return string? code
function M.open(path)
  local text, err, code = fs.read(path .. "/cluster.json")
  if not text then
    if code == "ENOENT" or code == "ENOTDIR" then
      return nil, ("there is no cluster in %s"):format(path), "ENOENT"
    end
    return nil, err, code
  end
  local found = json.decode(text)
  if type(found) ~= "table" or type(found.nodes) ~= "table" or found.format ~= FORMAT then
    return nil, ("%s/cluster.json is damaged, or of another version"):format(path), "EFORMAT"
  end
  found.path = path
  return setmetatable(found, Folder)
end

--- The path of something that belongs to a node.
---@param node perilune.cluster.LocalNode
---@param name string
---@return string
function Folder:at(node, name)
  return ("%s/%s/%s"):format(self.path, node.name, name)
end

--- Writes what the directory holds.
---@return true|nil ok
---@return string? err
---@return string? code
function Folder:save()
  local text = json.encode({ format = FORMAT, base_port = self.base_port, next_id = self.next_id,
    nodes = json.array(self.nodes) }, { pretty = true })
  return fs.write(self.path .. "/cluster.json", text .. "\n", { atomic = true })
end

local function quoted_list(list)
  local texts = {}
  for i, text in ipairs(list) do
    texts[i] = ("%q"):format(text)
  end
  return "{ " .. table.concat(texts, ", ") .. " }"
end

--- Makes the directory of a node and what it is told: who the members are of a cluster that begins, or whom
--- it joins.
---@param node perilune.cluster.LocalNode
---@param how "members"|"join"
---@param addresses string[]
---@return true|nil ok
---@return string? err
---@return string? code
function Folder:write_node(node, how, addresses)
  local ok, err, code = fs.mkdir(("%s/%s"):format(self.path, node.name), { parents = true })
  if not ok then
    return nil, err, code
  end
  return fs.write(self:at(node, "node.lua"), ([[
-- What perilune up tells this node: perilune node --help. Paths are below this directory.
return {
  id = %d,
  listen = %q,
  resp = %q,
  data = "data",
  ready_file = "ready",
  %s = %s,
}
]]):format(node.id, node.listen, node.resp, how, quoted_list(addresses)), { atomic = true })
end

--- Makes a cluster of so many nodes, none of which runs.
---@param path string
---@param base_port integer
---@param count integer
---@return perilune.cluster.Folder|nil folder
---@return string? err
---@return string? code
function M.create(path, base_port, count)
  local self = setmetatable({ path = path, base_port = base_port, next_id = count + 1, nodes = {} }, Folder)
  local members = {}
  for id = 1, count do
    self.nodes[id] = M.lay_out(base_port, id)
    members[id] = self.nodes[id].listen
  end
  for _, node in ipairs(self.nodes) do
    local ok, err, code = self:write_node(node, "members", members)
    if not ok then
      return nil, err, code
    end
  end
  local ok, err, code = self:save() -- last: what is there is whole
  if not ok then
    return nil, err, code
  end
  return self
end

--- Finds a node by its name or number.
---@param name string
---@return perilune.cluster.LocalNode|nil
function Folder:find(name)
  for _, node in ipairs(self.nodes) do
    if node.name == name or tostring(node.id) == name then
      return node
    end
  end
end

--- Where the nodes serve.
---@return string[]
function Folder:addresses()
  local list = {}
  for i, node in ipairs(self.nodes) do
    list[i] = node.listen
  end
  return list
end

--- How the node's process is: "running", "paused", "stopped" (in good order, or never started), or "dead";
--- and its id, also of one that is dead.
---@param node perilune.cluster.LocalNode
---@return "running"|"paused"|"stopped"|"dead"
---@return integer? pid
function Folder:state(node)
  local known = read_json(self:at(node, "run.json"))
  if not known then
    return "stopped"
  end
  return M.state_of(known) or "dead", known.pid
end

--- True while the process of a node is there, be it paused.
---@return boolean
function Folder:is_alive()
  for _, node in ipairs(self.nodes) do
    local state = self:state(node)
    if state == "running" or state == "paused" then
      return true
    end
  end
  return false
end

--- Is the process that runs part of its cluster?
---@param node perilune.cluster.LocalNode
---@param pid integer
---@return boolean
function Folder:is_ready(node, pid)
  local ready = read_json(self:at(node, "ready"))
  return ready ~= nil and ready.pid == pid
end

--- The last lines that a node said, from an offset of its log on.
---@param node perilune.cluster.LocalNode
---@param count integer
---@param offset? integer
---@return string[]
function Folder:last_lines(node, count, offset)
  local lines = {}
  local text = (fs.read(self:at(node, "log")) or ""):sub((offset or 0) + 1)
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return table.move(lines, math.max(1, #lines - count + 1), #lines, 1, {})
end

-- ---- one command at a time ----

---@class perilune.cluster.Lock
local Lock = {}
Lock.__index = Lock

--- Lets the next command in.
function Lock:close()
  fs.remove(self.path)
end
Lock.__close = Lock.close

--- Keeps other commands from changing the cluster until it is closed; that of a command which is gone does
--- not count.
---@param path string  of the cluster
---@return perilune.cluster.Lock|nil lock
---@return string? err
---@return string? code  EBUSY
function M.lock(path)
  local at = path .. "/lock"
  local ok, err, code = fs.mkdir(path, { parents = true })
  if not ok then
    return nil, err, code
  end
  for _ = 1, 2 do
    local file
    file, err, code = fs.open(at, "wx")
    if file then
      file:write(json.encode(M.identify(process.pid())))
      file:close()
      return setmetatable({ path = at }, Lock)
    elseif code ~= "EEXIST" then
      return nil, err, code
    end
    local holder = read_json(at)
    if holder and M.state_of(holder) then
      return nil, ("another command (process %d) is at work on the cluster in %s"):format(holder.pid, path),
        "EBUSY"
    end
    fs.remove(at)
  end
  return nil, ("another command is at work on the cluster in %s"):format(path), "EBUSY"
end

return M
