--- What 10,000 groups cost that nobody uses.
local cluster = require "raft.cluster"
local fiber = require "perilune.fiber"
local perilune = require "perilune"
local sections = require "lib.sections"

local NAME = "idle groups"
local CPU_GOAL = 3 -- percent of a processor

local function resident(three)
  local most = 0
  for _, node in pairs(three.nodes) do
    most = math.max(most, sections.resident_bytes(node.child:pid()))
  end
  return most
end

local function open(context, name, groups)
  local three = cluster.open { name = name, directory = context.directory, groups = groups,
    command = { context.programs .. "bench_raft_node" } }
  three:wait("all groups sleep", 120, function(statuses)
    local led, asleep = 0, 0
    for _, status in pairs(statuses) do
      led, asleep = led + status.led, asleep + status.asleep
    end
    return led == groups and asleep == 3 * groups
  end)
  return three
end

-- What the nodes did in some seconds: the busiest one's processor time, and messages of all.
local function watch(three, seconds)
  local before, result = {}, { cpu_percent = 0, envelopes = 0, messages = 0 }
  for id, node in ipairs(three.nodes) do
    before[id] = node:ask "stats"
  end
  perilune.sleep(seconds)
  for id, node in ipairs(three.nodes) do
    local old, new = before[id], node:ask "stats"
    local took = (new.now_us - old.now_us) / 1e6
    result.cpu_percent = math.max(result.cpu_percent, (new.cpu_us - old.cpu_us) / took / 1e4)
    result.envelopes = result.envelopes + (new.envelopes - old.envelopes) / took
    result.messages = result.messages + (new.messages - old.messages) / took
  end
  return result
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, goals = {} }
  if not context.wants(NAME) then
    return section
  end
  local groups = context.options.quick and 200 or 10000
  local base
  local few = fiber.spawn(function()
    local three = open(context, "idle-few", 2)
    base = resident(three)
    three:close()
  end)
  local start = perilune.now()
  local three = open(context, "idle", groups)
  section.start_seconds = perilune.now() - start
  assert(fiber.join(few))
  local found = watch(three, context.options.quick and 0.5 or 5)
  section.groups, section.bytes_per_group = groups, (resident(three) - base) / groups
  three:close()
  section.found = found
  context.say("\n%d idle groups on three processes", groups)
  context.say("  %.2f %% of a processor (the busiest), %.0f envelopes/s and %.0f messages/s of all nodes,",
    found.cpu_percent, found.envelopes, found.messages)
  context.say("  %.0f bytes resident a group and node; asleep %.1f s after the start",
    section.bytes_per_group, section.start_seconds)
  section.goals = { { what = ("%d idle groups, %% of a processor"):format(groups),
    value = ("%.2f"):format(found.cpu_percent), wanted = ("<= %d"):format(CPU_GOAL),
    met = found.cpu_percent <= CPU_GOAL } }
  return section
end
