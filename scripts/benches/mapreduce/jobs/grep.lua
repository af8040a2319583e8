-- Counts the lines that contain a text, as grep -c does.
local args = ...
return {
  map = function(rec, out)
    if rec:find(args.text) then
      out(args.text, 1)
    end
  end,
  reduce = "sum",
}
