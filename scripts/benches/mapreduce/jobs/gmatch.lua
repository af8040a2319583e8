-- Word count with nothing but plain Lua in map.
return {
  map = function(rec, out)
    for word in rec:str():gmatch "%a+" do
      out(word, 1)
    end
  end,
  reduce = "sum",
}
