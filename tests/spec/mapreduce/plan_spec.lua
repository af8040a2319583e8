-- Decisions made before a run: memory, partitions, boundary keys, names of files.
local plan = require "perilune.mapreduce.plan"

describe("a plan", function()
  it("divides memory and refuses too little of it", function()
    local shares = assert(plan.memory(64 << 20))
    assert.is_true(shares.lua_bytes + shares.emit_bytes < shares.total)
    local none, err, code = plan.memory(1024)
    assert.is_nil(none)
    assert.equal("memory 1.0 KiB is too little for a worker, the least is 8.0 MiB", err)
    assert.equal("EINVAL", code)
  end)

  it("makes as many parts as asked for, or as the input is worth", function()
    assert.equal(7, plan.reduces(7, 2, 1))
    assert.equal(1, plan.reduces(nil, 2, 3000000))
    assert.equal(4, plan.reduces(nil, 2, 1 << 30))
    assert.equal(1, plan.reduces(nil, 2, 0))
  end)

  it("gives a map task no more than its memory holds", function()
    local shares = assert(plan.memory(64 << 20))
    for _, total in ipairs { 0, 1 << 30, 1 << 40 } do
      assert.is_true(plan.kept_split_max(shares.emit_bytes, total) < shares.emit_bytes / 2)
    end
  end)

  it("keeps map tasks small while one merge can take them all", function()
    local emit_bytes = assert(plan.memory(1 << 30)).emit_bytes
    assert.equal(20 << 20, plan.kept_split_max(emit_bytes, 1 << 30))
    local total = 6 << 30
    local split = plan.kept_split_max(emit_bytes, total)
    assert.is_true(split > 20 << 20 and total / split < 64)
  end)

  it("cuts sampled keys into equal parts, none empty by design", function()
    local keys = {}
    for i = 1, 1000 do
      keys[i] = ("%04d"):format((i * 7919) % 1000)
    end
    assert.same({ "0250", "0500", "0750" }, plan.bounds(keys, 4))
    assert.same({ "b" }, plan.bounds({ "a", "b", "b", "b" }, 4))
    assert.same({}, plan.bounds({}, 4))
    assert.same({}, plan.bounds({ "a", "a" }, 2))
  end)

  it("unpacks sampled keys", function()
    local keys = { "first" }
    plan.unpack_keys(("<s4s4"):pack("a\0b", ""), keys)
    assert.same({ "first", "a\0b", "" }, keys)
  end)

  it("spreads a sample over the ranges of the map tasks", function()
    local windows, keys = plan.sample_of { { input = "a", offset = 0, length = 64 << 20 }, { input = "b" } }
    assert.is_true(#windows > 2 and #windows <= 32)
    assert.is_true(keys > 0)
    assert.same({ "a", 0, 32768 }, { windows[1].input, windows[1].offset, windows[1].length })
    assert.equal("b", windows[#windows].input)
    assert.same({}, (plan.sample_of {}))
  end)

  it("gives every attempt files of its own", function()
    local stage = { number = 2, reduces = 3 }
    local names = {}
    for _, kind in ipairs { "map", "reduce" } do
      for number = 1, 2 do
        for attempt = 1, 2 do
          for name, path in pairs(plan.paths("/d", stage, kind, number, attempt)) do
            local key = name .. ":" .. path
            assert.is_nil(names[key], key)
            names[key] = true
          end
        end
      end
    end
  end)

  it("gives a reduce task the spills that hold something for it, kept ones first", function()
    local function result(spill, records)
      return { spill = spill, sums = ("<i8i8i8i8i8i8"):pack(records[1], 0, 0, records[2], 0, 0) }
    end
    local stage = { number = 3, reduces = 2, partitions = 2, is_last = true,
      joined = { result("kept", { 0, 5 }) },
      step = { path = {}, reduce = { lua = true }, compare = "ascending" } }
    local maps = { result("m1", { 1, 0 }), result("m2", { 2, 3 }) }
    local common = { directory = "/d", spec = { job = "j.lua" } }
    local first = plan.spec(common, stage, { kind = "reduce", number = 1 }, 1, maps)
    local second = plan.spec(common, stage, { kind = "reduce", number = 2 }, 4, maps)
    assert.same({ "m1", "m2" }, first.inputs)
    assert.same({ 1, 2 }, first.origins)
    assert.same({ "kept", "m2" }, second.inputs)
    assert.same({ 0, 2 }, second.origins)
    assert.equal(48, #second.sums)
    assert.equal("/d/out/part-00001.4", second.part)
  end)
end)
