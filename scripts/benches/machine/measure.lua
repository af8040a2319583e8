-- Run by perilune: commands a second of machines in files, alone on one core, by processor time. Each line is
-- a row: name, least and median microseconds of a command over the runs, the number of commands.
local core = require "perilune.core.machine"
local entry = require "perilune.machine.entry"
local msgpack = require "perilune.msgpack"

local RUNS, COUNT, KEYS = tonumber((...)) or 5, tonumber((select(2, ...))) or 20000, 1000

local function example(name)
  return assert(core.read(("examples/machines/%s.lua"):format(name)))
end

local function open(text)
  local box = assert(core.open(text, "bench.lua"))
  assert(box:init())
  return box
end

local function entries(command_of)
  local list = {}
  for i = 1, KEYS do
    list[i] = entry.encode(entry.COMMAND, assert(msgpack.encode(command_of(i))), { now = i, seed = i })
  end
  return list
end

local function account(i)
  return "account" .. i
end

local function fill_bank(box)
  for i = 1, KEYS do
    for _, command in ipairs { { op = "open", account = account(i) },
      { op = "deposit", account = account(i), amount = 1 << 40 } } do
      assert(box:apply(entry.encode(entry.COMMAND, assert(msgpack.encode(command))), i))
    end
  end
end

local function transfer(amount)
  return function(i)
    return { op = "transfer", from = account(i), to = account(i % KEYS + 1), amount = amount }
  end
end

local ROWS = {
  { "counter: add", example "counter", function(i) return i % 2 == 0 and 1 or -1 end },
  { "bank: transfer", example "bank", transfer(1), fill_bank },
  { "bank: transfer that fails and is undone", example "bank", transfer(1 << 50), fill_bank, fails = true },
  { "leaderboard: score", example "leaderboard",
    function(i) return { player = "p" .. i % 50, score = i } end },
  { "empty apply", "return { apply = function() end }", function() return 1 end },
  { "100 fields written", "return { apply = function(s, n) for i = 1, 100 do s[i] = n + i end end }",
    function(i) return i end },
}

for _, row in ipairs(ROWS) do
  local box = open(row[2])
  if row[4] then
    row[4](box)
  end
  local list, times, index = entries(row[3]), {}, 0
  for run = 1, RUNS + 1 do -- the first warms up
    local start = os.clock()
    for _ = 1, COUNT do
      index = index + 1
      local result = box:apply(list[index % KEYS + 1], index)
      if (result == nil) ~= (row.fails or false) then
        error(row[1] .. ": not what was expected")
      end
    end
    times[run] = (os.clock() - start) / COUNT * 1e6
  end
  table.remove(times, 1)
  table.sort(times)
  print(("%s\t%.3f\t%.3f\t%d"):format(row[1], times[1], times[(#times + 1) // 2], COUNT))
  box:close()
end

-- A large state: what a snapshot and a restore of it take, and what the tables that see assignments cost.
local RECORDS = 10 * COUNT
local text = ([[return { init = function()
  local s = {} for i = 1, %d do s["key" .. i] = { id = i, name = "name" .. i } end return s end,
  apply = function() end }]]):format(RECORDS)
local box = open(text)
local start = os.clock()
local bytes = assert(box:snapshot())
local took = os.clock() - start
print(("snapshot of %d records (%.0f MiB held, %.0f MiB of snapshot)\t%.0f\t%.0f\t1"):format(RECORDS,
  box:info().memory / 2 ^ 20, #bytes / 2 ^ 20, took * 1e6, took * 1e6))
start = os.clock()
assert(box:restore(bytes))
took = os.clock() - start
print(("restore of it\t%.0f\t%.0f\t1"):format(took * 1e6, took * 1e6))
