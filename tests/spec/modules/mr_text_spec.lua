local text = require "perilune.mr_text"

-- Words of 1 to 45 letters that often share their first and last bytes, many of them more than once.
local function some_text(seed)
  math.randomseed(seed)
  local words = {}
  for i = 1, 20000 do
    local middle = math.random(0, 2) == 0 and ("m"):rep(math.random(0, 41)) or tostring(math.random(9999))
    middle = middle:gsub("%d", { ["0"] = "q", ["1"] = "w", ["2"] = "e" })
    words[i] = "ab" .. middle .. ("yz"):sub(math.random(2))
  end
  return table.concat(words, " ")
end

local function list(iterator)
  local words = {}
  for word in iterator do
    words[#words + 1] = word
  end
  return words
end

describe("words of a string", function()
  it("are those of gmatch, however often they come again", function()
    for seed = 1, 5 do
      local subject = some_text(seed)
      local words = list(text.words(subject))
      assert.is_true(#words > 20000)
      assert.equal(table.concat(list(subject:gmatch "%a+"), " "), table.concat(words, " "))
    end
  end)
end)

describe("what is not there", function()
  it("is nil, and not left out of the list of arguments", function()
    assert.same({ nil, n = 1 }, table.pack(text.field("a b", 9)))
    assert.same({ nil, n = 1 }, table.pack(text.num "a"))
    assert.same({ nil, n = 1 }, table.pack(text.num("1 2", 9)))
    assert.same({ nil, n = 1 }, table.pack(text.find("a b", "c")))
    assert.same({ nil, n = 1 }, table.pack(text.find("a b", "a", 9)))
  end)
end)

describe("lines of a string", function()
  it("are all of them, or those that contain a text", function()
    local subject = "one\ntwo two\r\n\nthree"
    assert.same({ "one", "two two", "", "three" }, list(text.lines(subject)))
    assert.same({ "one", "two two" }, list(text.lines(subject, "o")))
    assert.same({}, list(text.lines(subject, "four")))
  end)
end)
