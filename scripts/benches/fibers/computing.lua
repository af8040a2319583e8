-- Code that computes and never waits: what the ticker costs shows here. Runs in lua5.4 as well.
local function fib(n)
  return n < 2 and n or fib(n - 1) + fib(n - 2)
end

local function loop()
  local sum = 0
  for i = 1, 30000000 do
    sum = sum + i
  end
  return sum
end

local function best_milliseconds(fn, ...)
  local best = math.huge
  for _ = 1, 5 do
    local start = os.clock()
    fn(...)
    best = math.min(best, os.clock() - start)
  end
  return best * 1000
end

print(("%-34s %10.1f ms of CPU"):format("fib(29)", best_milliseconds(fib, 29)))
print(("%-34s %10.1f ms of CPU"):format("loop of 30 M", best_milliseconds(loop)))
