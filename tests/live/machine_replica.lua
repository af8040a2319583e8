-- A node of tests/spec/machine_process_spec.lua: one replica of a group whose machine is a file.
--
--   perilune run tests/live/machine_replica.lua ID FOLDER FILE     FILE: of the machine
--
-- Three nodes have their data in FOLDER/nID, and serve at FOLDER/nID.calls. Events are lines on standard
-- output.
local machine = require "perilune.machine"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"

local id, folder, file = math.tointeger((...)), select(2, ...), select(3, ...)
local members = {}
for i = 1, 3 do
  members[i] = ("unix:%s/n%d.raft"):format(folder, i)
end

local node = assert(raft.open {
  id = id, path = ("%s/n%d"):format(folder, id), listen = members[id], cluster = "live",
  snapshot_entries = 20, trailing_entries = 5,
})
local program = assert(machine.load(file, { name = "machine.lua" }))
local group = assert(raft.group { id = 1, members = members, machine = program })

assert(rpc.serve({
  propose = function(command)
    local result, err, code = group:propose(command, { deadline = 3 })
    return { result = result, err = err, code = code }
  end,
  stand = function()
    local status = group:status()
    local value, _, code = group:read(nil, { consistency = "stale", deadline = 3 })
    return { applied = status.applied_index, hash = group:machine().hash, value = value, code = code,
      diverged = status.diverged }
  end,
}, { listen = ("unix:%s/n%d.calls"):format(folder, id), cluster = "live", node = "n" .. id }))

while true do
  local event = assert(node:event())
  print(event.type, event.member or "", event.index or "")
  io.stdout:flush()
end
