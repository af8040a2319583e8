-- Word count with the C tokenizer and a call of out for every word. --arg input=chunk makes a record
-- of the lines in 64 KiB.
local args = ...
return {
  input = args.input,
  map = function(rec, out)
    for word in rec:words() do
      out(word, 1)
    end
  end,
  reduce = "sum",
}
