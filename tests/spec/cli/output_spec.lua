local output = require "perilune.cli.output"
local units = require "perilune.units"
local suggest = require "perilune.suggest"

describe("sizes", function()
  for text, size in pairs {
    ["64MiB"] = 64 << 20, ["64M"] = 64 << 20, ["64mb"] = 64 << 20, ["1k"] = 1024, ["100B"] = 100,
    ["1.5G"] = 3 << 29, ["0"] = 0, [" 2 KiB "] = 2048,
  } do
    it("reads " .. text, function()
      assert.equal(size, units.parse_size(text))
    end)
  end

  for _, text in ipairs { "64", "", "M", "-1M", "64X", "1e3K", "9999999T", "64 M iB" } do
    it("refuses '" .. text .. "'", function()
      local size, why = units.parse_size(text)
      assert.is_nil(size)
      assert.matches(text, why, 1, true)
    end)
  end

  it("reads bare bytes only where that is said", function()
    assert.equal(64, units.parse_size("64", true))
  end)
end)

describe("durations", function()
  for text, seconds in pairs {
    ["500ms"] = 0.5, ["2.5s"] = 2.5, ["5min"] = 300, ["2m"] = 120, ["1h"] = 3600, ["250us"] = 0.00025,
    ["0"] = 0,
  } do
    it("reads " .. text, function()
      assert.near(seconds, units.parse_duration(text), 1e-12)
    end)
  end

  for _, text in ipairs { "5", "", "s", "-1s", "5 days", "5S" } do
    it("refuses '" .. text .. "'", function()
      local seconds, why = units.parse_duration(text)
      assert.is_nil(seconds)
      assert.matches(text, why, 1, true)
    end)
  end
end)

describe("what a person reads", function()
  it("has sizes with units", function()
    assert.same({ "0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB" }, {
      units.format_size(0), units.format_size(1023), units.format_size(1024),
      units.format_size((1 << 20) - 1), units.format_size(3 << 29),
    })
  end)

  it("has durations with units", function()
    assert.same({ "250 us", "12 ms", "1.0 s", "3.4 s", "1 min 0 s", "2 min 5 s" }, {
      units.format_duration(0.00025), units.format_duration(0.012), units.format_duration(0.9999),
      units.format_duration(3.41), units.format_duration(59.99), units.format_duration(125),
    })
  end)

  it("has separators between thousands", function()
    assert.same({ "0", "999", "1,000", "21,845", "-1,234,567" }, {
      units.format_count(0), units.format_count(999), units.format_count(1000),
      units.format_count(21845), units.format_count(-1234567),
    })
  end)

  it("has columns that line up, numbers to the right", function()
    assert.equal("word  count\nthé       1\na      1200",
      output.table({ { "word", "count" }, { "thé", 1 }, { "a", 1200 } }, { [2] = true }))
  end)

  it("has a progress bar as wide as the terminal allows", function()
    assert.equal("map [#####.....]  50 %  3/6", output.progress_line("map", 0.5, "3/6", 28))
    assert.equal(79, #output.progress_line(("x"):rep(100), 2, "", 80))
    assert.matches("%[#+%] 100 %%", output.progress_line("map", 7, "", 60))
  end)
end)

describe("help", function()
  it("fills prose and leaves what is to be copied", function()
    local examples = "\n\nExamples:\n  perilune mr a-very-long-command-line -o x\n  b\n"
    assert.equal("one two three\nfour five" .. examples .. "six seven",
      output.fill("one two\nthree four five" .. examples .. "six\nseven", 13))
    assert.equal("", output.fill("", 10))
    assert.equal("unbreakable x", output.fill("unbreakable x", 5):gsub("\n", " "))
  end)
end)

describe("suggestions", function()
  local verbs = { "run", "mr", "test", "version", "help", "completion" }
  for word, meant in pairs {
    rnu = "run", tset = "test", tets = "test", compl = "completion", Help = "help", hepl = "help",
  } do
    it(("takes %s for %s"):format(word, meant), function()
      assert.equal(meant, suggest.nearest(word, verbs))
    end)
  end

  it("says nothing when nothing is near", function()
    assert.is_nil(suggest.nearest("frobnicate", verbs))
    assert.is_nil(suggest.nearest("x", {}))
  end)

  it("counts edits, swaps as one", function()
    assert.equal(0, suggest.distance("abc", "abc"))
    assert.equal(1, suggest.distance("abc", "acb"))
    assert.equal(3, suggest.distance("", "abc"))
    assert.equal(3, suggest.distance("kitten", "sitting"))
  end)
end)
