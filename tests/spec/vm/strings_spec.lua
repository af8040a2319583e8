-- The string functions and table.concat as the reference manual (6.4, 6.6) has them: some are replaced, the
-- others stand beside them. What Lua's own test suite asks of them, in cases of ours.

--- Each case: what is called with which arguments, and its first result.
local function check(name, cases)
  for i, case in ipairs(cases) do
    local arguments = case[1]
    local got = string[name](table.unpack(arguments, 1, arguments.n or #arguments))
    assert.are.equal(case[2], got, ("%s, case %d"):format(name, i))
  end
end

local function check_errors(fn, cases)
  for i, case in ipairs(cases) do
    local ok, err = pcall(fn, table.unpack(case[1], 1, case[1].n or #case[1]))
    assert.is_false(ok, ("case %d raises nothing"):format(i))
    assert.matches(case[2], err, 1, true)
  end
end

describe("string.rep", function()
  it("repeats, with a separator between", function()
    check("rep", {
      { { "ab", 0 }, "" }, { { "ab", -1 }, "" }, { { "ab", math.mininteger }, "" }, { { "ab", 1 }, "ab" },
      { { "ab", 3 }, "ababab" }, { { "", 10 }, "" }, { { "a\0b", 2 }, "a\0ba\0b" },
      { { "ab", 0, "," }, "" }, { { "ab", 1, "," }, "ab" }, { { "ab", 3, "," }, "ab,ab,ab" },
      { { "", 4, "." }, "..." }, { { "\1\0\1", 2, "\0\0" }, "\1\0\1\0\0\1\0\1" }, { { "ab", 2, "" }, "abab" },
      { { 12, 2 }, "1212" }, { { "x", "3" }, "xxx" }, { { "x", 2.0 }, "xx" },
    })
    for size = 0, 40 do
      assert.are.equal(size, #("a"):rep(size))
    end
  end)

  it("agrees with concatenation at any size", function()
    for _, count in ipairs { 1000, 4095, 4096, 4097, 100000 } do
      local list = {}
      for i = 1, count do
        list[i] = "ab"
      end
      assert.are.equal(table.concat(list), ("ab"):rep(count))
      assert.are.equal(table.concat(list, "-"), ("ab"):rep(count, "-"))
    end
  end)

  it("refuses results that are too large", function()
    check_errors(string.rep, {
      { { "aa", 1 << 62 }, "resulting string too large" },
      { { "a", 1 << 62, "," }, "resulting string too large" },
      { { "", math.maxinteger // 2 + 10, "aa" }, "resulting string too large" },
      { { "a", 1 << 40 }, "resulting string too large" },
      { { "a", 1.5 }, "number has no integer representation" },
      { { "a" }, "number expected, got no value" },
      { { {}, 2 }, "string expected, got table" },
    })
  end)
end)

describe("string.sub", function()
  it("cuts at positions from both ends", function()
    check("sub", {
      { { "123456789", 2, 4 }, "234" }, { { "123456789", 7 }, "789" }, { { "123456789", 7, 6 }, "" },
      { { "123456789", 7, 7 }, "7" }, { { "123456789", 0, 0 }, "" },
      { { "123456789", -10, 10 }, "123456789" },
      { { "123456789", -10, -20 }, "" }, { { "123456789", -1 }, "9" }, { { "123456789", -6, -4 }, "456" },
      { { "123456789", math.mininteger, -4 }, "123456" },
      { { "123456789", math.mininteger, math.maxinteger }, "123456789" },
      { { "123456789", math.maxinteger, math.mininteger }, "" }, { { "\0a\0b", 2, 3 }, "a\0" },
    })
  end)
end)

describe("string.byte and string.char", function()
  it("are each other's opposite", function()
    assert.are.same({ 97 }, { ("a"):byte() })
    assert.are.same({ 255, 0, 10 }, { ("\255\0\n"):byte(1, -1) })
    assert.are.same({}, { (""):byte() })
    assert.are.same({}, { ("hi"):byte(3) })
    assert.are.same({}, { ("hi"):byte(2, 1) })
    assert.are.same({ 104, 105 }, { ("hi"):byte(-10, 100) })
    assert.are.equal("", string.char())
    assert.are.equal("\0\255A", string.char(0, 255, 65))
    check_errors(string.char, { { { 256 }, "value out of range" }, { { -1 }, "value out of range" },
      { { math.maxinteger }, "value out of range" } })
  end)
end)

describe("case, order and length", function()
  it("work on bytes", function()
    check("upper", { { { "ab\0c1" }, "AB\0C1" }, { { "\xe4" }, "\xe4" } })
    check("lower", { { { "\0ABC%$" }, "\0abc%$" } })
    check("reverse", { { { "" }, "" }, { { "abc\0" }, "\0cba" } })
    check("len", { { { "" }, 0 }, { { "\0\0\0" }, 3 }, { { 1234 }, 4 } })
  end)

  it("compare", function()
    for _, pair in ipairs { { "", "a" }, { "ab", "ab1" }, { "ab\0ab", "ab\0b" }, { "ab", "ab\0" },
      { "\0", "\1" },
      { "\0\0\0", "\0\0\0\0" }, { "B", "a" } } do
      assert.is_true(pair[1] < pair[2])
      assert.is_true(pair[1] <= pair[2])
      assert.is_false(pair[2] < pair[1])
      assert.is_true(pair[2] >= pair[1])
    end
  end)
end)

describe("tostring and tonumber", function()
  it("know every type", function()
    for _, case in ipairs { { nil, "nil" }, { true, "true" }, { false, "false" }, { 12, "12" },
      { -1203, "-1203" },
      { 1203.125, "1203.125" }, { -0.5, "-0.5" }, { -3.0, "-3.0" }, { 1e15, "1e+15" },
      { 2 ^ 53, "9.007199254741e+15" },
      { 1 << 62, "4611686018427387904" }, { math.mininteger, "-9223372036854775808" }, { 1 / 0, "inf" },
      { -1 / 0, "-inf" }, { 0.1, "0.1" }, { "\0", "\0" } } do
      assert.are.equal(case[2], tostring(case[1]))
    end
    assert.matches("^table: 0x", tostring {})
    assert.matches("^function: ", tostring(print))
    assert.matches("^thread: 0x", tostring(coroutine.create(print)))
  end)

  it("honour metatables", function()
    local meta = { __tostring = function() return "hello" end, __name = "Kind" }
    local object = setmetatable({}, meta)
    assert.are.equal("hello", tostring(object))
    assert.are.equal("hello hello", ("%s %.10s"):format(object, object))
    meta.__tostring = nil
    assert.matches("^Kind: 0x", tostring(object))
    meta.__tostring = function() return {} end
    check_errors(tostring, { { { object }, "'__tostring' must return a string" } })
  end)

  it("read numbers in every base", function()
    for _, case in ipairs { { { "0x10" }, 16 }, { { "  12  " }, 12 }, { { "1e2" }, 100.0 },
      { { "0x.8p1" }, 1.0 },
      { { "ff", 16 }, 255 }, { { "-zz", 36 }, -1295 }, { { "1010", 2 }, 10 }, { { "12", 2 } },
      { { "" } }, { { "1 2" } },
      { { "0x" } }, { { "1e" } }, { { "\0001" } } } do
      assert.are.equal(case[2], tonumber(table.unpack(case[1])))
    end
  end)
end)

describe("string.format", function()
  it("formats integers", function()
    check("format", {
      { { "%d", 10 }, "10" }, { { "%d", 3.0 }, "3" }, { { "%d", "10" }, "10" },
      { { "%5d|%-5d|%05d", 42, 42, 42 }, "   42|42   |00042" },
      { { "%+08d", 31501 }, "+0031501" }, { { "%+08d", -30927 }, "-0030927" },
      { { "%2.5d", -100 }, "-00100" },
      { { "%i", math.mininteger }, "-9223372036854775808" }, { { "%x %X", 255, 255 }, "ff FF" },
      { { "%x", -1 }, "ffffffffffffffff" }, { { "%#x %#o", 255, 8 }, "0xff 010" },
      { { "%o", 0xABCD }, "125715" },
      { { "%c%c%c", 76, 117, 97 }, "Lua" }, { { "%-4c|", 97 }, "a   |" }, { { "\0%c\0", 0 }, "\0\0\0" },
    })
  end)

  it("formats floats", function()
    check("format", {
      { { "%.3f", 2 / 3 }, "0.667" }, { { "%5.1f|", 3.14159 }, "  3.1|" },
      { { "%e", 12345.678 }, "1.234568e+04" },
      { { "%g %g", 100000, 1e20 }, "100000 1e+20" }, { { "%+.3G", 1.5 }, "+1.5" },
      { { "%+#014.0f", 100 }, "+000000000100." },
      { { "%a", 1.0 }, "0x1p+0" }, { { "%A", -0.5 }, "-0X1P-1" }, { { "%.0f", 0.5 }, "0" },
      { { "%f", 1 / 0 }, "inf" },
    })
    assert.are.equal(1 + 309 + 1 + 99, #("%.99f"):format(-1.7976931348623157e308))
  end)

  it("formats strings", function()
    check("format", {
      { { "" }, "" }, { { "%%" }, "%" }, { { "%s %s", "a", "b" }, "a b" },
      { { "%10s|", "hi" }, "        hi|" },
      { { "%-10s|", "hi" }, "hi        |" }, { { "%.2s", "hello" }, "he" },
      { { "%.0s|%.s", "hello", "x" }, "|" },
      { { "%s", "a\0b" }, "a\0b" }, { { "%s %s %s", nil, true, 12, n = 4 }, "nil true 12" },
      { { "%.3s", false }, "fal" },
      { { "%s", ("x"):rep(1000) }, ("x"):rep(1000) },
      { { "-%.20s.20s", ("%"):rep(2000) }, "-" .. ("%"):rep(20) .. ".20s" },
    })
  end)

  it("quotes values so that Lua reads them back", function()
    check("format", {
      { { "%q", "a\"b\\c\nd\0e\r" }, "\"a\\\"b\\\\c\\\nd\\0e\\13\"" }, { { "%q", "\0001" }, "\"\\0001\"" },
      { { "%q", math.mininteger }, "0x8000000000000000" }, { { "%q", 1 / 0 }, "1e9999" },
      { { "%q", -1 / 0 }, "-1e9999" },
      { { "%q", 0 / 0 }, "(0/0)" }, { { "%q", 0.5 }, "0x1p-1" }, { { "%q", 7 }, "7" },
    })
    for _, value in ipairs { "\0\0\1\255\u{234}", math.maxinteger, math.pi, 0.1, true, "\r\n\t\"\\" } do
      local back = load("return " .. ("%q"):format(value))()
      assert.are.equal(value, back)
      assert.are.equal(math.type(value), math.type(back))
    end
  end)

  it("shows where things lie", function()
    assert.are.equal("(null)", ("%p"):format(4))
    assert.are.equal("    (null)", ("%10p"):format(nil))
    assert.are.equal(("%p"):format(print), ("%p"):format(print))
    assert.are_not.equal(("%p"):format {}, ("%p"):format {})
    assert.are.equal(90, #("%90p"):format {})
  end)

  it("refuses what it does not know", function()
    check_errors(string.format, {
      { { "%t", 10 }, "invalid conversion '%t' to 'format'" }, { { "%100d", 10 }, "invalid conversion" },
      { { "%1.100d", 10 }, "invalid conversion" }, { { "%" .. ("0"):rep(600) .. "d", 10 }, "too long" },
      { { "%d %d", 10 }, "no value" }, { { "%010c", 10 }, "invalid conversion" },
      { { "%.3c", 10 }, "invalid conversion" },
      { { "%0.34s", 10 }, "invalid conversion" }, { { "%#i", 10 }, "invalid conversion" },
      { { "%F", 10 }, "invalid conversion" },
      { { "%10q", "x" }, "specifier '%q' cannot have modifiers" },
      { { "%q", {} }, "value has no literal form" },
      { { "%d", 1.5 }, "number has no integer representation" },
      { { "%d", "x" }, "number expected, got string" },
      { { "%10s", "\0" }, "string contains zeros" }, { { "%", 1 }, "invalid conversion '%' to 'format'" },
    })
  end)
end)

describe("table.concat", function()
  it("joins what lies in the range", function()
    local function join(expected, ...)
      assert.are.equal(expected, table.concat(...))
    end
    local abc, top, bottom = { "a", "b", "c" }, math.maxinteger, math.mininteger
    join("", {})
    join("", {}, "x")
    join("abc", abc)
    join("a, b, c", abc, ", ")
    join("b,c", abc, ",", 2)
    join("c", abc, ",", 3)
    join("", abc, ",", 4)
    join("a,b", abc, ",", 1, 2)
    join("b", abc, ",", 2, 2)
    join("", abc, ",", 2, 1)
    join("1 2.5 x", { 1, 2.5, "x" }, " ")
    join("a1b1c", abc, 1)
    join("\0.\0.\0\1.\0.\0\1\2", { "\0", "\0\1", "\0\1\2" }, ".\0.")
    join("", {}, "x", top, top - 1)
    join("", {}, "x", bottom + 1, bottom)
    join("", {}, "x", top, bottom)
    join("end", { [top] = "end" }, "x", top, top)
    join("y-end", { [top] = "end", [top - 1] = "y" }, "-", top - 1, top)
    join("first", { [bottom] = "first" }, "x", bottom, bottom)
    local many = {}
    for i = 1, 5000 do
      many[i] = "word"
    end
    join(("word;"):rep(4999) .. "word", many, ";")
    join("word;word", many, ";", 4999)
  end)

  it("goes through metamethods", function()
    local squares = setmetatable({},
    { __index = function(_, i) return i * i end, __len = function() return 4 end })
    assert.are.equal("1 4 9 16", table.concat(squares, " "))
    assert.are.equal("9,16,25", table.concat(squares, ",", 3, 5))
  end)

  it("refuses what is no string", function()
    check_errors(table.concat, {
      { { 3 }, "table expected, got number" },
      { { { "a", "b", {} } }, "at index 3 in table for 'concat'" },
      { { { "a", nil, "c" }, ",", 1, 3 }, "at index 2 in table for 'concat'" },
      { { {}, " ", math.maxinteger, math.maxinteger }, "at index " .. math.maxinteger },
      { { {}, " ", math.mininteger, math.mininteger }, "at index " .. math.mininteger },
      { { { "a" }, {} }, "string expected, got table" },
    })
  end)
end)
