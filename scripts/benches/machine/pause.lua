-- Run by perilune: how long the machine keeps others waiting while a snapshot of a large state is written,
-- and how long the loop stands still while one is restored. One node with a disk: a fiber proposes commands,
-- of which each changes a record and every tenth adds one; another one asks the machine all the time, which
-- does not wait for the disk. Each line is a row: name, milliseconds.
local fiber = require "perilune.fiber"
local machine = require "perilune.machine"
local raft = require "perilune.raft"

local records, path = tonumber((...)), (select(2, ...))
local QUIET, NAP, BATCH = 2, 0.001, 2000 -- seconds; records made by a command

local program = assert(machine.source [[
  local function record(i) return { id = i, name = "name" .. i } end
  return {
    apply = function(s, command)
      local i = command.change
      for j = command.from or 1, command.to or 0 do s["key" .. j] = record(j) end
      if i then s["key" .. i].id = -i end
      if i and i % 10 == 0 then s["more" .. i] = record(i) end
    end,
    query = function(s) return s.key1.id end }]])

local function open()
  local node = assert(raft.open { id = 1, path = path, listen = "127.0.0.1:0" })
  local group, err = raft.group { id = 1, node = node, members = { node:address() }, machine = program }
  return node, assert(group, err)
end

local function propose(group, command)
  local _, err = group:propose(command, { deadline = 60 })
  assert(not err, err)
end

local function row(name, seconds)
  print(("%s\t%.3f"):format(name, seconds * 1000))
end

local node, group = open()
for first = 1, records, BATCH do
  propose(group, { from = first, to = math.min(first + BATCH - 1, records) })
end

-- The longest wait of a question to the machine, and of a command, until done.
local function ask_until(done)
  local index, longest, proposed = 0, 0, 0
  local proposer = fiber.spawn(function()
    while not done() do
      index = index % records + 1
      local start = fiber.now()
      propose(group, { change = index })
      proposed = math.max(proposed, fiber.now() - start)
    end
  end)
  while not done() do
    local start = fiber.now()
    assert(group:read(nil, { consistency = "stale", deadline = 60 }))
    longest = math.max(longest, fiber.now() - start)
  end
  proposer:join()
  return longest, proposed
end

local state = ("%.0f MiB in tables"):format(group:machine().memory / 2 ^ 20)
local function rows(what, longest, proposed)
  row(("%s, %s: longest wait of a question"):format(state, what), longest)
  row(("%s, %s: longest wait of a command, with its fsync"):format(state, what), proposed)
end

local start = fiber.now()
rows("at rest", ask_until(function() return fiber.now() > start + QUIET end))
local is_taken = false
fiber.spawn(function()
  repeat until node:event().type == "snapshot_taken"
  is_taken = true
end)
start = fiber.now()
assert(group:snapshot())
rows("snapshot under way", ask_until(function() return is_taken end))
row(state .. ": the snapshot", fiber.now() - start)
node:close()

-- The loop is asked for a nap every millisecond: the longest time between two is its longest pause.
local last, pause = nil, 0
local ticker = fiber.every(NAP, function()
  local now = fiber.now()
  pause, last = math.max(pause, last and now - last - NAP or 0), now
end)
fiber.sleep(0.1)
pause, start = 0, fiber.now()
node, group = open()
propose(group, { change = 1 })
local took = fiber.now() - start
ticker:cancel()
row(state .. ": start from the snapshot", took)
row(state .. ": longest pause of the loop meanwhile", pause)
node:close()
