-- wordcount.lua - how often each word occurs (MapReduce 2.1).
--
-- A word is a run of letters. Counting needs no Lua per word: out:words emits all words of a line in
-- C, and "sum" adds in C on the map side, while merging and in reduce.
--
-- Run it:
--   perilune mr examples/jobs/wordcount.lua examples/data/pg-*.txt -o /tmp/words --top 10
return {
  map = function(rec, out)
    out:words(rec, 1)
  end,
  reduce = "sum",
}
