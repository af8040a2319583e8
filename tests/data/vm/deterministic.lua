-- Runs inside the sandbox of machines; draw(n) gives 1..n, encode(v) canonical bytes.
local function keys(t)
  local list = {}
  for k, v in pairs(t) do
    assert(rawequal(t[k], v))
    list[#list + 1] = tostring(k)
  end
  return table.concat(list, " ")
end

local function refuses(text, fn, ...)
  local ok, message = pcall(fn, ...)
  assert(not ok, "let through: " .. text)
  assert(message:find(text, 1, true), message)
end

-- pairs, next: numbers by value, strings by bytes.
do
  local t = { b = 1, a = 2, [10] = 3, [-1] = 4, [2.5] = 5, ["10"] = 6, [1] = 7, [2] = 8, [3] = 9, [""] = 10 }
  t["a\0"] = 11
  t["\xff"], t.B, t[math.huge], t[-math.huge], t[math.mininteger], t[math.maxinteger], t[2 ^ 63], t[0] =
    1, 1, 1, 1, 1, 1, 1, 1
  assert(keys(t) == "-inf -9223372036854775808 -1 0 1 2 2.5 3 10 9223372036854775807 9.2233720368548e+18 inf "
    .. " 10 B a a\0 b \xff")
  local list, k = {}, nil
  repeat
    k = next(t, k)
    list[#list + 1] = k ~= nil and tostring(k) or nil
  until k == nil
  assert(table.concat(list, " ") == keys(t))
  local count = 0
  for key, value in next, t do
    assert(t[key] == value)
    count = count + 1
  end
  assert(count == 19 and next({}) == nil and next({ 5 }) == 1 and select("#", next({}, nil)) == 1)
  assert(keys {} == "" and keys { 7, 8, 9 } == "1 2 3" and keys { 7, nil, 9 } == "1 3")
  for key in pairs(t) do -- clearing and changing are allowed
    t[key] = nil
    if t[10] then t[10] = "changed" end
  end
  assert(next(t) == nil)
  local visited = {}
  t = { 1, 2, 3, 4, 5, x = 1, y = 2, z = 3 }
  for key in pairs(t) do
    visited[#visited + 1] = key
    t[4], t.y, t[key] = nil, nil, true
  end
  assert(table.concat(visited, " ") == "1 2 3 5 x z")
  refuses("it has the key true", pairs, { [true] = 1 })
  refuses("a key is a table", pairs, { 1, 2, [{}] = 1 })
  refuses("a key is a function", next, { [print] = 1 })
  refuses("a key is a table", next, { [print] = 1, [true] = 2, [{}] = 3 })
  refuses("it has the key true", next, { 1 }, true)
  local many = {} -- more strings than a walk keeps by itself, some long, all of them cleared on the way
  for i = 1, 100 do many[("%03d"):format(i) .. ("x"):rep(i)] = i end
  local nth = 0
  for key, value in pairs(many) do
    nth, many[key] = nth + 1, nil
    assert(value == nth and #key == 3 + nth)
    local garbage = {}
    for i = 1, 100 do garbage[i] = key .. i end
    assert(#garbage == 100)
  end
  assert(nth == 100 and next(many) == nil)
  refuses("table expected", pairs, 5)
  local function once(_, i) return not i and 1 or nil end
  local proxy = setmetatable({}, { __pairs = function() return once end })
  assert(keys(setmetatable({}, { __index = t })) == "")
  for i in pairs(proxy) do assert(i == 1) end
end

-- # and the functions of table decide by content.
do
  local s = "#"
  assert(#"" == 0 and #"#" == 1 and #s == 1 and #[[#]] == 1 and #[==[]]#]==] == 3 and #'\'#\\' == 3)
  local t = { 1, 2, 3 }
  local u = { t = t, f = function() return t end }
  assert(#t == 3 and -#t == -3 and (#t) ^ 2 == 9 and 2 ^ #t == 8 and #u.t == 3 and #u["t"] == 3)
  assert(#u.f() == 3 and #t + #t == 6 and #t .. "" == "3" and t[#t] == 3 and ~#t == ~3 and #t // 2 == 1)
  assert(#{ 1, 2, #t } == 3 and (#t) == 3 and - -#t == 3 and #"a" .. #"bc" == "12") -- # here
  assert(2 ^ -#t == 0.125)
  assert(# --[[ # ]] t == 3 and #{ n = #t, #t } == 1 and #t < #"####" and #t * #t - #t / 1 == 6.0)
  assert(#setmetatable({}, { __len = function() return 42 end }) == 42 and #setmetatable({ 1 }, {}) == 1)
  assert(#setmetatable({}, { __len = function() return "many" end }) == "many")
  refuses("attempt to get length of a nil value", function() return #nil end)
  refuses("attempt to get length of a number value", function() local x = 5 return #x end)
  refuses("attempt to get length of a boolean value", function() return #(1 == 1) end)
  refuses("arithmetic on a table value", function() return #t ^ 2 end)
  refuses("attempt to", function() return "x" ^ {} end)
  assert("2" ^ "3" == 8.0 and "2" ^ 3 == 8.0 and 2 ^ "3" == 8.0 and getmetatable("") == false)
  local holes = {}
  for i = 12, 1, -1 do holes[i] = i end
  holes[3], holes[5], holes[6], holes[7], holes[8], holes[10] = nil, nil, nil, nil, nil, nil
  assert(#holes == 4 and rawlen(holes) == 4 and #{ nil, 2, 3 } == 0 and #{ nil, nil, 3 } == 0)
  table.insert(t, 4)
  table.insert(t, 1, 0)
  assert(table.concat(t, ",") == "0,1,2,3,4" and table.remove(t) == 4 and table.remove(t, 1) == 0 and #t == 3)
  assert(table.remove({}) == nil and select("#", table.unpack { 1, nil, 3 }) == 1)
  assert(table.concat({ 1, nil, 3 }) == "1" and #{ 1, 2, nil, 4 } == 4)
  assert(select("#", table.unpack({ 1, nil, 3 }, 1, 3)) == 3)
  assert(table.concat(table.move({ 1, 2, 3 }, 1, 3, 2), "") == "1123" and table.pack(1, nil, 3).n == 3)
  refuses("position out of bounds", table.insert, { 1 }, 5, 2)
  refuses("wrong number of arguments", table.insert, { 1 }, 1, 2, 3)
  refuses("table expected", table.insert, 5, 1)
  for i in ipairs { 1, 2, nil, 4 } do assert(i < 3) end
end

-- sort: stable, and nothing is lost to an error.
do
  local list = {}
  for i = 1, 1000 do list[i] = { key = draw(20), at = i } end
  table.sort(list, function(a, b) return a.key < b.key end)
  for i = 2, 1000 do
    local a, b = list[i - 1], list[i]
    assert(a.key < b.key or (a.key == b.key and a.at < b.at))
  end
  for _, n in ipairs { 0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100 } do
    local plain, sorted = {}, true
    for i = 1, n do plain[i] = draw(50) end
    table.sort(plain)
    for i = 2, n do sorted = sorted and plain[i - 1] <= plain[i] end
    assert(sorted and #plain == n)
  end
  local calls = 0
  table.sort(list, function(a, b) calls = calls + 1 return a.key < b.key end)
  assert(calls <= 1000)
  local mixed = { 3, "x", 1 }
  refuses("attempt to compare", table.sort, mixed)
  assert(mixed[1] == 3 and mixed[2] == "x" and mixed[3] == 1)
  table.sort(mixed, function() return true end) -- nonsense ends
  local words = { "b", "a", "B", "", "a\0", "\xe4", "z" }
  table.sort(words)
  assert(table.concat(words, "|") == "|B|a|a\0|b|z|\xe4")
end

-- No addresses.
do
  local a, b = {}, {}
  assert(tostring(b) == "table: 1" and tostring(a) == "table: 2" and tostring(b) == "table: 1")
  assert(tostring(print) == "function: 3" and ("%s %q"):format(a, 1) == "table: 2 1")
  assert(tostring(setmetatable({}, { __name = "point" })) == "point: 4")
  assert(tostring(setmetatable({}, { __tostring = function() return "shown" end })) == "shown")
  assert(("%5.2f%%%s|%-10s|"):format(1.5, coroutine.create(print), b) == " 1.50%thread: 5|table: 1  |")
  refuses("'%p' is not available", string.format, "%p", a)
  refuses("'%p' is not available", string.format, "%s %-20p", 1, a)
  refuses("bad argument #2", string.format, "%d", a)
  local ok, message = pcall(function() return a < b end)
  assert(not ok and not message:find "0x")
end

-- What depends on the collector, the clock, the process.
do
  refuses("__gc is not available in a machine", setmetatable, {}, { ["__" .. "gc"] = print })
  refuses("__mode is not available in a machine", setmetatable, {}, { ["__" .. "mode"] = "k" })
  refuses("__mode is not available in a machine", rawset, {}, "__" .. "mode", "k")
  refuses("protected metatable", setmetatable, setmetatable({}, { __metatable = 1 }), {})
  for _, name in ipairs { "os.time", "os.clock", "os.date", "os.getenv", "io.open", "io.write", "math.random",
    "math.randomseed", "string.dump", "coroutine.close", "debug.traceback" } do
    local library, field = name:match "(%a+)%.(%a+)"
    refuses(name .. ": not available in a machine: ", _G[library][field])
  end
  for _, name in ipairs { "collectgarbage", "require", "dofile", "loadfile", "warn" } do
    refuses(name .. ": not available in a machine: ", _G[name])
  end
  assert(package == nil)
end

-- load goes the same way.
do
  local holes = { 1, 2, nil, nil, 5 }
  assert(load("local t = ... return #t, '#', #'#'")(holes) == 2)
  local pieces = coroutine.wrap(function()
    for _, piece in ipairs { "return", " #", "..." } do coroutine.yield(piece) end
  end)
  assert(load(pieces)("abc") == 3)
  assert(load("return x", "chunk", "t", { x = 7 })() == 7 and load("return x", "chunk", "bt", {})() == nil)
  local f, message = load("x = = 1", "=name")
  assert(f == nil and message:find("name:1:", 1, true))
  f, message = load("local t = {}\n\nt.__" .. "mode = 'k'", "@file.lua")
  assert(f == nil and message == "file.lua:3: __mode is not available in a machine: what it does depends on "
    .. "the garbage collector")
  f, message = load("return '__" .. "gc'")
  assert(f == nil and message:find "__gc is not available")
  assert(load("return [[x__" .. "gc]], '__gcx', __gcc")() == "x__" .. "gc")
  f, message = load("\27Lua")
  assert(f == nil and message:find "bytecode is not available")
  refuses("mode 'b'", load, "return 1", "x", "b")
end
