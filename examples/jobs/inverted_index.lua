-- inverted_index.lua - which files each word occurs in (MapReduce 2.3): "word  n file1,file2".
--
-- combine drops what a map task would say twice, so that little is left to sort and merge.
--
-- Run it:
--   perilune mr examples/jobs/inverted_index.lua examples/data/pg-*.txt -o /tmp/index
local function distinct(values)
  local seen, names = {}, {}
  for name in values do
    if not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

return {
  map = function(rec, out)
    local name = rec:file():match "[^/]+$"
    for word in rec:words() do
      out(word, name)
    end
  end,
  combine = function(word, values, out)
    for _, name in ipairs(distinct(values)) do
      out(word, name)
    end
  end,
  reduce = function(word, values, out)
    local names = distinct(values)
    out(word, ("%d %s"):format(#names, table.concat(names, ",")))
  end,
}
