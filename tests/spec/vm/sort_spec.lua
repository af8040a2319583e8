-- sort, insert, remove and move as the reference manual (6.6) has them. What Lua's own test suite asks of
-- them, in cases of ours.

local function check_errors(fn, cases)
  for i, case in ipairs(cases) do
    local ok, err = pcall(fn, table.unpack(case[1], 1, case[1].n or #case[1]))
    assert.is_false(ok, ("case %d raises nothing"):format(i))
    assert.matches(case[2], err, 1, true)
  end
end

local function descending(a, b)
  return a > b
end

--- Calls use with each order of the list's elements.
local function permute(list, use, n)
  n = n or #list
  if n <= 1 then
    use(table.move(list, 1, #list, 1, {}))
    return
  end
  for i = 1, n do
    list[i], list[n] = list[n], list[i]
    permute(list, use, n - 1)
    list[i], list[n] = list[n], list[i]
  end
end

describe("table.sort", function()
  it("sorts", function()
    for _, case in ipairs {
      { {}, {} },
      { { 1 }, { 1 } },
      { { 3, 1, 2 }, { 1, 2, 3 } },
      { { 2, 2, 1, 1 }, { 1, 1, 2, 2 } },
      { { 1.5, 1, -1, 2.25 }, { -1, 1, 1.5, 2.25 } },
      { { "b", "a", "B", "", "a\0" }, { "", "B", "a", "a\0", "b" } },
      { { 5, 4, 3, 2, 1, 0 }, { 5, 4, 3, 2, 1, 0 }, descending },
      { { 1, 2, 3, 2, 1 }, { 3, 2, 2, 1, 1 }, descending },
      { { "ccc", "a", "bb" }, { "a", "bb", "ccc" }, function(a, b) return #a < #b end },
      { { math.mininteger, math.maxinteger, 0 }, { math.mininteger, 0, math.maxinteger } },
    } do
      local list = case[1]
      assert.are.equal(0, select("#", table.sort(list, case[3])))
      assert.are.same(case[2], list)
    end
  end)

  it("sorts every order of a few elements", function()
    for _, sorted in ipairs { { 1, 2 }, { 1, 2, 3 }, { 1, 2, 2, 3 }, { 1, 2, 3, 4, 5 }, { 1, 1, 2, 2, 2, 3 },
      { 1, 2, 3, 4, 5, 6 } } do
      permute(table.move(sorted, 1, #sorted, 1, {}), function(list)
        table.sort(list)
        assert.are.same(sorted, list)
      end)
    end
  end)

  it("sorts many elements, however they lie", function()
    local count = 20000
    local shapes = {
      ascending = function(i) return i end,
      descending = function(i) return count - i end,
      equal = function() return 7 end,
      scattered = function(i) return i * 7919 % 20011 end,
      ["few different"] = function(i) return i % 3 end,
      ["organ pipes"] = function(i) return math.min(i, count - i) end,
    }
    for name, value in pairs(shapes) do
      for _, before in ipairs { function(a, b) return a < b end, descending } do
        local list, sum = {}, 0
        for i = 1, count do
          list[i] = value(i)
          sum = sum + list[i]
        end
        table.sort(list, before)
        for i = 2, count do
          sum = sum - list[i]
          assert(not before(list[i], list[i - 1]), name)
        end
        assert.are.equal(list[1], sum, name)
      end
    end
  end)

  it("compares as often as quicksort may", function()
    local list, calls = {}, 0
    for i = 1, 10000 do
      list[i] = i * 7919 % 10007
    end
    table.sort(list, function(a, b)
      calls = calls + 1
      return a < b
    end)
    assert.is_true(calls < 10000 * 30, calls)
  end)

  it("takes anything as a boolean from the comparator", function()
    local list = { false, false, false }
    table.sort(list, function() end)
    assert.are.same({ false, false, false }, list)
    local words = { "b", "a" }
    table.sort(words, function(a, b) return a < b and "yes" or nil end)
    assert.are.same({ "a", "b" }, words)
  end)

  it("goes through metamethods", function()
    local less = { __lt = function(a, b) return a.n < b.n end }
    local list = {}
    for i, n in ipairs { 3, 1, 2 } do
      list[i] = setmetatable({ n = n }, less)
    end
    table.sort(list)
    assert.are.same({ 1, 2, 3 }, { list[1].n, list[2].n, list[3].n })
    local store = { 3, 1, 2 }
    table.sort(setmetatable({}, { __index = store, __newindex = store, __len = function() return 3 end }))
    assert.are.same({ 1, 2, 3 }, store)
    table.sort(setmetatable({}, { __len = function() return -1 end }), error)
  end)

  it("lets the comparator collect garbage and change the world", function()
    local words = { "d", "a", "c", "b" }
    table.sort(words, function(a, b)
      collectgarbage()
      return a < b
    end)
    assert.are.same({ "a", "b", "c", "d" }, words)
  end)

  it("notices orders that are none", function()
    local function always()
      return true
    end
    for size = 4, 8 do
      local list = {}
      for i = 1, size do
        list[i] = i
      end
      check_errors(table.sort, { { { list, always }, "invalid order function for sorting" } })
    end
  end)

  it("refuses what cannot be sorted", function()
    check_errors(table.sort, {
      { { 1 }, "table expected, got number" },
      { { { 1, "a" } }, "attempt to compare" },
      { { { {}, {} } }, "attempt to compare two table values" },
      { { { 1, 2 }, "<" }, "function expected, got string" },
      { { { 3, 2, 1 }, function() error("stop", 0) end }, "stop" },
      { { setmetatable({}, { __len = function() return math.maxinteger end }) }, "array too big" },
      { { setmetatable({}, { __len = function() return "x" end }) }, "object length is not an integer" },
    })
  end)
end)

describe("table.insert and table.remove", function()
  it("shift the rest", function()
    local list = {}
    table.insert(list, "b")
    table.insert(list, 1, "a")
    table.insert(list, 3, "d")
    table.insert(list, 3, "c")
    assert.are.same({ "a", "b", "c", "d" }, list)
    assert.are.equal("d", table.remove(list))
    assert.are.equal("a", table.remove(list, 1))
    assert.are.equal("c", table.remove(list, 2))
    assert.are.same({ "b" }, list)
    assert.is_nil(table.remove(list, 2))
    assert.are.equal("b", table.remove(list))
    assert.is_nil(table.remove(list))
    assert.is_nil(table.remove(list, 0))
    assert.is_nil(table.remove(list, #list))
  end)

  it("reach element 0 of an empty list", function()
    local list = { n = 0, [0] = "zero" }
    assert.are.equal("zero", table.remove(list, 0))
    assert.is_nil(list[0])
  end)

  it("go through metamethods", function()
    local store = { 10, 20, 30 }
    local proxy = setmetatable({}, { __len = function() return #store end, __index = store,
      __newindex = function(_, i, v) store[i] = v end })
    table.insert(proxy, 15)
    table.insert(proxy, 1, 5)
    assert.are.same({ 5, 10, 20, 30, 15 }, store)
    assert.are.equal(10, table.remove(proxy, 2))
    assert.are.same({ 5, 20, 30, 15 }, store)
  end)

  it("refuse places outside the list", function()
    check_errors(table.insert, {
      { { { 1, 2, 3 }, 0, "x" }, "position out of bounds" },
      { { { 1, 2, 3 }, 5, "x" }, "position out of bounds" },
      { { { 1, 2, 3 }, -1, "x" }, "position out of bounds" },
      { { { 1 } }, "wrong number of arguments to 'insert'" },
      { { { 1 }, 1, 2, 3 }, "wrong number of arguments to 'insert'" },
      { { nil, 1, n = 2 }, "table expected" },
    })
    check_errors(table.remove, {
      { { { 1, 2, 3 }, 5 }, "position out of bounds" }, { { { 1, 2, 3 }, -1 }, "position out of bounds" },
      { { {}, 2 }, "position out of bounds" }, { { { 1 }, {} }, "number expected" },
    })
  end)
end)

describe("table.move", function()
  local top, bottom = math.maxinteger, math.mininteger

  it("copies ranges, overlapping or not", function()
    for _, case in ipairs {
      { { { 10, 20, 30 }, 1, 3, 2 }, { 10, 10, 20, 30 } },
      { { { 10, 20, 30 }, 1, 3, 3 }, { 10, 20, 10, 20, 30 } },
      { { { 10, 20, 30 }, 2, 3, 1 }, { 20, 30, 30 } },
      { { { 10, 20, 30 }, 1, 3, 1 }, { 10, 20, 30 } },
      { { { 10, 20, 30 }, 1, 0, 5 }, { 10, 20, 30 } },
      { { { 10, 20, 30 }, 1, 3, 1, {} }, { 10, 20, 30 } },
      { { { 10, 20, 30 }, 1, 0, 3, {} }, {} },
      { { { 10, 20 }, 1, 2, 4, { 1, 2, 3 } }, { 1, 2, 3, 10, 20 } },
      { { { 1, nil, 3 }, 1, 3, 1, { 7, 8, 9 } }, { 1, nil, 3 } },
      { { { [top - 1] = 2, [top] = 3 }, top - 1, top, -10, {} }, { [-10] = 2, [-9] = 3 } },
      { { { [bottom] = 1, [bottom + 1] = 2 }, bottom, bottom + 1, -10, {} }, { [-10] = 1, [-9] = 2 } },
      { { { 45 }, 1, 1, top }, { 45, [top] = 45 } },
      { { { [top] = 1 }, top, top, bottom }, { [bottom] = 1, [top] = 1 } },
    } do
      local result = table.move(table.unpack(case[1], 1, 5))
      assert.are.equal(case[1][5] or case[1][1], result)
      assert.are.same(case[2], result)
    end
  end)

  it("goes through metamethods, in the order of the overlap", function()
    local tens = setmetatable({}, { __index = function(_, i) return i * 10 end })
    assert.are.same({ nil, nil, 10, 20, 30 }, table.move(tens, 1, 3, 3, {}))
    local log = {}
    local writes = setmetatable({}, { __newindex = function(_, i, v) log[#log + 1] = i .. "=" .. v end })
    table.move(tens, 7, 9, 1, writes)
    assert.are.same({ "1=70", "2=80", "3=90" }, log)
    local places = {}
    local both = setmetatable({}, { __index = function(_, i) return i end,
      __newindex = function(_, i) places[#places + 1] = i end })
    table.move(both, 1, 3, 2)
    assert.are.same({ 4, 3, 2 }, places)
  end)

  it("begins at the right end of ranges too long to finish", function()
    for _, case in ipairs { { 1, top, 0, 1, 0 }, { 0, top - 1, 1, top - 1, top },
      { bottom, -2, -5, -2, top - 6 },
      { bottom + 1, -1, -2, -1, top - 3 }, { bottom, -2, 0, bottom, 0 } } do
      local read, written
      local list = setmetatable({}, { __index = function(_, i) read = i end, __newindex = function(_, i)
        written = i
        error "enough"
      end })
      assert.is_false(pcall(table.move, list, case[1], case[2], case[3]))
      assert.are.same({ case[4], case[5] }, { read, written })
    end
  end)

  it("refuses ranges that wrap around", function()
    check_errors(table.move, {
      { { 1, 2, 3, 4 }, "table expected" }, { { {}, 0, top, 1 }, "too many elements to move" },
      { { {}, bottom, -1, 1 }, "too many elements to move" },
      { { {}, 1, top, 2 }, "destination wrap around" },
      { { {}, 1, 2, top }, "destination wrap around" }, { { {}, bottom, -2, 2 }, "destination wrap around" },
      { { {}, 1, 2 }, "number expected, got no value" },
    })
  end)
end)

describe("table.pack and table.unpack", function()
  it("are each other's opposite", function()
    assert.are.same({ n = 0 }, table.pack())
    assert.are.same({ nil, 2, nil, n = 3 }, table.pack(nil, 2, nil))
    assert.are.same({ 2, 3 }, { table.unpack({ 1, 2, 3 }, 2) })
    assert.are.same({}, { table.unpack({ 1, 2, 3 }, 3, 2) })
    assert.are.equal(2, select("#", table.unpack({}, 1, 2)))
    assert.are.same({ 12, 23 }, { table.unpack({ [math.maxinteger - 1] = 12, [math.maxinteger] = 23 },
      math.maxinteger - 1, math.maxinteger) })
    check_errors(table.unpack, { { { {}, 0, math.maxinteger }, "too many results to unpack" },
      { { {}, math.mininteger, math.maxinteger }, "too many results to unpack" } })
  end)
end)
