-- Sorts 100-byte records by their first ten bytes: the parts one after the other are the sorted file.
return {
  input = "fixed:100",
  output = "raw",
  partition = "range",
  map = function(rec, out)
    out:sub(rec, 1, 10)
  end,
  reduce = "identity",
}
