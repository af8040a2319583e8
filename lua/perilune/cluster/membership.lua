--- The members of a cluster: nodes that are added on this machine and removed from it, and members that are
--- removed wherever they are.
local client = require "perilune.cluster.client"
local fiber = require "perilune.fiber"
local folder_of = require "perilune.cluster.folder"
local processes = require "perilune.cluster.processes"

local M = {}

local POLL = 0.02 -- seconds
local CHANGE = 15 -- seconds for a change of the members

-- Waits until a new member votes.
local function await_vote(folder, node, deadline)
  local due = fiber.now() + deadline
  repeat
    local leader = client.leader_of(client.ask(folder:addresses()))
    local member = leader and leader.group.members[node.id]
    if member and member.is == "voter" then
      return true
    end
    fiber.sleep(POLL)
  until fiber.now() >= due
  return nil, ("%s does not vote yet: it has to catch up"):format(node.name), "EDEADLINE"
end

--- Adds a node: starts its process, which gets the log and votes once it has caught up.
---@param path string
---@param name? string  "n4"; default: the next number
---@param deadline number  seconds
---@return perilune.cluster.LocalNode|nil node
---@return string? err
---@return string? code
---@return perilune.cluster.Trouble? trouble
function M.add(path, name, deadline)
  local folder, err, code, lock_of = processes.open_locked(path)
  if not folder then
    return nil, err, code
  end
  local _ <close> = lock_of
  local id = folder.next_id
  if name and folder:find(name) then
    return nil, name .. " is there already", "EEXIST"
  elseif name and name ~= "n" .. id and name ~= tostring(id) then
    return nil, ("the next node is n%d: a number never comes back"):format(id), "EINVAL"
  end
  local node = folder_of.lay_out(folder.base_port, id)
  err, code = processes.taken(node)
  if err then
    return nil, err, code
  elseif not client.leader_of(client.ask(folder:addresses())) then
    return nil, "nobody leads, so nobody can be added: perilune status says why", "ENOTLEADER"
  end
  local ok
  ok, err, code = folder:write_node(node, "join", folder:addresses())
  if ok then
    folder.nodes[#folder.nodes + 1], folder.next_id = node, id + 1
    ok, err, code = folder:save()
  end
  local started
  if ok then
    started, err, code = processes.start(folder, node)
  end
  if not started then
    return nil, err, code
  end
  local trouble = processes.await(folder, { started }, deadline)
  if trouble then
    return nil, trouble.why, "ENOTREADY", trouble
  end
  ok, err, code = await_vote(folder, node, deadline)
  return ok and node, err, code
end

--- Removes a node from the members, and ends its process. Its data stay where they are, of no more use.
---@param path string
---@param node_name string
---@return perilune.cluster.LocalNode|nil node
---@return string? err
---@return string? code
function M.remove(path, node_name)
  local folder, err, code, lock_of = processes.open_locked(path)
  if not folder then
    return nil, err, code
  end
  local _ <close> = lock_of
  local node = folder:find(node_name)
  if not node then
    return nil, ("there is no %s in %s"):format(node_name, path), "EINVAL"
  end
  local ok
  ok, err, code = M.remove_member(folder:addresses(), node.id)
  if not ok then
    return nil, err, code
  end
  processes.stop(folder, node)
  for i, other in ipairs(folder.nodes) do
    if other == node then
      table.remove(folder.nodes, i)
      break
    end
  end
  ok, err, code = folder:save()
  return ok and node, err, code
end

--- Removes a member of a cluster wherever its nodes are. One that leads hands over first. One that is no
--- member is none afterwards, too.
---@param addresses string[]
---@param id integer
---@return true|nil ok
---@return string? err
---@return string? code
function M.remove_member(addresses, id)
  local leader = client.leader_of(client.ask_all(addresses))
  local members = leader and leader.group.members or {}
  if leader and not members[id] then
    return true
  elseif leader and next(members, next(members)) == nil then
    return nil, "it is the only member", "EINVAL"
  elseif leader and leader.id == id then
    local ok, err, code = client.call_leader(addresses, CHANGE, "cluster.transfer")
    if not ok then
      return nil, err, code
    end
  end
  return client.call_leader(addresses, CHANGE, "cluster.change", "remove", id)
end

return M
