local check = require "perilune.check"
local json = require "perilune.json"

local function data_of(page)
  return assert(json.decode(page:match "const data = (%b{});\n"))
end

describe("perilune.check.html", function()
  it("shows operations, the order found, and what is wrong", function()
    local verdict = check.linearizable(assert(check.read "tests/data/histories/stale_read.jsonl"), "register")
    local page = check.html(verdict, "stale")
    local data = data_of(page)
    assert.are.equal("not linearizable", data.head.verdict)
    local marks, points = {}, 0
    for _, op in ipairs(data.keys[1].operations) do
      marks[op.label .. op.call] = op.mark
      points = points + (op.point and 1 or 0)
    end
    assert.are.equal("blocked", marks["read 46"])
    assert.are.equal("other", marks["write 52"])
    assert.are.equal(3, points)
    assert.is_nil(page:find("https?://"))
    assert.is_nil(page:find('src="', 1, true))
  end)

  it("puts each point between call and answer, with the state", function()
    local verdict = check.linearizable(assert(check.read "tests/data/histories/kv.edn"), "kv")
    for _, key in ipairs(data_of(check.html(verdict)).keys) do
      for _, op in ipairs(key.operations) do
        assert.is_true(op.point > op.call and op.point < op.finish)
        assert.is_truthy(op.detail:find "then: ")
      end
    end
  end)

  it("lets no text of a history become part of the page", function()
    local evil = "</script><script>alert(1)</script>"
    local page = check.html(check.linearizable({
      { process = evil, type = "invoke", f = "write", value = evil },
      { process = evil, type = "ok", f = "write" },
    }, "register"), evil)
    assert.is_nil(page:find("</script><script>", 1, true))
    assert.are.equal(evil, data_of(page).head.title)
  end)

  it("stays below 5 MB, and says what it leaves out", function()
    local events = {}
    for key = 1, 60 do
      for number = 1, 200 do
        local value = ("x"):rep(150) .. number
        events[#events + 1] = { process = key, type = "invoke", f = "write", key = key, value = value }
        events[#events + 1] = { process = key, type = "ok", f = "write", key = key }
      end
    end
    for number = 1, 4000 do
      events[#events + 1] = { process = 99, type = "invoke", f = "write", key = "long", value = number }
      events[#events + 1] = { process = 99, type = "ok", f = "write", key = "long" }
    end
    local page = check.html(check.linearizable(events, "register"))
    assert.is_true(#page < 5 * 1024 * 1024)
    local data = data_of(page)
    assert.is_true(data.head.keys_left_out > 0)
    assert.are.equal(61, #data.keys + data.head.keys_left_out)
  end)
end)
