-- valsort.lua - checks sorted records as valsort does: ascending keys, count and checksum.
--
-- The checksum is the sum of the records' CRC-32, which does not depend on their order, so it equals
-- that of the unsorted file when no record was lost, doubled or damaged. A folder stands for the
-- parts in it, one after the other. Exit code 1 when a record is out of order.
--
-- Run it:
--   perilune run examples/tools/valsort.lua FILE_OR_FOLDER...
local fs = require "perilune.fs"
local records = require "records"

local files = {}
for _, path in ipairs { ... } do
  local names = fs.stat(path).type == "directory" and fs.list(path)
  if names then
    table.sort(names)
    for _, name in ipairs(names) do
      files[#files + 1] = name:match "^part%-" and path .. "/" .. name or nil
    end
  else
    files[#files + 1] = path
  end
end

local count, sum, duplicates, unordered, last = 0, 0, 0, 0, nil
for _, path in ipairs(files) do
  local file = assert(io.open(path, "rb"))
  for record in function() return file:read(records.size_bytes) end do
    local key = record:sub(1, 10)
    unordered = unordered + (last and key < last and 1 or 0)
    duplicates = duplicates + (key == last and 1 or 0)
    count, sum, last = count + 1, sum + records.crc32(record), key
  end
  file:close()
end
print(("Records: %d\nChecksum: %x\nDuplicate keys: %d"):format(count, sum, duplicates))
print(unordered == 0 and "SUCCESS - all records are in order" or ("%d unordered records"):format(unordered))
os.exit(unordered == 0)
