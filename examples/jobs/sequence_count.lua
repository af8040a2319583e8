-- sequence_count.lua - for every three words in a row, how often they occur in the file that has them
-- most often, and which file that is: "the old man  31 pg-grimm.txt".
--
-- Two steps. The first counts triples for each file; a file is one record, because sequences cross
-- lines. The second picks the largest count of each triple.
--
-- Run it:
--   perilune mr examples/jobs/sequence_count.lua examples/data/pg-*.txt -o /tmp/triples
return {
  input = "files",
  pipeline = {
    {
      map = function(rec, out)
        local name = rec:file():match "[^/]+$"
        local first, second
        for word in rec:words() do
          if first then
            out(("%s %s %s\t%s"):format(first, second, word, name), 1)
          end
          first, second = second, word
        end
      end,
      reduce = "sum",
    },
    {
      map = function(key, count, out)
        local triple, name = key:match "^(.-)\t(.*)$"
        out(triple, ("%010d %s"):format(count, name))
      end,
      combine = "max",
      reduce = function(triple, values, out)
        local best = ""
        for value in values do
          best = value > best and value or best
        end
        local count, name = best:match "^0*(%d+) (.*)$"
        out(triple, count .. " " .. name)
      end,
    },
  },
}
