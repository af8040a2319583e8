-- grep.lua - the lines that contain a text, or match a Lua pattern.
--
-- There is no reduce: what map emits is written as it comes. A key without a value is a line of its own.
--
-- Run it:
--   perilune mr examples/jobs/grep.lua examples/data/pg-*.txt -o /tmp/holmes --arg text=Holmes
--   perilune mr examples/jobs/grep.lua examples/data/pg-*.txt -o /tmp/years --arg pattern='%f[%d]18%d%d'
local args = ...
local text, pattern = args.text, args.pattern
assert(text or pattern, "give --arg text=WORD or --arg pattern=LUA_PATTERN")

return {
  map = function(rec, out)
    local found
    if text then
      found = rec:find(text) -- in C, without making a Lua string of the line
    else
      found = rec:str():find(pattern)
    end
    if found then
      out:count "matching lines"
      out(rec)
    end
  end,
}
