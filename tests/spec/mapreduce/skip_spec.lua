-- A skipped record leaves no trace but its line in the quarantine.
local fs = require "perilune.fs"
local jobs = require "support.jobs"
local new_folder = require "support.folder"

describe("a skipped record", function()
  local folder = new_folder(before_each, after_each)

  local function run(source, input, options)
    options = options or {}
    options.skip_records = options.skip_records or 2
    return jobs.run(folder, source, input, options)
  end

  local LUA_SUM = [[function(key, values, out)
    local n = 0 for v in values do n = n + v end out(key, n) end]]

  -- Emits in every way before the bad record raises.
  local MAP = [[map = function(rec, out)
    out(rec:str(), 1)
    out("n", 2.5)
    out:words(rec, 1)
    out:sub(rec, 1, 1, 1)
    out:count(rec:str())
    out:count("all", 3)
    out:to("extra", rec, true)
    out:to("extra_" .. rec:str(), rec, true)
    if rec:str() == "bad" then error "no" end
  end]]

  local cases = {
    { "a named reducer", 'reduce = "sum"' },
    { "a reduce function", "reduce = " .. LUA_SUM },
    { "a combine function", "combine = " .. LUA_SUM .. ", reduce = " .. LUA_SUM },
    { "a partition function", "partition = function(key, n) return #key % n + 1 end, reduce = 'sum'" },
    { "no reduce", "" },
    { "a next step", "", is_step = true },
  }
  for _, case in ipairs(cases) do
    it("never emitted anything, with " .. case[1], function()
      local step = ("{ %s, %s }"):format(MAP, case[2])
      local source = case.is_step and ("return { pipeline = { %s, { reduce = 'identity' } } }"):format(step)
        or "return " .. step
      local good = assert(run(source, "good\nfine\n"))
      local expected, files = jobs.output(folder:at "out"), fs.list(folder:at "out")
      local result = assert(run(source, "good\nbad\nfine\nbad\n", { force = true }))
      assert.equal(2, result.skipped_records)
      assert.same({ good = 1, fine = 1, all = 6 }, result.counters)
      assert.same(good.counters, result.counters)
      assert.equal(good.records_out, result.records_out)
      local names, quarantine = {}, nil
      for _, name in ipairs(assert(fs.list(folder:at "out"))) do
        if name:find "^quarantine" then
          quarantine = folder:read("out/" .. name)
          assert(fs.remove(folder:at("out/" .. name)))
        else
          names[#names + 1] = name
        end
      end
      assert.same(files, names)
      assert.equal(expected, jobs.output(folder:at "out"))
      assert.equal(2, select(2, quarantine:gsub("job.lua:%d+: no\tbad\n", "")))
    end)
  end

  it("is told what is wrong with a pair when it emits it", function()
    local source = [[return { output = "raw", map = function(rec, out)
      out("k", "1")
      if rec:str() == "bad" then out("k", 2) end
      if rec:str() == "caught" then pcall(out, "k", 2) pcall(out.to, out, "more", "k", 2) end
      out:to("more", "k", "m")
    end }]]
    assert.equal(1, assert(run(source, "bad\ncaught\na\n")).skipped_records)
    assert.equal("11", folder:read "out/part-00000")
    assert.equal("mm", folder:read "out/more-00000")
    assert.matches("raw output takes strings as values\tbad\n", folder:read "out/quarantine-00000", 1, true)
    source = [[return { reduce = "sum", map = function(rec, out)
      out("k", 1)
      if rec:str() == "bad" then out("k", "two") end
      if rec:str() == "long" then out(("k"):rep(1 << 20), 1) end
    end }]]
    local result = assert(run(source, "bad\na\nlong\n", { force = true, memory_bytes = 8 << 20 }))
    assert.equal(2, result.skipped_records)
    assert.equal("k 1\n", folder:read "out/part-00000")
  end)

  it("is held back within bounds", function()
    local source = [[return { reduce = "sum", map = function(rec, out)
      for i = 1, tonumber(rec:str()) do pcall(out, "a key with some bytes", 1) end end }]]
    assert(run(source, "1000\n", { memory_bytes = 8 << 20 }))
    assert.equal("a key with some bytes 1000\n", folder:read "out/part-00000")
    local _, err, code = run(source, "50000\n", { memory_bytes = 8 << 20, force = true })
    assert.matches("one record puts out more than 1024 KiB", err, 1, true)
    assert.equal("EMEMORY", code)
    assert(run(source, "50000\n", { memory_bytes = 8 << 20, force = true, skip_records = 0 }))
  end)

  it("is counted once, when keys are sampled as well", function()
    local here = assert(fs.list("."))
    local result = assert(run([[return { partition = "range", reduce = "sum", map = function(rec, out)
      out(rec:str(), 1)
      if rec:str() == "bad" then error "no" end
    end }]], "b\nbad\na\n", { reduces = 2, skip_records = 1 }))
    assert.equal(1, result.skipped_records)
    assert.equal("a 1\n", folder:read "out/part-00000")
    assert.equal("b 1\n", folder:read "out/part-00001")
    assert.same(here, fs.list("."))
  end)
end)
