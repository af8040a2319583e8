-- What goes wrong in raft.lua, and what is known of its servers meanwhile.
local mishaps = require "mishaps"

local M = {}

--- What is known of servers s1, s2, ..., of which the first are the members that the group begins with.
---   agreed[index]   the command that somebody applied there
---   acknowledged    list of { index, command }; floor: the last such index
---   seen[name]      how much of a server's lists is known
---   plan[id]        "member", "fresh" (never asked to join), "joining", "learner", "promoted" or "leaving"
---   victim          the server whose disk may be damaged; nil: nobody's
---   changed[id]     set of the kinds of change that have succeeded
function M.record(members, total)
  local record = {
    servers = {}, agreed = {}, acknowledged = {}, floor = 0, seen = {}, plan = {}, changed = {},
  }
  for id = 1, total do
    record.servers[id], record.changed[id] = "s" .. id, {}
    record.plan[id] = id <= members and "member" or "fresh"
  end
  return record
end

local function absorb_applied(sim, record, name, seen, applied)
  for _, item in ipairs(applied) do
    local known = record.agreed[item[1]]
    sim:assert(item[1] > seen.last, ("%s applied index %d after %d"):format(name, item[1], seen.last))
    sim:assert(known == nil or known == item[2],
      ("%s applied %s at index %d, another %s"):format(name, item[2], item[1], tostring(known)))
    record.agreed[item[1]], seen.last = item[2], item[1]
  end
end

