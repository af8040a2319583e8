--- What a node costs that nobody asks for anything, and how long it takes to be there.
local fiber = require "perilune.fiber"
local process = require "perilune.process"
local sections = require "lib.sections"
local stores = require "kv.stores"

local NAME = "idle"
local MEMORY_MIB, READY_MS = 15, 30

-- Milliseconds from the start of a node alone, with an empty directory, until it says that it serves.
local function time_start(context)
  local path = stores.directory(context, "start") .. "/1"
  local began = fiber.now()
  local child <close> = assert(process.spawn { context.perilune, "kv", "serve", path, "--members",
    "127.0.0.1:" .. stores.free_port(), "--listen", "127.0.0.1:" .. stores.free_port(), stdout = "pipe",
    dies_with_parent = true })
  assert(child:read_line(), "the node did not start")
  return (fiber.now() - began) * 1000
end

local function largest_rss(opened)
  local largest = 0
  for _, child in pairs(opened.children) do
    largest = math.max(largest, sections.resident_bytes(child:pid()) / 2 ^ 20)
  end
  return largest
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, goals = {} }
  if not context.wants(NAME) then
    return section
  end
  local times = {}
  for i = 1, context.options.quick and 1 or 9 do
    times[i] = time_start(context)
  end
  table.sort(times)
  section.start_ms = times[(#times + 1) // 2]
  local opened = stores.open_perilune(context)
  fiber.sleep(1)
  section.memory_mib = largest_rss(opened)
  opened:close()
  context.say("\nAlone: start to ready %.0f ms (fastest %.0f, slowest %.0f)", section.start_ms, times[1],
    times[#times])
  context.say("Three idle nodes: the largest has %.1f MiB", section.memory_mib)
  section.goals = {
    { what = "start to ready", value = ("%.0f ms"):format(section.start_ms), wanted = "< 30 ms",
      met = section.start_ms < READY_MS },
    { what = "memory of an idle node", value = ("%.1f MiB"):format(section.memory_mib), wanted = "< 15 MiB",
      met = section.memory_mib < MEMORY_MIB },
  }
  return section
end
