-- A replicated list on three or five nodes, while others join and leave and everything goes wrong that the
-- simulator knows: the soak of the whole of Raft, from the fibers that propose down to the disks
-- (scripts/soak raft --nodes). Nobody applies another command at an index than anybody else, nothing that
-- was acknowledged is lost, nor a change of members, reads miss nothing that was acknowledged before, and
-- when all faults have ended everybody who belongs to the group applies everything that is proposed then.
-- raft_trouble.lua makes the faults.
local perilune = require "perilune"
local mishaps = require "mishaps"
local trouble = require "raft_trouble"

local SECONDS = tonumber(args.seconds or 60)
local SECRET = "0123456789abcdef"

local M = { about = "a replicated list under all faults", time = "30m" }

M.nodes = {}

-- The machine keeps every command with its index.
local function list_of(node)
  return {
    init = function()
      node.applied, node.generation = {}, node.generation + 1
      return node.applied
    end,
    apply = function(applied, command, ctx)
      applied[#applied + 1] = { ctx.index, command }
      return ctx.index
    end,
    query = function(applied)
      return applied[#applied] and applied[#applied][1] or 0
    end,
    restore = function(applied)
      node.applied, node.generation = applied, node.generation + 1
      return applied
    end,
  }
end

-- The same with its state on disk. What the node shows is what the keys hold: it is read anew whenever they
-- are not those of the last command that was seen here, which a start or a snapshot has brought.
local function list_on_disk(node)
  return {
    store = true,
    apply = function(_, command, ctx)
      local store = ctx.store
      if not node.last or store:get "last" ~= node.last then
        node.applied, node.generation = {}, node.generation + 1
        for key, value in store:range("e", "f") do
          node.applied[#node.applied + 1] = { tonumber(key:sub(2)), value }
        end
      end
      node.last = ("%d"):format(ctx.index)
      store:put(("e%010d"):format(ctx.index), command)
      store:put("last", node.last)
      node.applied[#node.applied + 1] = { ctx.index, command }
      return ctx.index
    end,
    query = function(_, _, ctx)
      return math.tointeger(tonumber(ctx.store:get "last" or 0))
    end,
  }
end

-- Proposes for ever; remembers what was acknowledged.
local function propose(node, id)
  local number = 0
  while true do
    number = number + 1
    local command = ("%d.%.6f.%d"):format(id, node.born, number)
    local index = node.group:propose(command, { deadline = 1 })
    if index then
      node.acknowledged[#node.acknowledged + 1] = { index, command }
    end
    perilune.sleep(0.05 + 0.1 * perilune.random())
  end
end

function M.nodes.server(node, id, members, options)
  local raft = require "perilune.raft"
  node.applied, node.acknowledged, node.generation, node.changed = {}, {}, 0, {}
  node.born = perilune.now()
  node.trouble = "opens its log"
  local machine = options.disk and list_on_disk or list_of
  local opened, err = raft.open {
    id = id, path = "raft", secret = SECRET, leases = options.leases, sleep_after = options.sleep_after,
    snapshot_entries = 200, trailing_entries = 20, recorder = 0,
  }
  if opened then
    node.group, err = raft.group {
      id = 1, members = members, machine = machine(node), priority = perilune.random(4),
    }
  end
  if not node.group then -- its disk fails; at the latest in peace it starts again
    node.trouble = "does not start: " .. err
    return
  end
  node.trouble = nil
  propose(node, id)
end

M.probes = {
  -- What was applied, acknowledged and changed here, behind those positions.
  news = function(node, generation, applied, acknowledged, changed)
    if node.generation ~= generation then
      applied = 0
    end
    return node.generation, table.move(node.applied, applied + 1, #node.applied, 1, {}),
        table.move(node.acknowledged, acknowledged + 1, #node.acknowledged, 1, {}),
        table.move(node.changed, changed + 1, #node.changed, 1, {})
  end,
  -- Begins to add, promote or remove a member; news tells when that has succeeded.
  change = function(node, kind, id, address)
    perilune.spawn(function()
      local options = { deadline = 3 }
      if node.group[kind](node.group, id, address or options, address and options) then
        node.changed[#node.changed + 1] = { kind, id }
      end
    end)
  end,
  -- The index of the last command that a read sees.
  read = function(node, consistency)
    return node.group and node.group:read(nil, { deadline = 1, consistency = consistency })
  end,
  transfer = function(node)
    return node.group and node.group:transfer()
  end,
  snapshot = function(node)
    return node.group and node.group:snapshot()
  end,
  status = function(node)
    local status = node.group and node.group:status()
    return status and status.role, status and status.members
  end,
  -- How things stand, for a person.
  describe = function(node)
    local status, parts = node.group and node.group:status() or {}, {}
    for name, value in pairs(status) do
      if type(value) ~= "table" then
        parts[#parts + 1] = ("%s=%s"):format(name, value)
      end
    end
    for id, member in pairs(status.members or {}) do
      parts[#parts + 1] = ("s%d:%s %s match=%s answers=%s"):format(id, member.is, member.progress or "",
        member.match_index or "?", member.answers)
    end
    table.sort(parts)
    return node.trouble or table.concat(parts, " ")
  end,
}

-- True when a server has answered a read, which saw everything that was acknowledged before it began.
local function read(sim, record, name, consistency)
  local floor = record.floor
  local index = sim:is_up(name) and sim:probe(name, "read", consistency)
  sim:assert(not index or index >= floor,
    ("a read at %s saw commands up to %s; %d was acknowledged before it"):format(name, index, floor))
  return index ~= nil and index ~= false
end

local function read_anywhere(sim, record, consistency)
  while not record.is_over do
    read(sim, record, sim:pick(record.servers), consistency)
    sim:sleep(0.3 * sim:random())
  end
end

local function check(sim, record, consistency)
  for _, item in ipairs(record.acknowledged) do
    sim:assert(record.agreed[item[1]] == item[2],
      ("%s was acknowledged at %d and is lost"):format(item[2], item[1]))
  end
  sim:assert(#record.acknowledged > 0, "nothing was ever acknowledged")
  trouble.check_members(sim, record)
  for id, name in ipairs(record.servers) do
    sim:assert(not record.members[id] or sim:wait_until(function()
      return read(sim, record, name, consistency)
    end, 5), "in peace nothing can be read at " .. name)
  end
end

function M.run(sim)
  local up_to = mishaps.up_to
  sim:network {
    latency = { "long_tail", "1ms", "5ms", "100ms" }, loss = up_to(sim, 0.05), duplicate = up_to(sim, 0.05),
    reorder = up_to(sim, 0.1), reset = up_to(sim, 0.005),
  }
  local count, spares, members = sim:chance(0.5) and 3 or 5, sim:random(0, 3), {}
  for id = 1, count do
    members[id] = "s" .. id .. ":7200"
  end
  local options = {
    leases = sim:chance(0.5), sleep_after = sim:chance(0.3) and 1 or 0, disk = sim:chance(0.4),
  }
  local is_faulty = sim:chance(0.5)
  local record = trouble.record(count, count + spares)
  if sim:chance(0.3) then
    record.victim = record.servers[sim:random(1, count)]
  end
  for id, name in ipairs(record.servers) do
    sim:start({ name = name, role = "server", disk = {
      keep = up_to(sim, 1), tear = up_to(sim, 1), sync_error = is_faulty and 0.0005 or 0,
      sync_delay = { "exponential", "1ms", "5ms" },
    }, clock = { drift = up_to(sim, 0.02) - 0.01 } }, id, members, options)
  end
  local consistency = options.leases and "lease" or "linearizable"
  local reader = perilune.spawn(read_anywhere, sim, record, consistency)
  local until_s = sim:now() + SECONDS
  while sim:now() < until_s do
    sim:sleep(1.5 * sim:random())
    trouble.absorb_all(sim, record)
    trouble.make(sim, record)
  end
  trouble.finish(sim, record)
  record.is_over = true
  sim:assert(reader:join())
  check(sim, record, consistency)
end

return M
