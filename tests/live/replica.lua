-- A node of tests/live/cluster.lua: a replicated map.
--
--   perilune run tests/live/replica.lua ID FOLDER ADDRESS...     the raft addresses of nodes 1, 2, ...
--
-- Its data are in FOLDER/nID, it serves clients at FOLDER/nID.calls, and prints a line for each of
--   open TERM LAST_INDEX      what it found on its disk
--   leader TERM               it leads
--   fenced CODE               its disk failed
local fiber = require "perilune.fiber"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"

local arguments = { ... }
local id, folder = math.tointeger(arguments[1]), arguments[2]
local members = table.move(arguments, 3, #arguments, 1, {})
local name = ("%s/n%d"):format(folder, id)

local function say(...)
  print(table.concat({ ... }, " "))
  io.stdout:flush()
end

-- The map, and every write since the last "forget" with its index.
local machine = {
  init = function()
    return { map = {}, writes = {} }
  end,
  apply = function(state, command, ctx)
    local what, key, value = table.unpack(command)
    if what == "forget" then
      state.writes = {}
    elseif what == "write" then
      state.map[key] = value
      state.writes[#state.writes + 1] = { ctx.index, value }
    end
    return ctx.index
  end,
  query = function(state, key)
    return key and { state.map[key] } or state.writes
  end,
}

local node = assert(raft.open {
  id = id, path = name, listen = members[id], cluster = "live", snapshot_entries = 500, trailing_entries = 50,
  heartbeat = os.getenv "HEARTBEAT", election = os.getenv "ELECTION",
})
local group = assert(raft.group { id = 1, members = members, machine = machine })
local found = group:status()
say("open", found.term, found.last_index)

local function answer(result, err, code, details)
  if err then
    return nil, err, code, details and details.certainty
  end
  return result
end

assert(rpc.serve({
  write = function(key, value)
    return answer(group:propose({ "write", key, value }, { deadline = 1 }))
  end,
  read = function(key)
    return answer(group:read(key, { deadline = 1 }))
  end,
  forget = function()
    return answer(group:propose({ "forget" }, { deadline = 2 }))
  end,
  fill = function(bytes)
    return answer(group:propose({ "fill", bytes }))
  end,
  writes = function()
    return answer(group:read(nil, { consistency = "stale" }))
  end,
  status = function()
    return group:status()
  end,
}, { listen = ("unix:%s.calls"):format(name), cluster = "live", node = "n" .. id }))

while true do
  local event = assert(node:event())
  if event.type == "role" and event.role == "leader" then
    say("leader", event.term)
  elseif event.type == "fenced" then
    say("fenced", event.code)
  end
  fiber.yield()
end
