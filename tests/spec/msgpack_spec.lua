local msgpack = require "perilune.msgpack"

local function hex(bytes)
  return (bytes:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

describe("perilune.msgpack", function()
  it("writes the bytes of the specification", function()
    local cases = {
      { nil, "c0" }, { false, "c2" }, { true, "c3" },
      { 0, "00" }, { 127, "7f" }, { 128, "cc80" }, { 255, "ccff" }, { 256, "cd0100" },
      { 65536, "ce00010000" },
      { 1 << 32, "cf0000000100000000" }, { math.maxinteger, "cf7fffffffffffffff" },
      { -1, "ff" }, { -32, "e0" }, { -33, "d0df" }, { -128, "d080" }, { -129, "d1ff7f" },
      { -32769, "d2ffff7fff" },
      { -2147483649, "d3ffffffff7fffffff" },
      { math.mininteger, "d38000000000000000" },
      { -4294967296, "d3ffffffff00000000" }, { -4294967297, "d3fffffffeffffffff" },
      { 1.5, "ca3fc00000" }, { 1.1, "cb3ff199999999999a" }, { 1 / 0, "ca7f800000" },
      { "", "a0" }, { "é", "a2c3a9" }, { "\255", "c401ff" }, { ("x"):rep(32), "d920" .. ("78"):rep(32) },
      { {}, "90" }, { { 1, 2 }, "920102" }, { { a = 1 }, "81a16101" }, { { [1] = 1, [3] = 3 }, "8201010303" },
      { { b = 1, a = 2, [2] = 3, [-1.5] = 4, [true] = 5 }, "85c305cabfc00000040203a16102a16201" },
    }
    for _, case in ipairs(cases) do
      local bytes = assert(msgpack.encode(case[1]))
      assert.are.equal(case[2], hex(bytes))
      local value, next_position = msgpack.decode(bytes)
      assert.are.same(case[1], value)
      assert.are.equal(math.type(case[1]), math.type(value))
      assert.are.equal(#bytes + 1, next_position)
    end
  end)

  it("keeps not-a-number, minus zero and large strings", function()
    local value = msgpack.decode(assert(msgpack.encode { 0 / 0, -0.0, ("\0"):rep(70000), ("y"):rep(300) }))
    assert.is_true(value[1] ~= value[1])
    assert.are.equal(-math.huge, 1 / value[2])
    assert.are.equal(70000, #value[3])
    assert.are.equal(300, #value[4])
  end)

  it("reads several values from one string", function()
    local bytes = assert(msgpack.encode(1)) .. assert(msgpack.encode "two")
    local first, position = msgpack.decode(bytes)
    local second, behind = msgpack.decode(bytes, position)
    assert.are.same({ 1, "two", #bytes + 1 }, { first, second, behind })
    assert.are.equal("EFORMAT", select(3, msgpack.decode(bytes, behind)))
  end)

  it("names the place of what it cannot write", function()
    local cycle = {}
    cycle[2], cycle[1] = cycle, 1
    assert.are.same({ nil, "t.a[3] is a function", "EFORMAT" }, { msgpack.encode { a = { 1, 2, print } } })
    assert.are.same({ nil, "frame[2] is a cycle", "EFORMAT" }, { msgpack.encode(cycle, { name = "frame" }) })
    assert.are.same({ nil, "t.x has a key that is no data", "EFORMAT" },
      { msgpack.encode { x = { [print] = 1 } } })
    assert.are.equal("ETOOBIG", select(3, msgpack.encode(("x"):rep(100), { size_max = 101 })))
    assert.is_string(msgpack.encode(("x"):rep(100), { size_max = 102 }))
  end)

  it("refuses malformed bytes and believes no length", function()
    local cases = {
      "", "\xc1", "\x91", "\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff\x01", "\xdb\xff\xff\xff\xffx",
      "\xa5abc", "\xcb\0\0", "\xc7\x01\x05x", "\xd4\x01x", "\x81\xc0\x01", "\x81\x90\x01",
      "\x81\xca\x7f\xc0\x00\x00\x01",
      "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\x82\x01\x02\x03",
    }
    for _, bytes in ipairs(cases) do
      local value, err, code = msgpack.decode(bytes)
      assert.is_nil(value)
      assert.truthy(err:find("MessagePack", 1, true), hex(bytes))
      assert.are.equal("EFORMAT", code)
    end
    assert.are.equal("ETOOBIG", select(3, msgpack.decode(("\x91"):rep(101) .. "\x01")))
    assert.is_table(msgpack.decode(("\x91"):rep(100) .. "\x01"))
  end)

  describe("unpacker", function()
    it("finds values however the bytes are cut", function()
      local values = { 1, "text", { a = { 1, 2, { "deep" } }, b = ("x"):rep(1000) }, {}, false, -1.5 }
      local bytes = ""
      for _, value in ipairs(values) do
        bytes = bytes .. msgpack.encode(value)
      end
      for _, piece in ipairs { 1, 2, 7, #bytes } do
        local unpacker, seen = msgpack.unpacker(), {}
        for at = 1, #bytes, piece do
          assert(unpacker:feed(bytes:sub(at, at + piece - 1)))
          while true do
            local found, value = unpacker:next()
            if not found then
              break
            end
            seen[#seen + 1] = value
          end
        end
        assert.are.same(values, seen)
        assert.is_false(unpacker:next())
      end
    end)

    it("ends at the first malformed byte and at its limit", function()
      local unpacker = msgpack.unpacker()
      assert(unpacker:feed "\x01\xc1\x02")
      assert.are.same({ true, 1 }, { unpacker:next() })
      assert.are.equal("EFORMAT", select(3, unpacker:next()))
      assert.are.equal("EFORMAT", select(3, unpacker:next()))
      local small = msgpack.unpacker { size_max = 10 }
      assert(small:feed(msgpack.encode(("x"):rep(20))))
      assert.are.equal("ETOOBIG", select(3, small:next()))
    end)
  end)
end)
