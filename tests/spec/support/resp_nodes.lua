--- Nodes of a store that is served to Redis' clients, and redis-cli, for specs.
local fiber = require "perilune.fiber"
local luassert = require "luassert"
local process = require "perilune.process"

local M = { has_cli = os.execute "command -v redis-cli >/dev/null 2>&1" == true }

local next_port = 10000 + process.pid() % 240 * 90 -- below those that the kernel gives away

local Nodes = {}
Nodes.__index = Nodes

--- Starts node id; the others are as they are.
function Nodes:spawn(id)
  local node = assert(process.spawn {
    process.executable(), "kv", "serve", self.folder:at("n" .. id), "--id", tostring(id),
    "--members", table.concat(self.members, ","), "--listen", self:address(id),
    "--resp", tostring(self:port(id)), stdout = "pipe", dies_with_parent = true,
    stderr = self.stderr, env = self.env,
  })
  self[id] = node
  return node
end

--- Where node id serves Redis' clients, and its own.
function Nodes:port(id)
  return self.base + 6 + id
end
function Nodes:address(id)
  return ("127.0.0.1:%d"):format(self.base + 3 + id)
end

--- Ends node id as a power failure would.
function Nodes:kill(id)
  self[id]:kill(9)
  self[id]:close()
  self[id] = nil
end

--- What redis-cli prints for lines of commands.
function Nodes:cli(id, ...)
  local result = process.run { "redis-cli", "-p", tostring(self:port(id)),
    input = table.concat({ ... }, "\n") .. "\n" }
  return (result.stdout:gsub("\n+$", ""):gsub("\n\n", "\n"))
end

--- What comes back for bytes, until the node closes or so many seconds have passed.
function Nodes:send(id, bytes, seconds)
  local script = ("exec 3<>/dev/tcp/127.0.0.1/%d; cat >&3; timeout %g cat <&3"):format(self:port(id),
    seconds or 1)
  return process.run({ "bash", "-c", script, input = bytes }).stdout
end

--- A number of INFO.
function Nodes:info(id, field)
  return tonumber(self:cli(id, "info"):match(field .. ":(%d+)"))
end

--- The node that leads, as node id knows it, once there is one.
function Nodes:leader(id)
  while true do
    local leader = self:info(id, "raft_leader")
    if leader and leader ~= 0 then
      return leader
    end
    fiber.sleep(0.02)
  end
end

--- Ends all.
function Nodes:close()
  for id = 1, #self.members do
    if self[id] then
      self[id]:close()
    end
  end
end

--- So many nodes in a folder, all of which serve. env and stderr: as of process.spawn.
function M.start(folder, count, env, stderr)
  next_port = next_port + 9
  local self = setmetatable({
    folder = folder, base = next_port, members = {}, env = env, stderr = stderr,
  }, Nodes)
  for id = 1, count do
    self.members[id] = ("127.0.0.1:%d"):format(self.base + id)
  end
  for id = 1, count do
    self:spawn(id)
  end
  for id = 1, count do
    luassert.matches("Redis' at 127.0.0.1:" .. self:port(id), self[id]:read_line())
  end
  return self
end

return M
