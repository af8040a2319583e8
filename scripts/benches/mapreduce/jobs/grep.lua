-- Counts the lines that contain a text, as grep -c does. --arg input=chunk makes a record of the lines
-- in 64 KiB.
local args = ...

local function by_line(rec, out)
  if rec:find(args.text) then
    out(args.text, 1)
  end
end

local function by_chunk(rec, out)
  for _ in rec:lines(args.text) do
    out(args.text, 1)
  end
end

return {
  input = args.input,
  map = args.input == "chunk" and by_chunk or by_line,
  reduce = "sum",
}
