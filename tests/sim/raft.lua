-- A replicated list on three or five nodes while everything goes wrong that the simulator knows: the soak
-- of the whole of Raft, from the fibers that propose down to the disks (scripts/soak raft --nodes). Nobody
-- applies another command at an index than anybody else, nothing that was acknowledged is lost, and when
-- all faults have ended everybody applies everything that is proposed then.
local perilune = require "perilune"

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
    restore = function(applied)
      node.applied, node.generation = applied, node.generation + 1
      return applied
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
  node.applied, node.acknowledged, node.generation = {}, {}, 0
  node.born = perilune.now()
  node.trouble = "opens its log"
  local opened, err = raft.open {
    id = id, path = "raft", secret = SECRET, leases = options.leases, sleep_after = options.sleep_after,
    snapshot_entries = 200, trailing_entries = 20, recorder = 0,
  }
  if opened then
    node.group, err = raft.group { id = 1, members = members, machine = list_of(node) }
  end
  if not node.group then -- its disk fails; at the latest in peace it starts again
    node.trouble = "does not start: " .. err
    return
  end
  node.trouble = nil
  propose(node, id)
end

M.probes = {
  -- What was applied, and acknowledged here, behind those positions.
  news = function(node, generation, applied, acknowledged)
    if node.generation ~= generation then
      applied = 0
    end
    return node.generation, table.move(node.applied, applied + 1, #node.applied, 1, {}),
        table.move(node.acknowledged, acknowledged + 1, #node.acknowledged, 1, {})
  end,
  status = function(node)
    local status = node.group and node.group:status()
    return status and status.role
  end,
  -- How things stand, for a person.
  describe = function(node)
    local status, parts = node.group and node.group:status() or {}, {}
    for name, value in pairs(status) do
      if type(value) ~= "table" then
        parts[#parts + 1] = ("%s=%s"):format(name, value)
      end
    end
    table.sort(parts)
    return node.trouble or table.concat(parts, " ")
  end,
}

-- ---- the harness ----

-- agreed[index]: the command that somebody applied there; seen[name]: what is known of a server.
local function absorb(sim, record, name)
  if not sim:is_up(name) then
    record.seen[name] = nil
    return
  end
  local seen = record.seen[name] or { generation = -1, applied = 0, acknowledged = 0 }
  local generation, applied, acknowledged =
    sim:probe(name, "news", seen.generation, seen.applied, seen.acknowledged)
  if not generation then
    return
  end
  if generation ~= seen.generation then
    seen.generation, seen.applied, seen.last = generation, 0, 0
  end
  for _, item in ipairs(applied) do
    local known = record.agreed[item[1]]
    sim:assert(item[1] > seen.last, ("%s applied index %d after %d"):format(name, item[1], seen.last))
    sim:assert(known == nil or known == item[2],
      ("%s applied %s at index %d, another %s"):format(name, item[2], item[1], tostring(known)))
    record.agreed[item[1]], seen.last = item[2], item[1]
  end
  for _, item in ipairs(acknowledged) do
    record.acknowledged[#record.acknowledged + 1] = item
  end
  seen.applied, seen.acknowledged = seen.applied + #applied, seen.acknowledged + #acknowledged
  record.seen[name] = seen
end

local function absorb_all(sim, record, servers)
  for _, name in ipairs(servers) do
    absorb(sim, record, name)
  end
end

local function stop(sim, record, name)
  absorb(sim, record, name)
  sim[sim:chance(0.7) and "crash" or "kill"](sim, name)
  record.seen[name] = nil
end

-- Each changes something; what it changed, quiet undoes.
local mishaps = {
  function(sim, record, servers)
    local victim = sim:pick(servers)
    if sim:is_up(victim) then
      stop(sim, record, victim)
    else
      sim:restart(victim)
    end
  end,
  function(sim, record, servers)
    for _, name in ipairs(servers) do
      if sim:is_up(name) and sim:probe(name, "status") == "leader" then
        stop(sim, record, name)
      end
    end
  end,
  function(sim, _, servers)
    for _, name in ipairs(servers) do
      if not sim:is_up(name) then
        sim:restart(name)
      end
    end
  end,
  function(sim, _, servers)
    sim:pause(sim:pick(servers))
  end,
  function(sim, _, servers)
    sim:resume(sim:pick(servers))
  end,
  function(sim)
    sim:partition(sim:pick { "halves", "isolated", "minority_third", "bridge", "ring" })
  end,
  function(sim)
    local names = sim:shuffle(sim:names())
    sim[sim:pick { "cut", "hold" }](sim, names[1], names[2])
  end,
  function(sim)
    sim:heal()
  end,
  function(sim, _, servers)
    sim:disk(sim:pick(servers), { stall = sim:random() })
  end,
  function(sim)
    local names = sim:shuffle(sim:names())
    local latency = { "uniform", 0, 0.3 * sim:random() }
    sim:link(names[1], names[2], { latency = latency, loss = 0.5 * sim:random() })
  end,
}

local function quiet(sim, record, servers)
  sim:heal()
  sim:network { latency = "1ms", loss = 0, duplicate = 0, reorder = 0, corrupt = 0, reset = 0 }
  for _, from in ipairs(servers) do
    for _, to in ipairs(servers) do
      if from ~= to then
        sim:link(from, to, { latency = "1ms", loss = 0 })
      end
    end
  end
  for _, name in ipairs(servers) do -- those whose disk failed must start anew
    if sim:is_up(name) then
      sim:resume(name)
      stop(sim, record, name)
    end
    sim:disk(name, { sync_error = 0, write_error = 0, read_error = 0 })
    sim:restart(name)
  end
end

local function describe_all(sim, servers)
  local lines = {}
  for i, name in ipairs(servers) do
    local state, err = sim:probe(name, "describe")
    lines[i] = ("%s: %s"):format(name, state or err)
  end
  return table.concat(lines, "\n")
end

-- Everybody has applied everything that was acknowledged, and something of peace.
local function is_level(sim, record, servers, after)
  absorb_all(sim, record, servers)
  for _, name in ipairs(servers) do
    local seen = record.seen[name]
    if not seen or not seen.last or seen.last <= after then
      return false
    end
  end
  return true
end

function M.run(sim)
  sim:network {
    latency = { "long_tail", "1ms", "5ms", "100ms" }, loss = 0.05 * sim:random(),
    duplicate = 0.05 * sim:random(), reorder = 0.1 * sim:random(), reset = 0.005 * sim:random(),
  }
  local servers, members, record = {}, {}, { agreed = {}, acknowledged = {}, seen = {} }
  for id = 1, sim:chance(0.5) and 3 or 5 do
    servers[id] = "s" .. id
    members[id] = servers[id] .. ":7200"
  end
  local options = { leases = sim:chance(0.5), sleep_after = sim:chance(0.3) and 1 or 0 }
  local is_faulty = sim:chance(0.5)
  for id, name in ipairs(servers) do
    sim:start({ name = name, role = "server", disk = {
      keep = sim:random(), tear = sim:random(), sync_error = is_faulty and 0.0005 or 0,
      sync_delay = { "exponential", "1ms", "5ms" },
    } }, id, members, options)
  end
  local until_s = sim:now() + SECONDS
  while sim:now() < until_s do
    sim:sleep(1.5 * sim:random())
    absorb_all(sim, record, servers)
    sim:pick(mishaps)(sim, record, servers)
  end
  quiet(sim, record, servers)
  local last = 0
  for index in pairs(record.agreed) do
    last = math.max(last, index)
  end
  local peace = sim:now()
  while not is_level(sim, record, servers, last + 10) do
    if sim:now() > peace + 20 then
      sim:assert(false, "peace brought no progress\n" .. describe_all(sim, servers))
    end
    sim:sleep "500ms"
  end
  for _, item in ipairs(record.acknowledged) do
    sim:assert(record.agreed[item[1]] == item[2],
      ("%s was acknowledged at %d and is lost"):format(item[2], item[1]))
  end
  sim:assert(#record.acknowledged > 0, "nothing was ever acknowledged")
end

return M
