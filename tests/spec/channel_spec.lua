local perilune = require "perilune"

describe("a channel", function()
  it("hands values over in order, nil among them", function()
    local channel = perilune.channel()
    local sender = perilune.spawn(function()
      channel:send(1)
      channel:send(nil)
      channel:send("three")
      channel:close()
    end)
    assert.equal(1, channel:recv())
    assert.same({ n = 1 }, table.pack(channel:recv()))
    assert.equal("three", channel:recv())
    assert.same({ nil, "the channel is closed", "ECLOSED" }, { channel:recv() })
    assert.is_true(sender:join())
  end)

  it("holds as many values as its capacity", function()
    local channel = perilune.channel(2)
    assert.is_true(channel:try_send "a")
    assert.is_true(channel:try_send "b")
    assert.equal("EBUSY", select(3, channel:try_send "c"))
    assert.equal(2, channel:len())
    local waiting = perilune.spawn(function() return channel:send "c" end)
    perilune.yield()
    assert.equal("waiting", waiting:status())
    assert.equal("a", channel:recv())
    assert.equal("b", channel:recv())
    assert.equal("c", channel:try_recv())
    assert.equal("EBUSY", select(3, channel:try_recv()))
    assert.same({ true, true }, { waiting:join() })
  end)

  it("ends iteration when it is closed, after what it holds", function()
    local channel = perilune.channel(10)
    for i = 1, 5 do
      channel:send(i)
    end
    channel:close()
    local sum = 0
    for value in channel:values() do
      sum = sum + value
    end
    assert.equal(15, sum)
    assert.equal("ECLOSED", select(3, channel:send(1)))
  end)

  it("tells those who wait when it is closed", function()
    local channel, full = perilune.channel(), perilune.channel()
    local receiver = perilune.spawn(function() return channel:recv() end)
    local sender = perilune.spawn(function() return full:send(1) end)
    perilune.yield()
    channel:close()
    full:close()
    assert.equal("ECLOSED", select(4, receiver:join()))
    assert.equal("ECLOSED", select(4, sender:join()))
  end)

  it("loses and doubles nothing among many producers and consumers", function()
    for _, capacity in ipairs { 0, 1, 7 } do
      local channel = perilune.channel(capacity)
      local producers, consumers, seen = {}, {}, {}
      for p = 1, 20 do
        producers[p] = perilune.spawn(function()
          for i = 1, 200 do
            channel:send(p * 1000 + i)
            if i % 50 == 0 then
              perilune.yield()
            end
          end
        end)
      end
      for c = 1, 13 do
        consumers[c] = perilune.spawn(function()
          local last = {}
          for value in channel:values() do
            local producer, number = value // 1000, value % 1000
            assert(number > (last[producer] or 0), "out of order")
            last[producer] = number
            seen[value] = (seen[value] or 0) + 1
          end
        end)
      end
      assert.is_true(perilune.join(table.unpack(producers)))
      channel:close()
      assert.is_true(perilune.join(table.unpack(consumers)))
      for p = 1, 20 do
        for i = 1, 200 do
          assert.equal(1, seen[p * 1000 + i])
        end
      end
    end
  end)

  it("forgets a fiber that was cancelled in line", function()
    local channel = perilune.channel()
    local gone = perilune.spawn(function() channel:send "lost" end)
    local also_gone = perilune.spawn(function()
      coroutine.wrap(function() channel:send "lost too" end)()
    end)
    local kept = perilune.spawn(function() channel:send "kept" end)
    perilune.yield()
    gone:cancel()
    also_gone:cancel()
    assert.equal("kept", channel:recv())
    assert.equal("ECANCELLED", select(3, gone:join()))
    assert.is_true(kept:join())
  end)
end)

describe("select", function()
  it("takes the case that is ready", function()
    local a, b = perilune.channel(1), perilune.channel(1)
    b:send "from b"
    assert.same({ 2, "from b" }, { perilune.select { { a, "recv" }, { b, "recv" } } })
    assert.same({ 1, true }, { perilune.select { { a, "send", 5 }, { b, "recv" } } })
    assert.equal(5, a:recv())
  end)

  it("waits for the first that becomes ready and leaves the others alone", function()
    local a, b = perilune.channel(), perilune.channel()
    perilune.timer(0.005, function() b:send(7) end)
    assert.same({ 2, 7 }, { perilune.select { { a, "recv" }, { b, "recv" } } })
    assert.equal("EBUSY", select(3, a:try_send "nobody waits any more"))
    perilune.spawn(function() assert(a:recv() == "sent") end)
    assert.same({ 1, true }, { perilune.select { { a, "send", "sent" }, { b, "recv" } } })
  end)

  it("gives up after a timeout, and takes a default at once", function()
    local channel = perilune.channel()
    local start = perilune.now()
    assert.equal("EDEADLINE", select(3, perilune.select { { channel, "recv" }, timeout = 0.02 }))
    assert.is_true(perilune.now() - start >= 0.02)
    assert.same({ 0 }, { perilune.select { { channel, "recv" }, default = true } })
    assert.equal("EBUSY", select(3, channel:try_send(1)))
  end)

  it("says which channel was closed", function()
    local a, b = perilune.channel(), perilune.channel()
    perilune.timer(0.002, function() b:close() end)
    local index, value, _, code = perilune.select { { a, "recv" }, { b, "recv" } }
    assert.same({ 2, "ECLOSED" }, { index, code })
    assert.is_nil(value)
  end)

  it("is fair among cases that are all ready", function()
    local counts = { 0, 0, 0 }
    local channels = {}
    for i = 1, 3 do
      channels[i] = perilune.channel(3000)
      for _ = 1, 3000 do
        channels[i]:send(i)
      end
    end
    for _ = 1, 3000 do
      local index = perilune.select {
        { channels[1], "recv" }, { channels[2], "recv" }, { channels[3], "recv" },
      }
      counts[index] = counts[index] + 1
    end
    for _, count in ipairs(counts) do
      assert.is_true(count > 800 and count < 1200, "taken " .. count .. " times of 3000")
    end
  end)

  it("refuses what is no case", function()
    assert.has_error(function() perilune.select {} end)
    assert.has_error(function() perilune.select { { "no channel", "recv" } } end)
    assert.has_error(function() perilune.select { { perilune.channel(), "read" } } end)
  end)
end)
