-- luacheck: read globals stock
-- Random arrays end as the stock functions leave them, with the same errors.
local support, seed, rounds = ...
math.randomseed(seed)
local random = math.random

local comparators = {
  function(a, b) return a > b end,
  function(a, b) return a // 4 < b // 4 end,
  function() return true end,
  function() return random(2) == 1 end,
  function(a, b)
    support.pause()
    return a < b
  end,
  function() error("mine") end,
}

local function check_sort(round)
  local a = {}
  for i = 1, random(50) == 1 and random(1000) or random(0, 40) do
    a[i] = random(1, random(1, 60))
  end
  local which = random(0, #comparators)
  local draws = random(1 << 30)
  local function sorted(sort, list)
    local array = stock.move(list, 1, #list, 1, {})
    math.randomseed(draws)
    sort(array, comparators[which])
    return stock.concat(array, " ")
  end
  local want, got = support.outcomes(
    function() return sorted(stock.sort, a) end, function() return sorted(table.sort, a) end)
  math.randomseed(seed + 7919 * round)
  assert(want == got, want .. " is not " .. got)
end

local function element()
  return random(8) == 1 and {} or random(2) == 1 and random(99) or tostring(random(99))
end

local function check_call(name, ...)
  local a, b = {}, {}
  for i = 1, random(0, 12) do
    a[i] = element()
    b[i] = a[i]
  end
  local want, got = support.outcomes(function(...) return stock[name](a, ...) end,
    function(...) return table[name](b, ...) end, ...)
  assert(want == got, name .. ": " .. want .. " is not " .. got)
  for i = -2, 30 do
    assert(a[i] == b[i], name)
  end
end

for round = 1, rounds do
  check_sort(round)
  check_call("concat", random(2) == 1 and "," or nil, random(2) == 1 and random(-2, 5) or nil,
    random(3) == 1 and random(-2, 14) or nil)
  check_call("insert", random(-1, 14), "new")
  check_call("insert", "new")
  check_call("insert", 1, 2, 3)
  check_call("insert", "x", 2)
  check_call("remove", random(-1, 14))
  check_call("remove")
  check_call("move", random(-1, 5), random(-1, 12), random(-1, 12))
end

-- Long ranges take our own path.
local long = {}
for i = 1, 30000 do
  long[i] = tostring(i * 7919 % 30011)
end
local function copy()
  return stock.move(long, 1, #long, 1, {})
end
local function same(a, b)
  assert(#a == #b)
  for i = 1, #a do
    assert(a[i] == b[i])
  end
end
local a, b = copy(), copy()
stock.insert(a, 5, "X")
support.drive(table.insert, b, 5, "X")
same(a, b)
assert(stock.remove(a, 3) == select(3, support.drive(table.remove, b, 3)))
same(a, b)
stock.move(a, 1, 25000, 3)
support.drive(table.move, b, 1, 25000, 3)
same(a, b)
stock.sort(a)
support.drive(table.sort, b)
same(a, b)
assert(stock.concat(long, ",") == select(3, support.drive(table.concat, long, ",")))
assert(stock.rep("abc", 300000, "-") == select(3, support.drive(string.rep, "abc", 300000, "-")))
