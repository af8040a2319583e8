--- What the answers of a cluster's nodes come to: who leads, how each node stands, what is not well, and
--- what to do about it. Pure: perilune status shows it.
local client = require "perilune.cluster.client"

local M = {}

local LAG_MAX = 1000 -- entries that a follower under load may be behind
local SILENT = 1 -- seconds after which a follower that does not answer its leader is named

---@class perilune.cluster.NodeView
---@field id integer
---@field name string
---@field address? string
---@field resp? string
---@field process? "running"|"paused"|"stopped"|"dead"  on this machine
---@field pid? integer
---@field answers boolean
---@field role? string  leader, follower, candidate, pre_candidate
---@field is? string  voter, learner, joining, incoming, outgoing; nil: it is no member
---@field lag? integer  entries that it does not hold, as far as the leader knows
---@field heard? number  seconds since the leader heard it
---@field disk? integer  bytes
---@field revision? integer

---@class perilune.cluster.Problem
---@field node? string
---@field what string
---@field todo? string

---@class perilune.cluster.View
---@field leader? string  name
---@field term? integer
---@field leads_for? number  seconds
---@field voters integer
---@field missing integer  voters without whom there is no majority; 0: there is one
---@field nodes perilune.cluster.NodeView[]
---@field problems perilune.cluster.Problem[]

-- The newest list of members that anybody knows: the leader's, or that of whoever has the longest log.
local function newest(answers)
  local best = client.leader_of(answers)
  if best then
    return best
  end
  for _, answer in ipairs(answers) do
    local status = answer.status
    if status and (not best or status.group.last_index > best.group.last_index) then
      best = status
    end
  end
  return best
end

-- All nodes that are known of, by their numbers.
local function collect(answers, newest_status, locals)
  local nodes = {}
  local function at(id)
    nodes[id] = nodes[id] or { id = id, name = "n" .. id, answers = false }
    return nodes[id]
  end
  for _, known in ipairs(locals) do
    local node = at(known.id)
    node.name, node.address, node.resp, node.process, node.pid = known.name, known.address, known.resp,
      known.process, known.pid
  end
  for id, member in pairs(newest_status and newest_status.group.members or {}) do
    local node = at(id)
    node.is, node.address = member.is, node.address or member.address
  end
  for _, answer in ipairs(answers) do
    if answer.status then
      local node = at(answer.status.id)
      node.answers, node.status, node.address = true, answer.status, answer.status.address
      node.resp = answer.status.resp
    end
  end
  for _, answer in ipairs(answers) do
    for _, node in pairs(nodes) do
      if not node.answers and node.address == answer.address then
        node.err = answer.err
      end
    end
  end
  local list = {}
  for _, node in pairs(nodes) do
    list[#list + 1] = node
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

-- What the node says of itself, and the leader of it.
local function fill(node, leader)
  local status = node.status
  if status then
    node.role, node.disk, node.pid = status.group.role, status.disk, status.pid
    node.revision = status.store and status.store.revision
  end
  local member = leader and leader.group.members[node.id]
  if leader and leader.id == node.id then
    node.lag = 0
  elseif member and member.match_index then
    node.lag, node.heard = leader.group.last_index - member.match_index, member.heard
  end
end

local PROCESS = {
  dead = { "is dead: it was killed, or ended by itself", "perilune up starts it again; perilune logs %s" },
  stopped = { "is stopped", "perilune up starts it" },
  paused = { "is paused", "perilune resume %s" },
}

-- What is not well with a node: what, and what to do; or nil. Who the members are may be unknown.
local function ill(node, leader, are_known)
  local group = node.status and node.status.group
  local process = PROCESS[node.process]
  if process then
    return process[1], process[2]:format(node.name)
  elseif not node.answers then
    return ("does not answer%s: %s"):format(are_known and not node.is and ", and is no member" or "",
      node.err or "nobody asked it"),
      node.process and "perilune logs " .. node.name or "is its process there, and the network?"
  elseif group.fenced then
    return "takes part no more: its disk failed", "see to the disk, then start the node again"
  elseif group.health ~= "clean" then
    return ("is %s: %s"):format(group.health, group.why),
      "nothing, as long as the others run: they repair it, and until then it does not vote"
  elseif group.diverged then
    return ("has another state than a majority since entry %d"):format(group.diverged),
      "nothing: it is rebuilt from the others"
  elseif not node.is then
    return "runs, and is no member", "perilune logs " .. node.name
  elseif node.is == "joining" or node.is == "learner" then
    return ("does not vote (%s)"):format(node.is), node.is == "joining" and "it will, once it has the log"
      or nil
  elseif leader and node.heard and node.heard > SILENT then
    return ("has not been heard by its leader for %.1f s"):format(node.heard),
      "look at the network between them"
  elseif node.lag and node.lag > LAG_MAX then
    return ("is %d entries behind"):format(node.lag), "it catches up, unless its disk or network is too slow"
  end
end

-- How many voters are missing for a majority, and the names of those who are not there.
local function quorum_of(nodes)
  local voters, there, absent = 0, 0, {}
  for _, node in ipairs(nodes) do
    if node.is == "voter" or node.is == "incoming" then
      voters = voters + 1
      if node.answers then
        there = there + 1
      else
        absent[#absent + 1] = node.name
      end
    end
  end
  return voters, math.max(0, voters // 2 + 1 - there), absent
end

local function no_leader(view, answers, absent)
  local since = 0
  for _, answer in ipairs(answers) do
    since = math.max(since, answer.status and answer.status.group.quorum_missing or 0)
  end
  local what = "nobody leads"
  if since > 0 then
    what = ("%s, and there has been no majority for %.1f s"):format(what, since)
  end
  if view.missing > 0 then
    local are_many = #absent > 1
    what = ("%s: %s %s not there"):format(what, table.concat(absent, ", "), are_many and "are" or "is")
    local todo = ("%d more voter%s needed; if %s back: perilune recover"):format(view.missing,
      view.missing > 1 and "s are" or " is", are_many and "they never come" or "it never comes")
    return { what = what, todo = todo }
  end
  return { what = what, todo = "an election takes less than a second; ask again" }
end

--- Makes the view.
---@param answers perilune.cluster.Answer[]
---@param locals table[]  of this machine: { id, name, address, resp, process, pid }
---@param now number  seconds since 1970
---@return perilune.cluster.View
function M.make(answers, locals, now)
  local leader, status = client.leader_of(answers), newest(answers)
  local nodes = collect(answers, status, locals)
  local view = { nodes = nodes, problems = {} }
  local absent
  view.voters, view.missing, absent = quorum_of(nodes)
  if leader then
    view.leader, view.term = "n" .. leader.id, leader.group.term
    view.leads_for = leader.leader_since and math.max(0, now - leader.leader_since)
    view.revision = leader.store and leader.store.revision
  elseif status then
    view.problems[1] = no_leader(view, answers, absent)
  end
  for _, node in ipairs(nodes) do
    fill(node, leader)
    if leader and leader.id == node.id then
      view.leader = node.name
    end
    local what, todo = ill(node, leader, status ~= nil)
    if what then
      view.problems[#view.problems + 1] = { node = node.name, what = what, todo = todo }
    end
    node.status, node.err = nil, nil
  end
  return view
end

return M
