-- A spill file that is no longer what its map task wrote: every section of it, whichever byte. The
-- reduce task that reads it says so, the map task runs again, and the output is the right one.
local fs = require "perilune.fs"
local inline = require "perilune.mapreduce.inline"
local mr = require "perilune.mapreduce"

local HEADER, ENTRY, TRAILER = 32, 40, 48 -- bytes, as runtime/mapreduce/spill.h and block.h draw them
local COUNTS = "a 50\nb 50\nc 50\nd 50\ne 50"

-- Where the sections of a spill file begin: offsets from 0.
local function layout(bytes)
  local trailer = #bytes - TRAILER
  local footer = ("<I8"):unpack(bytes, trailer + 17)
  local blocks, at = {}, 8
  while at < footer do
    local stored = ("<I4"):unpack(bytes, at + 21)
    blocks[#blocks + 1] = { at = at, stored = stored }
    at = at + HEADER + stored
  end
  assert(at == footer and #blocks == 2, "a block for each of two partitions")
  return { trailer = trailer, footer = footer, blocks = blocks }
end

-- Section -> field -> its offset in the section and its size. Every byte of a spill file is in one.
local FIELDS = {
  header = { magic = { 0, 4 }, codec = { 4, 1 }, zeros = { 5, 3 }, part = { 8, 4 }, records = { 12, 4 },
    raw = { 16, 4 }, stored = { 20, 4 }, checksum = { 24, 8 } },
  index = { offset = { 0, 8 }, length = { 8, 8 }, records = { 16, 8 }, sum = { 24, 16 } },
  trailer = { block_max = { 0, 4 }, key_max = { 4, 4 }, partitions = { 8, 4 }, lz4 = { 12, 4 },
    footer = { 16, 8 }, length = { 24, 8 }, checksum = { 32, 8 }, magic = { 40, 8 } },
}

-- Name -> first byte and size of every field in the file.
local function fields_of(bytes)
  local file, all = layout(bytes), { ["magic of the file"] = { 0, 8 } }
  local function add(section, at, number)
    for name, place in pairs(FIELDS[section]) do
      all[("%s of %s %d"):format(name, section, number)] = { at + place[1], place[2] }
    end
  end
  for number, block in ipairs(file.blocks) do
    add("header", block.at, number)
    all[("records of block %d"):format(number)] = { block.at + HEADER, block.stored }
    add("index", file.footer + (number - 1) * ENTRY, number)
  end
  add("trailer", file.trailer, 1)
  return all
end

local function flip(bytes, offset)
  local changed = string.char(bytes:byte(offset + 1) ~ 1 << offset % 8)
  return bytes:sub(1, offset) .. changed .. bytes:sub(offset + 2)
end

describe("a spill that is not what its map task wrote", function()
  local folder, spill

  -- Counts the words; damage(bytes, spec) gives the new bytes of the first spill before it is read.
  local function run(damage)
    local executor = inline.start()
    local assign, is_done = executor.assign, false
    function executor.assign(self, worker, spec)
      if spec.kind == "reduce" and not is_done then
        is_done = true
        assert(fs.write(spec.inputs[1], damage(assert(fs.read(spec.inputs[1])), spec)))
      end
      assign(self, worker, spec)
    end
    local result = assert(mr.run { job = folder .. "/job.lua", inputs = { folder .. "/input" }, force = true,
      out = folder .. "/out", workers = 1, reduces = 2, split_bytes = 300, executor = executor })
    local lines = {}
    for part = 0, 1 do
      for line in assert(fs.read(("%s/out/part-%05d"):format(folder, part))):gmatch "[^\n]+" do
        lines[#lines + 1] = line
      end
    end
    table.sort(lines)
    assert.equal(COUNTS, table.concat(lines, "\n"))
    return result.maps_redone
  end

  setup(function()
    folder = assert(fs.tempdir())
    assert(fs.write(folder .. "/input", ("a b c d e\n"):rep(25) .. ("e d c b a\n"):rep(25)))
    assert(fs.write(folder .. "/job.lua",
      [[return { map = function(rec, out) out:words(rec, 1) end, reduce = "sum" }]]))
    assert.equal(0, run(function(bytes)
      spill = bytes
      return bytes
    end))
  end)

  teardown(function()
    fs.remove(folder, { recursive = true })
  end)

  for _, section in ipairs { "file", "header", "block", "index", "trailer" } do
    it("is found by whichever field differs: " .. section, function()
      local tried = 0
      for name, place in pairs(fields_of(spill)) do
        if name:find(" " .. section, 1, true) then
          tried = tried + 1
          local offset = place[1] + place[2] // 2
          assert.equal(1, run(function(bytes)
            return flip(bytes, offset)
          end), ("%s, byte %d"):format(name, offset))
        end
      end
      assert.is_true(tried > 0)
    end)
  end

  it("has every byte in one of those fields", function()
    local covered = 0
    for _, place in pairs(fields_of(spill)) do
      covered = covered + place[2]
    end
    assert.equal(#spill, covered)
  end)

  it("is found at bytes everywhere", function()
    for offset = 0, #spill - 1, 11 do
      assert.equal(1, run(function(bytes)
        return flip(bytes, offset)
      end), "byte " .. offset)
    end
  end)

  it("is found when it ends early, or late", function()
    for _, kept in ipairs { 0, 1, 8, #spill // 2, #spill - TRAILER, #spill - 1 } do
      assert.equal(1, run(function(bytes)
        return bytes:sub(1, kept)
      end), "cut to " .. kept)
    end
    assert.equal(1, run(function(bytes)
      return bytes .. "\0"
    end))
  end)

  -- Whole and intact, so that only what the map tasks have reported tells: count and sum of the edge.
  it("is found when it is another map task's", function()
    assert.equal(1, run(function(bytes, spec)
      assert(fs.write(folder .. "/other", ("a b c d f\n"):rep(20)))
      local other
      local executor = inline.start()
      local assign = executor.assign
      function executor.assign(self, worker, inner)
        if inner.kind == "reduce" then
          other = other or assert(fs.read(inner.inputs[1]))
        end
        assign(self, worker, inner)
      end
      assert(mr.run { job = folder .. "/job.lua", inputs = { folder .. "/other" }, out = folder .. "/second",
        workers = 1, reduces = 2, split_bytes = 300, force = true, executor = executor })
      assert.not_equal(bytes, other, spec.inputs[1])
      return other
    end))
  end)
end)
