-- A node of Perilune whose state machine is in Lua, and the load inside it: what node.c is for C.
--
--   perilune run node.lua ID DIRECTORY 1 ADDRESS...
--
-- Each proposer is a fiber. Reads and answers lines as node.c does.
local fiber = require "perilune.fiber"
local perilune = require "perilune"
local process = require "perilune.process"
local raft = require "perilune.raft"

local id, directory = tonumber((...)), (select(2, ...))
local members = { select(4, ...) }

-- The state counts commands and keeps the last of each proposer.
local machine = {
  init = function() return { applied = 0, last = {} } end,
  apply = function(state, command)
    state.applied = state.applied + 1
    state.last[command[1]] = command[2]
    return state.applied
  end,
  query = function(state) return { applied = state.applied } end,
}

assert(raft.open { id = id, path = directory, listen = members[id], cluster = "bench" })
local group = assert(raft.group { id = 1, members = members, machine = machine })

local function status()
  local now = group:status()
  print(("role=%d leader=%d applied=%d"):format(now.role == "leader" and 3 or 0, now.leader or 0,
    assert(group:read(nil, { consistency = "stale" })).applied))
end

local function percentile(sorted, share)
  return math.floor(sorted[math.max(1, math.ceil(#sorted * share))] * 1e6)
end

local function load(proposers, bytes, ms)
  local filler = ("x"):rep(bytes - 8)
  local begin = perilune.now() + ms / 5000
  local finish = begin + ms / 1000
  local samples, cpu, failure = {}, nil, nil

  local function propose(proposer)
    local now = perilune.now()
    while (now < finish or #samples == 0) and not failure do
      local started = now
      local result, err = group:propose({ proposer, filler }, { deadline = 20 })
      now = perilune.now()
      if not result then
        failure = err
      elseif now >= begin and (now < finish or #samples == 0) then -- at least one, however long it takes
        cpu = cpu or os.clock()
        samples[#samples + 1] = now - started
        finish = math.max(finish, now)
      end
    end
  end

  local fibers = {}
  for proposer = 1, proposers do
    fibers[proposer] = fiber.spawn(propose, proposer)
  end
  for _, one in ipairs(fibers) do
    assert(fiber.join(one))
  end
  if failure then
    print("error " .. failure)
    return
  end
  local spent = os.clock() - cpu
  table.sort(samples)
  print(("entries=%d per_second=%.0f p50_us=%d p99_us=%d max_us=%d cpu_us=%.3f"):format(#samples,
    #samples / (finish - begin), percentile(samples, 0.5), percentile(samples, 0.99), percentile(samples, 1),
    spent * 1e6 / #samples))
end

print "ready"
io.stdout:flush()
for line in assert(process.standard "stdin"):lines() do
  local proposers, bytes, ms = line:match "^load (%d+) (%d+) (%d+)$"
  if proposers then
    load(tonumber(proposers), tonumber(bytes), tonumber(ms))
  else
    status()
  end
  io.stdout:flush()
end
