local check = require "perilune.check"
local fs = require "perilune.fs"
local history = require "perilune.history"
local perilune = require "perilune"

describe("perilune.history", function()
  before_each(history.reset)
  after_each(history.reset)

  it("records what fibers do, each a client", function()
    local value
    local fibers = {}
    for number = 1, 4 do
      fibers[number] = perilune.spawn(function()
        for round = 1, 5 do
          local op = history.invoke("write", "x", number * 10 + round)
          perilune.sleep(0.001)
          value = number * 10 + round
          op:ok()
          op = history.invoke("read", "x")
          perilune.yield()
          op:ok(value)
        end
      end)
    end
    perilune.join(table.unpack(fibers))
    local events = history.events()
    assert.are.equal(80, #events)
    assert.is_true(check.linearizable(events, "register").ok)
    events[#events].value = 999
    assert.is_false(check.linearizable(events, "register").ok)
  end)

  it("gives a client that does not know a new name", function()
    local client = history.client "writer"
    client:invoke("write", nil, 1):unknown "timed out"
    client:invoke("read"):ok(nil)
    client:invoke("cas", nil, { 1, 2 }):fail()
    local events = history.events()
    assert.are.equal("writer", events[1].process)
    assert.are.equal("info", events[2].type)
    assert.are.equal("timed out", events[2].error)
    assert.are.equal("writer'2", events[3].process)
    assert.is_true(check.linearizable(events, "cas-register").ok)
  end)

  it("hands events to a sink, with the node's name and clock", function()
    local seen = {}
    history.setup {
      node = "n1", now = function() return 42 end,
      sink = function(event) seen[#seen + 1] = event end,
    }
    history.invoke("read", "k"):ok "v"
    assert.are.same({ process = "n1/c1", type = "invoke", f = "read", key = "k", time = 42, node = "n1" },
      seen[1])
    assert.are.equal("v", seen[2].value)
    assert.are.equal(0, #history.events())
    history.setup { incarnation = 2 }
    history.client("writer"):invoke "read"
    assert.are.equal("n1!2/writer", seen[3].process)
    assert.are.equal("n1", seen[3].node)
  end)

  it("writes a file that check reads", function()
    local folder = assert(fs.tempdir())
    assert(history.file(folder .. "/h.jsonl"))
    history.invoke("write", "k", { 1, "two" }):ok()
    history.invoke("read", "k"):ok { 1, "two" }
    history.close()
    local verdict = assert(check.linearizable(assert(check.read(folder .. "/h.jsonl")), "register"))
    assert.is_true(verdict.ok)
    assert.are.equal(2, verdict.operations)
    fs.remove(folder, { recursive = true })
    assert.is_nil((history.file "/no/such/folder/h"))
  end)

  it("raises for a second open operation, and a second end", function()
    local op = history.invoke "read"
    assert.error_matches(function() history.invoke "read" end, "c1 still has an open read")
    op:ok(1)
    assert.error_matches(function() op:ok(1) end, "this read has ended already")
    assert.error_matches(function() history.invoke(5) end, "must be a string")
  end)
end)
