-- sort.lua - sorts 100-byte records by their first ten bytes, as gensort makes and valsort checks them.
--
-- "range" takes samples of the keys and gives every reduce task a range of its own, so the parts one
-- after the other are the sorted file. The value left out of out:sub is the whole record, and "raw"
-- writes nothing but values.
--
-- Run it:
--   perilune run examples/tools/gensort.lua 20000 /tmp/records
--   perilune mr examples/jobs/sort.lua /tmp/records -o /tmp/sorted --reduces 3
--   perilune run examples/tools/valsort.lua /tmp/sorted
return {
  input = "fixed:100",
  output = "raw",
  partition = "range",
  map = function(rec, out)
    out:sub(rec, 1, 10)
  end,
  reduce = "identity",
}
