-- Word count with one call a record. --arg input=chunk makes a record of
-- the lines in 64 KiB.
local args = ...
return {
  input = args.input,
  map = function(rec, out)
    out:words(rec, 1)
  end,
  reduce = "sum",
}
