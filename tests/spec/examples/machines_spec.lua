-- What the machines of examples/machines do; that replicas of them stay equal, alone and in groups.
local check = require "perilune.machine.check"
local fs = require "perilune.fs"
local json = require "perilune.json"
local machine = require "perilune.machine"
local sim = require "perilune.sim"

local function load(name)
  return assert(machine.load(("examples/machines/%s.lua"):format(name)))
end

local function start(name)
  return assert(load(name):start())
end

local NAMES = { "bank", "counter", "inventory", "leaderboard", "mailboxes", "queue", "rate_limiter" }

describe("the machine", function()
  for _, name in ipairs(NAMES) do
    it(name .. " is the same on all replicas", function()
      local report = assert(check.run(load(name), { commands = 300, seed = 7 }))
      assert.is_true(report.ok, report.why)
      assert.is_true(report.done > 100 and report.restores > 10)
    end)

    it(name .. " survives faults in a group", function()
      local summary = assert(sim.seeds {
        scenario = "examples/scenarios/machine.lua", from = 1, to = 2, verify = true,
        args = { machine = assert(fs.real(("examples/machines/%s.lua"):format(name))) },
      })
      assert.equal(2, summary.passed, json.encode(summary.failures))
    end)
  end

  it("counter undoes what goes too far", function()
    local m <close> = start "counter"
    assert.equal(999999, m:apply(999999))
    assert.equal("the counter stays within 1000000", select(2, m:apply(5)))
    assert.equal(999999, m:query())
  end)

  it("bank neither makes nor loses money", function()
    local m <close> = start "bank"
    m:apply { op = "open", account = "ann" }
    m:apply { op = "open", account = "bob" }
    m:apply { op = "deposit", account = "ann", amount = 100 }
    assert.is_true(m:apply { op = "transfer", from = "ann", to = "bob", amount = 70 })
    assert.equal("account ann has not that much",
      select(2, m:apply { op = "transfer", from = "ann", to = "bob", amount = 31 }))
    assert.matches("no account eve",
      select(2, m:apply { op = "transfer", from = "bob", to = "eve", amount = 1 }))
    assert.same({ accounts = { ann = 30, bob = 70 }, total = 100, holds = true }, m:query())
  end)

  it("queue gives a message again when nobody deletes it in time", function()
    local m <close> = start "queue"
    local function apply(command, now)
      return m:apply(command, { now = now })
    end
    apply({ op = "send", body = "a" }, 0)
    apply({ op = "send", body = "b" }, 0)
    local first = apply({ op = "receive", visibility = 5 }, 1)
    assert.equal("a", first.body)
    assert.equal("b", apply({ op = "receive" }, 2).body)
    assert.is_nil(apply({ op = "receive" }, 3))
    local again = apply({ op = "receive" }, 6)
    assert.same({ "a", 2 }, { again.body, again.tries })
    assert.matches("not yours",
      select(2, apply({ op = "delete", id = first.id, receipt = first.receipt }, 7)))
    assert.is_true(apply({ op = "delete", id = again.id, receipt = again.receipt }, 7))
    assert.same({ waiting = 0, taken = 1, sent = 2 }, m:query())
  end)

  it("rate_limiter lets through what the rate allows", function()
    local m <close> = start "rate_limiter"
    assert.same({ allowed = true, left = 0 }, m:apply({ key = "k", cost = 20 }, { now = 100 }))
    assert.same({ allowed = false, wait = 0.1 }, m:apply({ key = "k" }, { now = 100 }))
    assert.is_true(m:apply({ key = "k", cost = 10 }, { now = 101 }).allowed)
    assert.is_true(m:apply({ key = "other" }, { now = 101 }).allowed)
    for i = 1, 200 do
      m:apply({ key = "busy" }, { now = 200 + i })
    end
    assert.is_true(m:query().count < 3) -- those that were full went
  end)

  it("leaderboard keeps players in order", function()
    local m <close> = start "leaderboard"
    for player, score in pairs { ann = 10, bob = 30, cleo = 20 } do
      m:apply { player = player, score = score }
    end
    assert.same({ rank = 1, best = 40 }, m:apply { player = "ann", score = 40 })
    assert.same({ rank = 1, best = 40 }, m:apply { player = "ann", score = 5 })
    assert.same({ { player = "ann", score = 40 }, { player = "bob", score = 30 } }, m:query { top = 2 })
    assert.same({ rank = 3, best = 20 }, m:query { player = "cleo" })
  end)

  it("mailboxes keep messages on disk", function()
    local m <close> = start "mailboxes"
    for i = 1, 3 do
      assert.equal(i, m:apply({ post = "ann", text = "t" .. i, from = "bob" }, { now = i }))
    end
    m:apply { post = "anna", text = "other" }
    assert.same({ { text = "t3", from = "bob", time = 3 } }, m:query { box = "ann", limit = 1 })
    assert.equal("t1", m:apply({ take = "ann", limit = 1 })[1].text)
    assert.equal(2, #m:apply { take = "ann" })
    assert.same({}, m:query { box = "ann" })
    assert.same({ holds = true }, m:query())
    assert.equal(4, m:apply { post = "ann", text = "t4" })
  end)

  it("inventory reserves all or nothing, for a while", function()
    local m <close> = start "inventory"
    local function apply(command, now)
      return m:apply(command, { now = now })
    end
    apply({ op = "receive", article = "bolt", count = 3 }, 0)
    apply({ op = "receive", article = "nut", count = 9 }, 0)
    assert.equal("of nut there are not 10",
      select(2, apply({ op = "reserve", articles = { bolt = 1, nut = 10 } }, 1)))
    assert.same({ bolt = 3, nut = 9 }, m:query().stock)
    local order = apply({ op = "reserve", articles = { bolt = 1, nut = 2 } }, 1)
    assert.same({ bolt = 2, nut = 7 }, m:query().stock)
    assert.matches("it has ended", select(2, apply({ op = "confirm", order = order }, 61)))
    apply({ op = "receive", article = "nut", count = 1 }, 61)
    assert.same({ bolt = 3, nut = 10 }, m:query().stock)
  end)
end)
