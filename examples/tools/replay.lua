-- replay.lua - steps a Raft core again through a flight recorder's file, and shows what it did.
--
-- A node writes the last events of a replica that cannot go on to recorder-gID in its directory;
-- group:record() gives the same of one that runs.
--
-- Run it:
--   perilune run examples/tools/replay.lua FILE
local fs = require "perilune.fs"
local raft = require "perilune.raft"

local path = ...
if not path then
  io.stderr:write "usage: perilune run examples/tools/replay.lua FILE\n"
  os.exit(2)
end

local function show(step)
  local what = step.message and ("%s of %d"):format(step.message, step.from) or step.event
  local refusal = step.code and " refused: " .. step.code or ""
  print(("%-24s %s term=%d last=%d commit=%d%s"):format(what, step.role, step.term, step.last_index,
    step.commit_index, refusal))
end

local bytes = assert(fs.read(path))
local steps, err, _, before = raft.replay(bytes)
for _, step in ipairs(steps or before or {}) do
  show(step)
end
if not steps then
  io.stderr:write(path, ": ", err, "\n")
  os.exit(1)
end
print(("%d events, each as it was"):format(#steps))
