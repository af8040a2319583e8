-- Word count with one call a record.
return {
  map = function(rec, out)
    out:words(rec, 1)
  end,
  reduce = "sum",
}
