-- Whom a client of a store asks (lua/perilune/kv/client.lua): servers that are tables of this spec.
local client = require "perilune.kv.client"

describe("a client of a store", function()
  local asked

  -- Servers whose news of the leader is that; the one that names itself answers.
  local function store_of(news)
    local peers = {}
    asked = {}
    for id, leader in ipairs(news) do
      local peer = {}
      function peer:with() return self end
      function peer.close() end
      function peer.call()
        asked[id] = (asked[id] or 0) + 1
        if leader == id then
          return id, true, { 0, 0, {} }
        end
        return id, false, "not the leader", "ENOTLEADER", "never", leader or nil
      end
      peers[id] = peer
    end
    return client.create(peers, { deadline = 5, attempt = 1, session = 60 })
  end

  -- Wherever it begins.
  local function each_start(news, check)
    for at = 1, #news do
      local store = store_of(news)
      store.at, store.next = at, at
      check(assert(store:ask "kv.query"), at)
      store:close()
    end
  end

  it("finds a leader whom nobody knows", function()
    each_start({ false, false, false, 4, false }, function(_, at)
      for _, times in pairs(asked) do
        assert.equal(1, times, at)
      end
    end)
  end)

  it("follows who knows the leader", function()
    each_start({ 3, 3, 3 }, function() assert.is_true((asked[1] or 0) + (asked[2] or 0) <= 2) end)
  end)

  it("leaves servers that send it to each other with old news", function()
    each_start({ 2, 1, 2, 4, 3 }, function(_, at)
      for id, times in pairs(asked) do
        assert.is_true(times <= 5, ("%d times from %d on: %d"):format(times, at, id))
      end
    end)
    each_start({ 2, 3, 1, 2, 5 }, function() assert.equal(1, asked[5]) end)
  end)

  it("asks the only one again", function()
    local store, left = store_of { 1 }, 3
    local only = store.peers[1]
    local answer = only.call
    function only.call(...)
      left = left - 1
      if left > 0 then
        return nil, "nobody is there", "EUNREACHABLE"
      end
      return answer(...)
    end
    assert(store:ask "kv.query")
    assert.equal(0, left)
  end)
end)
