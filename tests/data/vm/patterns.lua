-- luacheck: read globals stock
-- Random patterns give what the stock functions give: results, errors and captures.
local support, seed, rounds = ...
math.randomseed(seed)
local random = math.random

local items = {
  "a", "b", ".", "%a", "%d", "%s", "%w", "[ab]", "[^a]", "[a-c]", "[%d_]", "[%a-]", "[]a]", "[^]]",
  "%%", "%.", "$", "^", "%b()", "%f[%a]", "%f[^a]", "%1", "%2", "(", ")", "()", "%", "[", "[a", "%f",
  "%b", "%bx", "-", "\0", "[%z]", "%x", "%U", "%P", "[%s]", "x", "%z", "%g", "[a-]", "[-a]", "%C",
}
local COMMON = 22 -- items that stand in most patterns; the others are mostly errors
local pieces = {
  "a", "b", "c", "(", ")", " ", "1", "_", "x", "A", ".", "]", "-", "\0", "%", "\n", "\200", "ab",
  "aab", "12",
}
local repetitions = { "", "", "", "", "*", "+", "-", "?" }

local function make_pattern()
  local parts = {}
  for i = 1, random(0, 7) do
    local item = items[random(random(4) == 1 and #items or COMMON)]
    parts[i] = item .. repetitions[random(#repetitions)]
  end
  local text = table.concat(parts)
  text = random(4) == 1 and "(" .. text .. ")" or text
  text = random(5) == 1 and "^" .. text or text
  return random(6) == 1 and text .. "$" or text
end

local function make_subject()
  local parts = {}
  for i = 1, random(0, 12) do
    parts[i] = pieces[random(#pieces)]
  end
  return table.concat(parts)
end

local function gmatch_all(gmatch)
  return function(subject, pattern, init)
    local found = {}
    local next_match = gmatch(subject, pattern, init)
    for _ = 1, 20 do
      local captures = table.pack(next_match())
      if captures.n == 0 then
        break
      end
      for i = 1, captures.n do
        found[#found + 1] = tostring(captures[i])
      end
      found[#found + 1] = ";"
    end
    return table.concat(found, ",")
  end
end

local replacements = {
  "x", "<%0>", "%1", "%2", "%%", "%9", "a%", "", "%1%1", 12, true, { a = "A", ab = 1 },
  { a = false, b = {} },
  setmetatable({}, { __index = function(_, key) return key .. "!" end }),
  function(a) return a end,
  function() return false end,
  function() return {} end,
  function(_, b) return b or 7 end,
  function(a)
    support.pause()
    return a .. a
  end,
}

local matched, failed = 0, 0
for _ = 1, rounds do
  local subject, pattern = make_subject(), make_pattern()
  local init = random(3) == 1 and random(-14, 14) or nil
  local limit = random(3) == 1 and random(-1, 4) or nil
  local replacement = replacements[random(#replacements)]
  local function same(name, old, new, ...)
    local want, got = support.outcomes(old, new, subject, pattern, ...)
    if want ~= got then
      local call = ("%s(%q, %q) with seed %d"):format(name, subject, pattern, seed)
      error(("%s: stock gives %s, ours %s"):format(call, want, got))
    end
    matched = matched + (stock.find(want, "^true,[^n]") and 1 or 0)
    failed = failed + (stock.find(want, "^false") and 1 or 0)
  end
  same("find", stock.find, string.find, init)
  same("find plain", stock.find, string.find, init, true)
  same("match", stock.match, string.match, init)
  same("gmatch", gmatch_all(stock.gmatch), gmatch_all(string.gmatch), init)
  same("gsub", stock.gsub, string.gsub, replacement, limit)
end
assert(matched > rounds and failed > rounds / 10, "the cases prove nothing")
