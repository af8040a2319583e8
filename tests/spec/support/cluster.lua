--- A cluster that perilune up starts, in a folder of its own and at ports that nobody has.
local cli = require "support.binary"
local json = require "perilune.json"
local new_folder = require "support.folder"
local process = require "perilune.process"

---@class perilune.spec.Cluster
---@field dir string
---@field base integer
local Cluster = {}
Cluster.__index = Cluster

local PORTS, FIRST, STEPS = 80, 12000, 200 -- below those that the kernel gives away
local next_step = process.pid() * 7

--- Runs a verb on the cluster.
---@param verb string
---@param ... string
---@return perilune.process.Result
function Cluster:run(verb, ...)
  return cli.run { verb, env = { PERILUNE_DIR = self.dir }, ... }
end

--- As run, with --json: what it printed; raises when it failed.
---@param verb string
---@param ... string
---@return table
function Cluster:ask(verb, ...)
  local result = self:run(verb, "--json", ...)
  return assert(result.status == 0 and json.decode(result.stdout), result.stdout .. result.stderr)
end

--- The process of a node, as ps has it.
---@param name string
---@return table
function Cluster:node(name)
  for _, node in ipairs(self:ask("ps").nodes) do
    if node.name == name then
      return node
    end
  end
end

--- Starts it, at the next ports that are free.
---@param ... string  options of perilune up
---@return perilune.process.Result
function Cluster:up(...)
  for _ = 1, STEPS do
    next_step = next_step + 1
    self.base = FIRST + next_step % STEPS * PORTS
    local result = self:run("up", "--base-port", tostring(self.base), ...)
    if not result.stderr:find "already in use" then
      return result
    end
  end
  error "no ports are free"
end

--- Ends whatever runs of it, at once.
function Cluster:close()
  self:run("kill", "all")
end

--- A cluster for every test of the block that calls this; it does not run yet.
---@param before_each function  the block's own: a module does not see busted's
---@param after_each function
---@return perilune.spec.Cluster
return function(before_each, after_each)
  local cluster = setmetatable({}, Cluster)
  after_each(function() -- before the folder goes
    cluster:close()
  end)
  local folder = new_folder(before_each, after_each)
  before_each(function()
    cluster.dir = folder:at "cluster"
  end)
  return cluster
end
