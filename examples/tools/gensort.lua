-- gensort.lua - writes records for the sort example, the same bytes as `gensort -a`.
--
-- Run it:
--   perilune run examples/tools/gensort.lua COUNT FILE
local records = require "records"

local count, path = math.tointeger(tonumber((...))), select(2, ...)
if not count or not path then
  io.stderr:write "usage: perilune run examples/tools/gensort.lua COUNT FILE\n"
  os.exit(2)
end
local file = assert(io.open(path, "wb"))
for record in records.generate(count) do
  assert(file:write(record))
end
assert(file:close())
