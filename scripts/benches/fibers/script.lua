-- Measures fibers: switches, spawns and channel messages per second, and the cost of preemption.
local perilune = require "perilune"

local function best_rate(count, measure)
  local best = 0
  for _ = 1, 3 do
    local start = perilune.now()
    measure()
    best = math.max(best, count / (perilune.now() - start))
  end
  return best / 1e6
end

local function switch(fiber_count, each)
  local fibers = {}
  for i = 1, fiber_count do
    fibers[i] = perilune.spawn(function()
      for _ = 1, each do
        perilune.yield()
      end
    end)
  end
  for _, fiber in ipairs(fibers) do
    fiber:join()
  end
end

local function spawn_and_join(count)
  for _ = 1, count do
    perilune.spawn(function() end):join()
  end
end

local function pass_messages(count)
  local channel = perilune.channel()
  perilune.spawn(function()
    for i = 1, count do
      channel:send(i)
    end
    channel:close()
  end)
  for _ in channel:values() do end
end

local function report(name, count, fn, ...)
  local args = table.pack(...)
  local rate = best_rate(count, function() fn(table.unpack(args)) end)
  print(("%-34s %10.2f M/s"):format(name, rate))
end

report("switches, 100 fibers", 2000000, switch, 100, 20000)
report("switches, 10,000 fibers", 2000000, switch, 10000, 200)
report("spawn and join", 200000, spawn_and_join, 200000)
report("channel messages, no buffer", 500000, pass_messages, 500000)

local before = perilune.preemptions()
dofile((arg[0]:gsub("script%.lua$", "computing.lua")))
print(("%-34s %10d"):format("preemptions meanwhile", perilune.preemptions() - before))
