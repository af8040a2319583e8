-- find, match, gmatch and gsub as the reference manual (6.4.1) has them: every pattern item, anchor,
-- capture and replacement, with the results written out. What Lua's own test suite asks of them, in
-- cases of ours.

--- Each case: what is called with which arguments, and all of its results.
local function check(cases)
  for i, case in ipairs(cases) do
    local name, arguments, expected = case[1], case[2], case[3]
    local got = table.pack(string[name](table.unpack(arguments, 1, arguments.n or #arguments)))
    expected.n = expected.n or #expected
    local call = ("%s(%q, %q)"):format(name, arguments[1], arguments[2])
    assert.are.same(expected, got, ("case %d: %s"):format(i, call))
  end
end

local NOTHING = { nil, n = 1 }

--- The bytes from 0 to 255 that the pattern matches, as a string.
local function members(pattern)
  local all = {}
  for byte = 0, 255 do
    all[byte + 1] = string.char(byte)
  end
  return (table.concat(all):gsub(".", function(c)
    return c:find("^" .. pattern .. "$") and c or ""
  end))
end

describe("find", function()
  it("gives the first place from a start on", function()
    check {
      { "find", { "", "" }, { 1, 0 } },
      { "find", { "", "", 2 }, NOTHING },
      { "find", { "abc", "" }, { 1, 0 } },
      { "find", { "abc", "", 4 }, { 4, 3 } },
      { "find", { "abc", "", 5 }, NOTHING },
      { "find", { "abc", "", -1 }, { 3, 2 } },
      { "find", { "banana", "an" }, { 2, 3 } },
      { "find", { "banana", "an", 3 }, { 4, 5 } },
      { "find", { "banana", "an", -3 }, { 4, 5 } },
      { "find", { "banana", "an", -100 }, { 2, 3 } },
      { "find", { "banana", "an", 5 }, NOTHING },
      { "find", { "banana", "n.", math.mininteger }, { 3, 4 } },
      { "find", { "banana", "n.", math.maxinteger }, NOTHING },
      { "find", { "", "x", 1 }, NOTHING },
    }
  end)

  it("takes the pattern literally when told so", function()
    check {
      { "find", { "f(.)g", "(.)", 1, true }, { 2, 4 } },
      { "find", { "f(.)g", "(.)", 3, true }, NOTHING },
      { "find", { "a+b", "+", 1, true }, { 2, 2 } },
      { "find", { "a\0b\0c", "\0c", 1, true }, { 4, 5 } },
      { "find", { "abc", "", 10, true }, NOTHING },
      { "find", { "abc", "", 4, true }, { 4, 3 } },
    }
  end)

  it("gives captures behind the place", function()
    check {
      { "find", { "key = value", "(%w+) = (%w+)" }, { 1, 11, "key", "value" } },
      { "find", { "hello", "()ll()" }, { 3, 4, 3, 5 } },
      { "find", { "hello", "(x?)" }, { 1, 0, "" } },
    }
  end)

  it("treats zero bytes like any other", function()
    check {
      { "find", { "x\0y x\0y", "x\0y", 2 }, { 5, 7 } },
      { "find", { "a\0\0b", "\0b" }, { 3, 4 } },
      { "find", { "ab", "b\0" }, NOTHING },
      { "find", { "", "\0" }, NOTHING },
      { "find", { "abc\0def", "%\0" }, { 4, 4 } },
      { "find", { "a$b", "$\0?" }, { 2, 2 } },
      { "find", { "ab\0\0cd\0", "\0\0c." }, { 3, 6 } },
      { "match", { "ab\0\1\2c", "[\0-\2]+" }, { "\0\1\2" } },
      { "match", { "ab\0\1\2c", "[\0-\0]+" }, { "\0" } },
      { "match", { "a\0\0\0", "%\0+" }, { "\0\0\0" } },
      { "match", { "a\0x\0y\1z\1", "%b\0\1" }, { "\0x\0y\1z\1" } },
    }
  end)
end)

describe("quantifiers", function()
  it("take as much as they can, and give back", function()
    check {
      { "match", { "xxxy", ".*y" }, { "xxxy" } },
      { "match", { "xxx", ".*x" }, { "xxx" } },
      { "match", { "y", ".*y" }, { "y" } },
      { "match", { "xxxy", ".+y" }, { "xxxy" } },
      { "match", { "y", ".+y" }, NOTHING },
      { "match", { "xxxy", ".?y" }, { "xy" } },
      { "match", { "y", ".?y" }, { "y" } },
      { "match", { "xxxy", "x*" }, { "xxx" } },
      { "match", { "yyy", "x*" }, { "" } },
      { "match", { "xyyx", "xy*x" }, { "xyyx" } },
      { "match", { "xx", "xy+x" }, NOTHING },
      { "match", { "aab aaab", "b.*b" }, { "b aaab" } },
      { "match", { "aa", "^aa?a?a" }, { "aa" } },
      { "match", { "", "b*" }, { "" } },
    }
  end)

  it("take as little as they can with -", function()
    check {
      { "match", { "xxxy", "x-" }, { "" } },
      { "match", { "xxx", "^.-$" }, { "xxx" } },
      { "match", { "aab aaab aab", "b.-b" }, { "b aaab" } },
      { "match", { "<a><b>", "<(.-)>" }, { "a" } },
      { "match", { "--[[ x ]] y ]]", "%[%[(.-)%]%]" }, { " x " } },
    }
  end)

  it("apply to one item only", function()
    check {
      { "match", { "ababab", "(ab)*" }, NOTHING },
      { "match", { "ab*", "(ab)*" }, { "ab" } },
      { "match", { "aaa", "a+-" }, NOTHING },
      { "match", { "a-", "a+-" }, { "a-" } },
    }
  end)
end)

describe("anchors", function()
  it("hold at the ends only", function()
    check {
      { "find", { "abc123", "^123" }, NOTHING },
      { "find", { "abc123", "123$" }, { 4, 6 } },
      { "find", { "abc", "^b", 2 }, { 2, 2 } },
      { "match", { "a$a", ".$" }, { "a" } },
      { "match", { "a$a", ".%$" }, { "a$" } },
      { "match", { "a$a", ".$." }, { "a$a" } },
      { "match", { "a$a", "$$" }, NOTHING },
      { "match", { "a$", "$$" }, { "$" } },
      { "match", { "a^b", "a^b" }, { "a^b" } },
      { "match", { "abc", "$" }, { "" } },
      { "gsub", { "aaa", "^a", "b" }, { "baa", 1 } },
      { "gsub", { "aaa", "a$", "b" }, { "aab", 1 } },
      { "gsub", { "", "^", "x" }, { "x", 1 } },
      { "gsub", { "", "$", "x" }, { "x", 1 } },
    }
  end)

  it("mean nothing at the start of a gmatch pattern", function()
    local seen = {}
    for word in ("^a ^b"):gmatch("^%^?%a") do
      seen[#seen + 1] = word
    end
    assert.are.same({ "^a", "^b" }, seen)
  end)
end)

describe("classes and sets", function()
  local LOWER, UPPER = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
  local DIGITS = "0123456789"

  it("have the members of the C locale", function()
    local expected = {
      ["%a"] = UPPER .. LOWER, ["%l"] = LOWER, ["%u"] = UPPER, ["%d"] = DIGITS,
      ["%w"] = DIGITS .. UPPER .. LOWER, ["%x"] = DIGITS .. "ABCDEFabcdef", ["%s"] = "\t\n\v\f\r ",
      ["%p"] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
      ["[a-f]"] = "abcdef", ["[a-]"] = "-a", ["[]%%]"] = "%]",
      ["[a%-z]"] = "-az", ["[%^%[%-a%]%-b]"] = "-[]^ab",
      ["[^%D]"] = DIGITS, ["[^%W_]"] = DIGITS .. UPPER .. LOWER,
      ["[%d%u-]"] = "-" .. DIGITS .. UPPER, ["[+--]"] = "+,-", ["[^\0-\254]"] = "\255",
      ["[\200-\203]"] = "\200\201\202\203", ["%%"] = "%", ["%."] = ".",
      ["[z-a]"] = "", ["[]]"] = "]", ["[]-a]"] = "]^_`a",
    }
    for pattern, set in pairs(expected) do
      assert.are.equal(set, members(pattern), pattern)
    end
  end)

  it("complement each other", function()
    for class in ("acdglpsuwx"):gmatch(".") do
      assert.are.equal(256, #members("%" .. class) + #members("%" .. class:upper()), class)
      assert.are.equal(members("%" .. class:upper()), members("[^%" .. class .. "]"), class)
    end
    assert.are.equal(256, #members("."))
    assert.are.equal(33, #members("%c"))
    assert.are.equal(94, #members("%g"))
    assert.are.equal(1, #members("%z"))
  end)

  it("work in their places", function()
    check {
      { "match", { "  \r\n*&\n   word  \n", "%g%g%g+" }, { "word" } },
      { "match", { "um, what ? else", "[^%sa-z,]" }, { "?" } },
      { "match", { "]]]x", "[^]]" }, { "x" } },
      { "match", { "0aFg", "%x*" }, { "0aF" } },
      { "match", { "one two", "%C+" }, { "one two" } },
      { "match", { "\xc3\xa1bl", "\xc3\xa1?b?l?" }, { "\xc3\xa1bl" } },
      { "match", { "a.b", "%." }, { "." } },
    }
  end)
end)

describe("captures", function()
  it("nest, repeat and may be empty", function()
    check {
      { "match", { "tag one", "^(((.).).* (%w*))$" }, { "tag one", "ta", "t", "one" } },
      { "match", { "0123456789", "(.+(.?)())" }, { "0123456789", "", 11 } },
      { "match", { "254 K", "(%d*)K" }, { "" } },
      { "match", { "end ", "(%w*)$" }, { "" } },
      { "match", { "end ", "(%w+)$" }, NOTHING },
      { "match", { "no captures", "%a+" }, { "no" } },
      { "match", { "abc", "()a()b()c()" }, { 1, 2, 3, 4 } },
      { "match", { "2026-11-20", "(%d+)-(%d+)-(%d+)" }, { "2026", "11", "20" } },
      { "match", { "abc", ".-(b)", -2 }, { "b" } },
    }
  end)

  it("are referred to", function()
    check {
      { "match", { "it said 'so' and \"no\"", "([\"'])(.-)%1" }, { "'", "so" } },
      { "match", { "abab abba", "((.)(.))%3%2" }, { "ab", "a", "b" } },
      { "match", { "say say\0 so\0", "(%a+%z) %1" }, NOTHING },
      { "match", { "go\0 go\0", "(%a+%z) %1" }, { "go\0" } },
      { "match", { "=====", "^(=*)=%1$" }, { "==" } },
      { "match", { "======", "^(=*)=%1$" }, NOTHING },
    }
  end)

  it("may be 32, not more", function()
    local pattern = ("(.)"):rep(32)
    assert.are.equal(32, select("#", ("x"):rep(32):match(pattern)))
    assert.has_error(function() return ("x"):rep(33):match(pattern .. "(.)") end, "too many captures")
  end)
end)

describe("%b and %f", function()
  it("find balanced pairs", function()
    check {
      { "match", { "f(a(b)c)d)", "%b()" }, { "(a(b)c)" } },
      { "match", { "f(a(b)c", "%b()" }, { "(b)" } },
      { "match", { "((((", "%b()" }, NOTHING },
      { "gsub", { "say 'hi' now", "%b''", "_" }, { "say _ now", 1 } },
      { "gsub", { "(9 ((8))(\0) 7) a ()(c)() b", "%b()", "" }, { " a  b", 4 } },
      { "match", { "begin beg end", "%bbd" }, { "beg end" } },
    }
  end)

  it("find frontiers, the ends included", function()
    check {
      { "gsub", { "the tea at ten", "%f[%w]t", "T" }, { "The Tea at Ten", 3 } },
      { "gsub", { "01abc45de3", "%f[%d]", "." }, { ".01abc.45de.3", 3 } },
      { "gsub", { "word", "%f[\1-\255]%w", "W" }, { "Word", 1 } },
      { "gsub", { "word", "%f[^\1-\255]", "!" }, { "word!", 1 } },
      { "gsub", { "[[]] [][] [[[[", "%f[[].", "x" }, { "x[]] x]x] x[[[", 4 } },
      { "find", { "aba", "%f[a%z]" }, { 3, 2 } },
      { "find", { "aba", "%f[%z]" }, { 4, 3 } },
      { "find", { "aba", "%f[%l%z]" }, NOTHING },
      { "find", { "aba", "%f[^%l%z]" }, NOTHING },
      { "find", { "a", "%f[^%l]" }, { 2, 1 } },
      { "match", { " one of", "%f[%S](.-)%f[%s]" }, { "one" } },
    }
  end)
end)

describe("gsub", function()
  it("takes a text with captures", function()
    check {
      { "gsub", { "hello world", "o", "0" }, { "hell0 w0rld", 2 } },
      { "gsub", { "hello", "", "-" }, { "-h-e-l-l-o-", 6 } },
      { "gsub", { "hello", "l", "%0%0" }, { "hellllo", 2 } },
      { "gsub", { "hello", "l", "%1%1" }, { "hellllo", 2 } },
      { "gsub", { "hello", ".", "%%" }, { "%%%%%", 5 } },
      { "gsub", { "abc=xyz", "(%w*)(%p)(%w+)", "%3%2%1-%0" }, { "xyz=abc-abc=xyz", 1 } },
      { "gsub", { "  both ends  ", "^%s*(.-)%s*$", "%1" }, { "both ends", 1 } },
      { "gsub", { "a  b \n c\n ", "%s+", " " }, { "a b c ", 3 } },
      { "gsub", { "hello", "()[hl]", "%1" }, { "1e34o", 3 } },
      { "gsub", { "abc", "%w", "x", 2 }, { "xxc", 2 } },
      { "gsub", { "abc", "%w", "x", 0 }, { "abc", 0 } },
      { "gsub", { "abc", "%w", "x", -1 }, { "abc", 0 } },
      { "gsub", { "abc", "b", 7 }, { "a7c", 1 } },
      { "gsub", { "xyz", "$", "\0end" }, { "xyz\0end", 1 } },
      { "gsub", { 1234, "%d", "%0 " }, { "1 2 3 4 ", 4 } },
    }
  end)

  it("matches empty strings once, not behind a match", function()
    check {
      { "gsub", { "a b cd", " *", "-" }, { "-a-b-c-d-", 5 } },
      { "gsub", { "xxaxx", "x*", "<%0>" }, { "<xx>a<xx>", 2 } },
      { "gsub", { "abc", "b*", "." }, { ".a.c.", 3 } },
    }
  end)

  it("takes a function, and keeps what it gives nothing for", function()
    local seen = {}
    check {
      { "gsub", { "one (two) three", "%((%w+)%)", string.upper }, { "one TWO three", 1 } },
      { "gsub", { "abc", "%w", function() end }, { "abc", 3 } },
      { "gsub", { "abc", "%w", function() return false end }, { "abc", 3 } },
      { "gsub", { "abc", "%w", function(c) return c:byte() end }, { "979899", 3 } },
      { "gsub", { "abc", "()(.)", function(at, c) seen[at] = c end }, { "abc", 3 } },
      { "gsub", { "k=v", "(%w)=(%w)", function(a, b) return b .. a end }, { "vk", 1 } },
      { "gsub", { "abc", "", function(all) return "<" .. all .. ">" end }, { "<>a<>b<>c<>", 4 } },
    }
    assert.are.same({ "a", "b", "c" }, seen)
  end)

  it("takes a table, with its metamethods", function()
    local upper = setmetatable({}, { __index = function(_, key) return key:upper() end })
    check {
      { "gsub", { "hello you", ".", {} }, { "hello you", 9 } },
      { "gsub", { "hello", "(.)", { h = "J", l = "", o = 5 } }, { "Je5", 5 } },
      { "gsub", { "hello", "((.)(.?))", { he = "HE", lo = false } }, { "HEllo", 3 } },
      { "gsub", { "abcd", "().", { "w", "x", "y" } }, { "wxyd", 4 } },
      { "gsub", { "a bcd e fg", "%w%w+", upper }, { "a BCD e FG", 2 } },
    }
  end)

  it("may call itself", function()
    local function reverse(text)
      return (text:gsub("(.)(.+)", function(first, rest) return reverse(rest) .. first end))
    end
    assert.are.equal("fedcba", reverse "abcdef")
  end)
end)

describe("gmatch", function()
  local function list(text, pattern, init)
    local seen = {}
    for a, b in text:gmatch(pattern, init) do
      seen[#seen + 1] = b and a .. "," .. b or a
    end
    return seen
  end

  it("goes over all matches", function()
    assert.are.same({ "first", "second", "word" }, list("first second word", "%w+"))
    assert.are.same({ 1, 2, 3, 4 }, list("abc", "()"))
    assert.are.same({ "13,14", "15,16" }, list("13=14, x=y, 15 = 16", "(%d+)%s*=%s*(%d+)"))
    assert.are.same({ "2,x", "5,u" }, list("uxxyuu", "()(.)%2"))
    assert.are.same({ 1, 5, 9 }, list("one two 3hree", "()%f[%w]"))
    assert.are.same({}, list("abc", "%d"))
    assert.are.same({ "", "", "" }, list("ab", "x*"))
  end)

  it("starts where it is told", function()
    assert.are.same({ "two", "three" }, list("one two three", "%a+", 4))
    assert.are.same({ "ree" }, list("one two three", "%a+", -3))
    assert.are.same({ "one", "two" }, list("one two", "%a+", -100))
    assert.are.same({}, list("one two", "%a+", 9))
    assert.are.same({ "" }, list("one", "%d*", 4))
    assert.are.same({}, list("one", "%d*", 5))
  end)

  it("stays at its end", function()
    local iterate = ("a"):gmatch("a")
    assert.are.equal("a", iterate())
    assert.is_nil(iterate())
    assert.is_nil(iterate())
  end)
end)

describe("what is malformed", function()
  local patterns = {
    ["(."] = "unfinished capture", ["((.)"] = "unfinished capture", [".)"] = "invalid pattern capture",
    ["[a"] = "malformed pattern (missing ']')", ["[]"] = "malformed pattern (missing ']')",
    ["[^]"] = "malformed pattern (missing ']')", ["[a%]"] = "malformed pattern (missing ']')",
    ["[a%"] = "malformed pattern", ["%b"] = "malformed pattern (missing arguments to '%b')",
    ["%ba"] = "malformed pattern (missing arguments to '%b')", ["%"] = "malformed pattern (ends with '%')",
    ["%f"] = "missing '[' after '%f' in pattern", ["%fa"] = "missing '[' after '%f' in pattern",
    ["(%1)"] = "invalid capture index", ["%1"] = "invalid capture index", ["(.)%2"] = "invalid capture index",
    ["%0"] = "invalid capture index",
  }
  for pattern, message in pairs(patterns) do
    it(("pattern %q"):format(pattern), function()
      for _, name in ipairs { "find", "match" } do
        local ok, err = pcall(string[name], "a", pattern)
        assert.is_false(ok)
        assert.matches(message, err, 1, true)
      end
      assert.is_false(pcall(string.gsub, "a", pattern, "%1"))
      assert.is_false(pcall(function() return ("a"):gmatch(pattern)() end))
    end)
  end

  it("replacements", function()
    for _, case in ipairs {
      { "%2", "invalid capture index %2" },
      { "%x", "invalid use of '%' in replacement string" },
      { "%", "invalid use of '%' in replacement string" },
      { { a = {} }, "invalid replacement value (a table)" },
      { function() return print end, "invalid replacement value (a function)" },
      { true, "string/function/table expected, got boolean" },
    } do
      local ok, err = pcall(string.gsub, "abc", ".", case[1])
      assert.is_false(ok)
      assert.matches(case[2], err, 1, true)
    end
  end)

  it("arguments", function()
    for _, name in ipairs { "find", "match", "gmatch", "gsub" } do
      local ok, err = pcall(load(("return string.%s(nil, '', '')"):format(name)))
      assert.is_false(ok)
      assert.matches(("bad argument #1 to '%s' (string expected, got nil)"):format(name), err, 1, true)
    end
    assert.has_error(function() return ("x"):find("x", "y") end)
    assert.has_error(function() return ("x"):gsub("x", "y", "z") end)
  end)
end)

describe("large subjects", function()
  local many = ("a"):rep(300000)

  it("need no stack", function()
    assert.are.equal(1, (many:find("^a*.?$")))
    assert.is_nil(many:find("^a*.?b$"))
    assert.are.equal(1, (many:find("^a-.?$")))
    assert.are.equal(300000, select(2, many:gsub("a", "")))
    assert.are.equal(many, (many:match("(a*)")))
    assert.are.equal(80, #("a"):rep(80):match((".?"):rep(80)))
  end)

  it("balance", function()
    local nested = ("("):rep(100000) .. (")"):rep(100000)
    assert.are.equal(nested, nested:match("%b()"))
  end)
end)
