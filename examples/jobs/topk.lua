-- topk.lua - the k longest words of every first letter: top-k by group with secondary sort.
--
-- The group is the letter; its values arrive ordered by the second key, so that reduce takes the
-- first k and never holds a group in memory.
--
-- Run it:
--   perilune mr examples/jobs/topk.lua examples/data/pg-*.txt -o /tmp/longest --arg k=3
local args = ...
local k = math.tointeger(tonumber(args.k or 3)) or error "--arg k must be a whole number"
local LONGEST = 9999

return {
  map = function(rec, out)
    for word in rec:words() do
      -- Longer words first, and words of one length in alphabetical order.
      local rank = ("%04d%s"):format(LONGEST - math.min(#word, LONGEST), word)
      out(word:sub(1, 1):lower(), rank, word)
    end
  end,
  reduce = function(letter, values, out)
    local found, last = {}, nil
    for word in values do
      if word ~= last then
        found[#found + 1], last = word, word
        if #found == k then
          break
        end
      end
    end
    out(letter, table.concat(found, ","))
  end,
}
