--- Clusters of three processes that take lines and answer lines (node.c, node.lua, libraft.c), and single
--- programs of that kind (raw.c).
local perilune = require "perilune"
local process = require "perilune.process"
local rpc = require "perilune.rpc"

local M = {}

local READY_SECONDS, LEADER_SECONDS = 60, 30
local LOAD_ATTEMPTS = 5

local Program = {}
Program.__index = Program

local function parse(line)
  local result = {}
  for key, value in line:gmatch "([%w_]+)=([-%d.]+)" do
    result[key] = tonumber(value)
  end
  return result
end

--- Starts a program; its errors go to our own.
---@param command string[]
---@return table program
function M.start(command)
  local options = { stdin = "pipe", stdout = "pipe", dies_with_parent = true, table.unpack(command) }
  local child, why = process.spawn(options)
  if not child then
    error(("cannot start %s: %s"):format(command[1], why), 0)
  end
  local program = setmetatable({ child = child, name = command[1]:match "[^/]*$" }, Program)
  perilune.deadline(READY_SECONDS, function()
    program:answer()
  end)
  return program
end

--- The next line that it says, as { name = number }; raises when it says that something failed, or has ended.
function Program:answer()
  local line = self.child:read_line()
  if not line or line:find "^error" then
    error(("%s: %s"):format(self.name, line or "it has ended"), 0)
  end
  return parse(line), line
end

--- Says a line, and returns the answer to it.
function Program:ask(line)
  assert(self.child:write(line .. "\n"))
  return self:answer()
end

--- Kills it without a word, as kill -9 does, and waits until it is gone.
function Program:kill()
  self.child:kill(9)
  self.child:wait()
  self.child:close()
end

local Cluster = {}
Cluster.__index = Cluster

local next_port = 10000 + process.pid() * 7 % 20000 -- below those that connections take by themselves

-- An address where nobody listens.
local function free_address()
  for _ = 1, 100 do
    next_port = next_port + 1
    local address = "127.0.0.1:" .. next_port
    local server = rpc.serve({}, { listen = address })
    if server then
      server:close()
      return address
    end
  end
  error("100 ports in a row are taken", 0)
end

--- Starts three nodes with empty directories.
---@param options { name: string, command: string[], directory: string, groups: integer }
---@return table cluster
function M.open(options)
  local self = setmetatable({ command = options.command, groups = options.groups or 1, nodes = {},
    addresses = {}, directory = options.directory .. "/" .. options.name }, Cluster)
  assert(os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(self.directory, self.directory)))
  for id = 1, 3 do
    self.addresses[id] = free_address()
  end
  for id = 1, 3 do
    self:start(id)
  end
  return self
end

--- Starts a node that does not run.
function Cluster:start(id)
  local command = table.move(self.command, 1, #self.command, 1, {})
  for _, word in ipairs { id, self.directory .. "/" .. id, self.groups, table.unpack(self.addresses) } do
    command[#command + 1] = tostring(word)
  end
  self.nodes[id] = M.start(command)
end

function Cluster:kill(id)
  self.nodes[id]:kill()
  self.nodes[id] = nil
end

--- Who leads group 1: a node that says so of itself, and is the only one.
---@return integer id
function Cluster:leader()
  local give_up = perilune.now() + LEADER_SECONDS
  repeat
    local leaders = {}
    for id, node in pairs(self.nodes) do
      if node:ask("status").role == 3 then
        leaders[#leaders + 1] = id
      end
    end
    if #leaders == 1 then
      return leaders[1]
    end
    perilune.sleep(0.05)
  until perilune.now() > give_up
  error(self.directory .. ": no leader", 0)
end

--- Has the leader answer a load. On a machine that stands still for long another may be elected meanwhile:
--- then that is asked.
---@return table answer
---@return integer id  of the leader
function Cluster:load(line)
  local why
  for _ = 1, LOAD_ATTEMPTS do
    local id = self:leader()
    local ok, answer = pcall(Program.ask, self.nodes[id], line)
    if ok then
      return answer, id
    end
    why = answer
    perilune.sleep(0.5)
  end
  error(why, 0)
end

--- Waits until test(all three statuses) is true.
function Cluster:wait(what, seconds, test)
  local give_up = perilune.now() + seconds
  local statuses
  repeat
    statuses = {}
    for id, node in pairs(self.nodes) do
      statuses[id] = node:ask "status"
    end
    if test(statuses) then
      return statuses
    end
    perilune.sleep(0.05)
  until perilune.now() > give_up
  local states = {}
  for id, status in pairs(statuses) do
    states[#states + 1] = ("node %d has applied %s, digest %s"):format(id, status.applied, status.digest)
  end
  error(("%s: waited %g s, and not %s: %s"):format(self.directory, seconds, what,
    table.concat(states, "; ")), 0)
end

--- All replicas have applied the same commands; raises when they do not within some seconds.
function Cluster:check()
  self:wait("all replicas are equal", 20, function(statuses)
    local one = statuses[1]
    for _, other in pairs(statuses) do
      if other.applied ~= one.applied or other.digest ~= one.digest then
        return false
      end
    end
    return true
  end)
end

--- Ends the nodes, and removes what they wrote.
function Cluster:close()
  for id in pairs(self.nodes) do
    self:kill(id)
  end
  os.execute(("rm -rf '%s'"):format(self.directory))
end

return M