local function absorb(sim, record, name)
  if not sim:is_up(name) then
    record.seen[name] = nil
    return
  end
  local seen = record.seen[name] or { generation = -1, applied = 0, acknowledged = 0, changed = 0 }
  local generation, applied, acknowledged, changed =
    sim:probe(name, "news", seen.generation, seen.applied, seen.acknowledged, seen.changed)
  if not generation then
    return
  end
  if generation ~= seen.generation then
    seen.generation, seen.applied, seen.last = generation, 0, 0
  end
  absorb_applied(sim, record, name, seen, applied)
  for _, item in ipairs(acknowledged) do
    record.acknowledged[#record.acknowledged + 1] = item
    record.floor = math.max(record.floor, item[1])
  end
  for _, item in ipairs(changed) do
    record.changed[item[2]][item[1]] = true
  end
  seen.applied, seen.acknowledged = seen.applied + #applied, seen.acknowledged + #acknowledged
  seen.changed = seen.changed + #changed
  record.seen[name] = seen
end

function M.absorb_all(sim, record)
  for _, name in ipairs(record.servers) do
    absorb(sim, record, name)
  end
end

-- ---- faults ----

local function stop(sim, record, name)
  absorb(sim, record, name)
  sim[sim:chance(0.7) and "crash" or "kill"](sim, name)
  record.seen[name] = nil
end

--- The first server that leads, with the members that it knows.
local function leader_of(sim, record)
  for _, name in ipairs(record.servers) do
    if sim:is_up(name) then
      local role, members = sim:probe(name, "status")
      if role == "leader" then
        return name, members
      end
    end
  end
end

-- What may be asked next for a server. Ids come once: who leaves never comes back.
local NEXT = {
  fresh = { { "add", "joining" }, { "add_learner", "learner" } },
  joining = { { "add", "joining" }, { "remove", "leaving" } },
  learner = { { "add_learner", "learner" }, { "promote", "promoted" }, { "remove", "leaving" } },
  promoted = { { "promote", "promoted" }, { "remove", "leaving" } },
  member = { { "remove", "leaving" } },
  leaving = { { "remove", "leaving" } },
}

--- Asks a leader to add, promote or remove a server.
function M.change_members(sim, record)
  local leader = leader_of(sim, record)
  local id, staying = sim:random(1, #record.servers), 0
  for _, plan in ipairs(record.plan) do
    staying = staying + (plan == "member" and 1 or 0)
  end
  local step = sim:pick(NEXT[record.plan[id]])
  if not leader or (record.plan[id] == "member" and staying <= (record.victim and 3 or 2)) then
    return
  end
  local is_new = step[1]:find "^add" ~= nil
  record.plan[id] = step[2]
  sim:probe(leader, "change", step[1], id, is_new and record.servers[id] .. ":7200" or nil)
end

local function on_servers(mishap)
  return function(sim, record)
    mishap(sim, record.servers)
  end
end

-- Damages the disk of the one server that this may happen to, while it is down. A group of three members or
-- more goes on without its vote until it is repaired.
local function damage(sim, record)
  local victim = record.victim
  if not victim then
    return
  elseif sim:is_up(victim) then
    stop(sim, record, victim)
  end
  sim:disk(victim, { flip = sim:random(1, 20) })
end

-- Each changes something; what it changed, quiet undoes.
local happenings = {
  function(sim, record)
    local victim = sim:pick(record.servers)
    if sim:is_up(victim) then
      stop(sim, record, victim)
    else
      sim:restart(victim)
    end
  end,
  function(sim, record)
    for _, name in ipairs(record.servers) do
      if sim:is_up(name) and sim:probe(name, "status") == "leader" then
        stop(sim, record, name)
      end
    end
  end,
  function(sim, record)
    for _, name in ipairs(record.servers) do
      if not sim:is_up(name) then
        sim:restart(name)
      end
    end
  end,
  on_servers(mishaps.pause), on_servers(mishaps.resume), mishaps.partition, mishaps.cut_or_hold, mishaps.heal,
  on_servers(mishaps.stall),
  function(sim)
    mishaps.spoil_link(sim, 0.3, 0.5)
  end,
  function(sim, record)
    local name = sim:pick(record.servers)
    if sim:is_up(name) then
      sim:probe(name, sim:pick { "transfer", "snapshot" })
    end
  end,
  M.change_members, M.change_members, M.change_members, damage,
}

--- Lets one thing happen.
function M.make(sim, record)
  sim:pick(happenings)(sim, record)
end

-- ---- peace ----

local function quiet(sim, record)
  mishaps.calm(sim, record.servers)
  for _, name in ipairs(record.servers) do -- those whose disk failed must start anew
    if sim:is_up(name) then
      sim:resume(name)
      stop(sim, record, name)
    end
    sim:disk(name, { sync_error = 0, write_error = 0, read_error = 0 })
    sim:restart(name)
  end
end

local function describe_all(sim, record)
  local lines = {}
  for i, name in ipairs(record.servers) do
    local state, err = sim:probe(name, "describe")
    lines[i] = ("%s (%s): %s"):format(name, record.plan[i], state or err)
  end
  return table.concat(lines, "\n")
end

-- Every member has applied everything that was acknowledged, and something of peace; nobody is on the way
-- in or out.
local function is_level(sim, record, after)
  M.absorb_all(sim, record)
  local leader, members = leader_of(sim, record)
  if not leader then
    return false
  end
  for id, member in pairs(members) do
    local seen = record.seen[record.servers[id]]
    local is_settled = member.is == "voter" or member.is == "learner"
    if not is_settled or not seen or not seen.last or seen.last <= after then
      return false
    end
  end
  record.members = members
  return true
end

--- Ends all faults, and waits until the group has come to rest; the members are then in record.members.
function M.finish(sim, record)
  quiet(sim, record)
  local last = 0
  for index in pairs(record.agreed) do
    last = math.max(last, index)
  end
  local peace = sim:now()
  while not is_level(sim, record, last + 10) do
    if sim:now() > peace + 20 then
      sim:assert(false, "peace brought no progress\n" .. describe_all(sim, record))
    end
    sim:sleep "500ms"
  end
end

--- What was said to have changed has; and nobody belongs to the group who was never to.
function M.check_members(sim, record)
  for id, plan in ipairs(record.plan) do
    local changed, member = record.changed[id], record.members[id]
    local is = member and member.is or "none"
    local may_be = {
      member = is == "voter",
      fresh = is == "none",
      joining = member ~= nil or not changed.add,
      learner = is == "learner" or (is == "none" and not changed.add_learner),
      promoted = is == "voter" or not changed.promote,
      leaving = is == "none" or not changed.remove,
    }
    local kinds = {}
    for kind in pairs(changed) do
      kinds[#kinds + 1] = kind
    end
    table.sort(kinds)
    sim:assert(may_be[plan], ("s%d is %s in the end; plan: %s, done: %s"):format(id, is, plan,
      table.concat(kinds, " ")))
  end
end

return M
