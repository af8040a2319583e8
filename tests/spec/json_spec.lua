local json = require "perilune.json"

describe("perilune.json", function()
  it("writes keys in order and keeps integers and floats apart", function()
    assert.are.equal('{"a":1,"b":[1,2.0,"x"],"c":{"d":true}}',
      json.encode { c = { d = true }, b = { 1, 2.0, "x" }, a = 1 })
    assert.are.equal("[-9223372036854775808,9223372036854775807,0.1,1e+300]",
      json.encode { math.mininteger, math.maxinteger, 0.1, 1e300 })
  end)

  it("writes pretty text", function()
    assert.are.equal('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}',
      json.encode({ a = { 1, {} }, b = json.array() }, { pretty = true }))
  end)

  it("escapes what must be escaped", function()
    assert.are.equal([["\"\\\b\f\n\r\t\u0001\u000b/é"]], json.encode '"\\\b\f\n\r\t\1\v/é')
  end)

  it("gives back what it wrote", function()
    local text = '{"":"","a":[],"b":{},"c":[null,true,false],"d":9007199254740993,"e":1.5,"f":[[[]]]}'
    assert.are.equal(text, json.encode(json.decode(text)))
    local value = json.decode '["\\u0000\\ud83d\\ude00"]'
    assert.are.equal("\0😀", value[1])
    for _, number in ipairs { 0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.125 } do
      local back = json.decode(json.encode(number))
      assert.are.equal(("%a"):format(number), ("%a"):format(back))
    end
  end)

  it("knows null and arrays", function()
    assert.are.equal(json.null, json.decode "null")
    assert.are.equal('{"a":null}', json.encode { a = json.null })
    assert.are.equal("null", json.encode(nil))
    assert.are.equal("{}", json.encode {})
    assert.are.equal("[]", json.encode(json.array {}))
  end)

  it("names the place of what it cannot write", function()
    local function why(value, options)
      local text, err, code = json.encode(value, options)
      assert.is_nil(text)
      assert.are.equal("EFORMAT", code)
      return err
    end
    assert.are.equal("t.a[3] is a function", why { a = { 1, 2, print } })
    assert.are.equal('job["two words"] is a thread',
      why({ ["two words"] = coroutine.create(print) }, { name = "job" }))
    assert.are.equal("t is a userdata", why(io.stdout))
    assert.are.equal("t.x is not valid UTF-8, so no JSON text", why { x = "\255" })
    assert.are.equal("t.x is infinite or NaN, so no JSON number", why { x = 1 / 0 })
    assert.are.equal("t[1] has a key that is not a string, in a table that is not an array",
      why { [1] = 1, [3] = 3 })
    local cycle = { a = {} }
    cycle.a.b = cycle
    assert.are.equal("t.a.b is a cycle", why(cycle))
    assert.are.equal("t is marked as an array but has other keys than 1..n", why(json.array { x = 1 }))
  end)

  it("writes what is no JSON when asked to, with losses", function()
    local value = { { "a\xffé\xc3\xe2\n", 0 / 0, -1 / 0 }, [2.5] = 1, [true] = "\x80" }
    assert.are.equal('{"true":"\u{fffd}","1":["a\u{fffd}é\u{fffd}\u{fffd}\\n",null,null],"2.5":1}',
      json.encode(value, { lossy = true }))
    assert.is_nil((json.encode({ function() end }, { lossy = true })))
  end)

  it("allows what occurs twice without a cycle", function()
    local shared = { 1 }
    assert.are.equal("[[1],[1]]", json.encode { shared, shared })
  end)

  it("limits nesting on both sides", function()
    local deep = json.array()
    for _ = 1, 99 do
      deep = { deep }
    end
    local text = assert(json.encode(deep))
    assert.are.equal(("["):rep(100) .. ("]"):rep(100), text)
    assert.is_table(json.decode(text))
    assert.are.equal("ETOOBIG", select(3, json.encode { deep }))
    assert.are.equal("ETOOBIG", select(3, json.decode("[" .. text .. "]")))
    assert.are.equal("ETOOBIG", select(3, json.decode(("["):rep(100000))))
  end)

  it("refuses what is not JSON, with the place", function()
    local _, err, code = json.decode '{"a": 1,\n "b": }'
    assert.are.equal("EFORMAT", code)
    assert.truthy(err:find("line 2 column", 1, true))
    for _, text in ipairs { "", "[1,]", "{'a':1}", "nan", "01", "[1] x", '"\255"', '{"a":1,"a":2}',
      "9223372036854775808", '"\n"', "1e999", "\0" } do
      local value, why = json.decode(text)
      assert.is_nil(value)
      assert.is_string(why)
    end
  end)
end)
