-- Word count with the C tokenizer, a call of map and of out for every word.
return {
  map = function(rec, out)
    for word in rec:words() do
      out(word, 1)
    end
  end,
  reduce = "sum",
}
