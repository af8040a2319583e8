-- What can go wrong in any scenario with servers, and how it ends: for relay.lua and raft_trouble.lua. Each
-- draws from the controller's stream.
local M = {}

--- A number up to most, in steps that every setting knows.
---@param sim perilune.sim.Controller
---@param most number
function M.up_to(sim, most)
  return most * sim:random(0, 1000) / 1000
end

function M.pause(sim, servers)
  sim:pause(sim:pick(servers))
end

function M.resume(sim, servers)
  sim:resume(sim:pick(servers))
end

function M.partition(sim)
  sim:partition(sim:pick { "halves", "isolated", "minority_third", "bridge", "ring" })
end

function M.cut_or_hold(sim)
  local names = sim:shuffle(sim:names())
  sim[sim:pick { "cut", "hold" }](sim, names[1], names[2])
end

function M.heal(sim)
  sim:heal()
end

function M.stall(sim, servers)
  sim:disk(sim:pick(servers), { stall = M.up_to(sim, 1) })
end

--- Makes a link slow and lossy.
---@param sim perilune.sim.Controller
---@param latency_max number  seconds
---@param loss_max number
function M.spoil_link(sim, latency_max, loss_max)
  local names = sim:shuffle(sim:names())
  local latency = { "uniform", 0, M.up_to(sim, latency_max) }
  sim:link(names[1], names[2], { latency = latency, loss = M.up_to(sim, loss_max) })
end

--- Ends everything that the network between the nodes suffers from.
---@param sim perilune.sim.Controller
---@param names string[]
function M.calm(sim, names)
  sim:heal()
  sim:network { latency = "1ms", loss = 0, duplicate = 0, reorder = 0, corrupt = 0, reset = 0, bandwidth = 0 }
  for _, from in ipairs(names) do
    for _, to in ipairs(names) do
      if from ~= to then
        sim:link(from, to, { latency = "1ms", loss = 0 })
      end
    end
  end
end

return M
