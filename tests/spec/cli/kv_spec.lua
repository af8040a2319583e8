-- perilune kv: a node, and what its clients do.
local cli = require "support.binary"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local json = require "perilune.json"
local process = require "perilune.process"
local new_folder = require "support.folder"

describe("perilune kv", function()
  local folder = new_folder(before_each, after_each)
  local server, address

  before_each(function()
    server = assert(process.spawn {
      cli.path, "kv", "serve", folder:at "data", "--members", "127.0.0.1:0", "--listen", "127.0.0.1:0",
      stdout = "pipe", dies_with_parent = true,
    })
    address = assert(server:read_line()):match "node 1 serves clients at (.*)$"
  end)

  after_each(function()
    server:kill(15)
    server:wait()
    server:close()
  end)

  local function kv(...)
    return cli.run { "kv", "--at", address, ... }
  end

  it("names what it cannot listen at, and ends with 2", function()
    for _, text in ipairs { "nonsense", "99999", ":x", "6379x", "" } do
      for _, option in ipairs { "--resp", "--listen" } do
        local result = cli.run { "kv", "serve", folder:at "other", option, text }
        assert.equal(2, result.status)
        assert.matches("'" .. text .. "' is nowhere to listen", result.stderr, 1, true)
      end
    end
  end)

  it("leaves nothing behind where it cannot listen", function()
    for option, others in pairs {
      ["--listen"] = { "--members", "127.0.0.1:0" }, ["--members"] = { "--listen", "127.0.0.1:0" },
      ["--resp"] = { "--members", "127.0.0.1:0", "--listen", "127.0.0.1:0" },
    } do
      local result = cli.run { "kv", "serve", folder:at "other", option, address, table.unpack(others) }
      assert.equal(1, result.status)
      assert.matches(address .. ": Address already in use", result.stderr, 1, true)
      assert.is_false(fs.exists(folder:at "other"))
    end
  end)

  it("puts, gets, appends, adds, deletes", function()
    assert.equal("revision 1\n", kv("put", "a", "one").stdout)
    assert.equal("one\n", kv("get", "a").stdout)
    assert.equal("6 bytes\n", cli.run({ "kv", "--at", address, "append", "a", "-", input = "two" }).stdout)
    assert.same({ key = "a", value = "onetwo", revision = 2, created = 1, version = 2, lease = 0 },
      json.decode(kv("get", "a", "--json").stdout))
    assert.equal("one\n", kv("get", "a", "--revision", "1").stdout)
    assert.equal("5\n", kv("increment", "n", "5").stdout)
    assert.equal("deleted\n", kv("delete", "a").stdout)
    local result = kv("get", "a")
    assert.equal(1, result.status)
    assert.matches("there is no such key", result.stderr)
  end)

  it("ranges, counts, tells how it stands, and watches", function()
    for _, key in ipairs { "k/1", "k/2", "x" } do
      assert.equal(0, kv("put", key, key:upper()).status)
    end
    assert.equal("k/1\tK/1\nk/2\tK/2\n", kv("range", "k/").stdout)
    assert.equal("k/1\tK/1\n", kv("range", "--limit", "1").stdout)
    assert.equal("2\n", kv("count", "k/").stdout)
    local status = json.decode(kv("status", "--json").stdout)
    assert.equal(3, status.keys)
    assert.equal(3, status.revision)
    assert.equal(1, status.leader)
    assert.same({ 1, "voter" }, { status.members[1].id, status.members[1].is })
    assert.matches("\nnode 1\t127%.0%.0%.1:%d+\tvoter\tleads term 1\n$", kv("status").stdout)
    assert.equal(0, kv("compact", "2").status)
    local result = kv("watch", "--revision", "2")
    assert.equal(1, result.status)
    assert.matches("history begins at 3", result.stderr)
    local watch <close> = assert(process.spawn {
      cli.path, "kv", "--at", address, "watch", "--revision", "3", stdout = "pipe", dies_with_parent = true,
    })
    assert.equal("3\tput\tx\tX", watch:read_line())
    watch:kill(15)
    assert.equal(0, #watch:read())
  end)

  it("holds locks while commands run, and fences what they write", function()
    local program = ("%s kv --at %s"):format(cli.path, address)
    local command = program .. " put a 1 --fence \"$PERILUNE_FENCE\"; echo \"$PERILUNE_FENCE\"; exit 3"
    local result = kv("lock", "job", "--ttl", "5s", "--", "sh", "-c", command)
    assert.equal(3, result.status)
    local fence = assert(result.stdout:match "(%d+:lock/job/%x+)\n")
    result = kv("put", "a", "2", "--fence", fence)
    assert.equal(1, result.status)
    assert.matches("held no more", result.stderr)
    assert.equal("1\n", kv("get", "a").stdout)
    local holder <close> = assert(process.spawn {
      cli.path, "kv", "--at", address, "elect", "boss", "me", "--ttl", "1s", stdout = "pipe",
      dies_with_parent = true,
    })
    assert.matches("^%d+:election/boss/", holder:read_line())
    assert.equal("me\n", kv("leader", "boss").stdout)
    result = kv("elect", "boss", "you", "--wait", "100ms", "--", "true")
    assert.equal(1, result.status)
    assert.matches("hint: others hold it", result.stderr)
    holder:kill(9)
    assert.equal(0, kv("elect", "boss", "you", "--", "true").status) -- once the lease has ended
    assert.equal(1, kv("leader", "boss").status)
    assert.equal(2, kv("put", "a", "1", "--fence", "x").status)
    assert.equal(2, kv("lock").status)
    assert.equal("revision", kv("put", "--", "-b", "-1").stdout:match "%a+")
  end)

  -- One that stands in the line of the lock job, whose length it makes count, until a signal ends it: its
  -- status, and what it printed.
  local function ended_by(signal, count, ...)
    local holder <close> = assert(process.spawn {
      cli.path, "kv", "--at", address, "lock", "job", "--ttl", "100s", stdout = "pipe",
      dies_with_parent = true, ...,
    })
    local line = count == 1 and holder:read_line() or nil -- it holds
    repeat until kv("count", "lock/job/").stdout == count .. "\n"
    holder:kill(signal)
    return holder:wait().status, line, holder:read()
  end

  it("gives a lock back when a signal ends it", function()
    for _, signal in ipairs { 2, 15 } do
      assert.equal(128 + signal, (ended_by(signal, 1)))
      assert.equal("0\n", kv("count", "lock/job/").stdout)
    end
  end)

  it("leaves the line when a signal ends the wait", function()
    local holder <close> = assert(process.spawn {
      cli.path, "kv", "--at", address, "lock", "job", stdout = "pipe", dies_with_parent = true,
    })
    assert(holder:read_line())
    assert.equal(130, (ended_by(2, 2)))
    assert.equal("1\n", kv("count", "lock/job/").stdout)
    holder:kill(9)
  end)

  it("gives a signal to the command, and keeps the lock until that has ended", function()
    local program = ("%s kv --at %s"):format(cli.path, address)
    local on_signal = ("trap '%s count lock/job/; exit 7' TERM"):format(program)
    local status, _, said = ended_by(15, 1, "--", "sh", "-c",
      on_signal .. "; echo started; while :; do sleep 0.1; done")
    assert.equal(7, status)
    assert.equal("1\n", said)
    assert.equal("0\n", kv("count", "lock/job/").stdout)
  end)

  it("leaves nobody in the line who has waited in vain", function()
    local holder <close> = assert(process.spawn {
      cli.path, "kv", "--at", address, "lock", "job", stdout = "pipe", dies_with_parent = true,
    })
    assert(holder:read_line())
    local result = kv("lock", "job", "--wait", "50ms", "--", "true")
    assert.equal(1, result.status)
    assert.matches("not its turn yet: 1 before it in the line", result.stderr)
    assert.equal("1\n", kv("count", "lock/job/").stdout)
    holder:kill(9)
  end)

  it("refuses at once what is too big", function()
    local result = cli.run { "kv", "--at", address, "--deadline", "10min", "put", "a", "-",
      input = ("x"):rep(9 << 20) }
    assert.equal(1, result.status)
    assert.matches("a value has at most 8380416 bytes, not 9437184", result.stderr, 1, true)
    assert.equal("revision 1\n", kv("put", "a", "-").stdout)
  end)

  it("ends with 2 for what no store can be asked", function()
    local function usage(why, ...)
      local result = cli.run { "kv", ... }
      assert.equal(2, result.status)
      assert.matches(why, result.stderr, 1, true)
    end
    usage "missing argument 'action'"
    usage("a NAME has 1 to 900 bytes", "lock", "", "--", "true")
    usage("a NAME has 1 to 900 bytes", "leader", ("x"):rep(901))
    usage("'0' is not between 1ms", "get", "a", "--deadline", "0")
    usage("':99999' has no port", "get", "a", "--at", ":7300,:99999")
    usage("':7201' stands there twice", "serve", folder:at "other", "--members", ":7201,:7202,:7201")
    usage("it takes no --limit, but --revision, --consistency, --at, --deadline", "get", "a", "--limit", "1")
    usage("it takes no --at, but --id", "serve", folder:at "other", "--at", ":1")
    usage("it takes no --fence, but --at", "leader", "a", "--fence", "1:a")
    usage("it takes no --leases, but --consistency", "status", "--leases")
    usage("it takes no --history", "get", "a", "--history", "1")
    usage("'1ms' is not between 100ms and 1000000s", "lock", "a", "--ttl", "1ms", "--", "true")
    usage("it takes no --members", "status", "--members", ":1")
    local short = cli.run { "kv", "get", "a", env = { PERILUNE_SECRET = "short" } }
    assert.equal(2, short.status)
    assert.matches("PERILUNE_SECRET has at least 16 bytes", short.stderr, 1, true)
    usage("0 is no member's number: those go from 1 to 1", "serve", folder:at "other", "--id", "0")
  end)

  it("shows bytes that no JSON has in hexadecimal digits", function()
    local function put(key, value)
      assert.equal(0, cli.run({ "kv", "--at", address, "put", key, "-", input = value }).status)
    end
    put("caf\xe9", "\0\xff\n")
    put("plain", "\0\u{e9}")
    local got = json.decode(kv("get", "caf\xe9", "--json").stdout)
    assert.same({ "636166e9", "00ff0a" }, { got.key_hex, got.value_hex })
    assert.is_nil(got.key or got.value)
    assert.equal("\0\u{e9}", json.decode(kv("get", "plain", "--json").stdout).value)
  end)

  it("adds negative numbers", function()
    assert.equal("-7\n", kv("increment", "n", "-7").stdout)
    assert.equal("-8\n", kv("increment", "n", "--", "-1").stdout)
    assert.equal("-5\n", kv("put", "increment", "-5") and kv("get", "increment").stdout)
    assert.equal(2, kv("increment", "n", "-x").status)
  end)

  it("shortens keys in messages", function()
    local result = kv("get", ("k"):rep(5000))
    assert.equal(1, result.status)
    assert.matches("kv get " .. ("k"):rep(100) .. "...: a key has at most 1024 bytes", result.stderr, 1, true)
  end)

  it("serves reads by lease, and as much history as it is told", function()
    assert.matches("group 1 has no leases", kv("get", "a", "--consistency", "lease").stderr)
    local other <close> = assert(process.spawn {
      cli.path, "kv", "serve", folder:at "other", "--members", "127.0.0.1:0", "--listen", "127.0.0.1:0",
      "--leases", "--history", "2", "--json", stdout = "pipe", dies_with_parent = true,
    })
    address = json.decode(assert(other:read_line())).address
    for i = 1, 9 do
      assert.equal(0, kv("put", "a", tostring(i)).status)
    end
    assert.equal("9\n", kv("get", "a", "--consistency", "lease").stdout)
    local until_when = fiber.now() + 20
    while json.decode(kv("status", "--json").stdout).compacted == 0 do
      assert(fiber.now() < until_when)
      fiber.sleep(0.1)
    end
    other:kill(9)
  end)

  it("gives no hint on locks when another process has the data", function()
    local result = cli.run { "kv", "serve", folder:at "data", "--members", "127.0.0.1:0" }
    assert.equal(1, result.status)
    assert.matches("another perilune process uses", result.stderr)
    assert.not_matches("--wait", result.stderr, 1, true)
  end)

  it("says which nodes are missing, also when the last server that it asks is not there", function()
    local lone = assert(process.spawn {
      cli.path, "kv", "serve", folder:at "lone", "--members", "127.0.0.1:0,127.0.0.1:1,127.0.0.1:2",
      "--listen", "127.0.0.1:0", stdout = "pipe", stderr = "null", dies_with_parent = true,
    })
    local at = assert(lone:read_line()):match "node 1 serves clients at (.*)$"
    local result = cli.run { "kv", "--at", at .. ",127.0.0.1:1", "--deadline", "3s", "put", "a", "1" }
    assert.equal(1, result.status)
    assert.matches("node 2 (127.0.0.1:1) is down for", result.stderr, 1, true)
    assert.matches("a majority has to be there", result.stderr, 1, true)
    lone:kill(9)
  end)

  it("leaves no session behind", function()
    assert.equal(0, kv("put", "a", "1").status)
    assert.equal(0, json.decode(kv("status", "--json").stdout).sessions)
  end)

  it("says what is wrong", function()
    assert.equal(0, kv("put", "a", "1").status)
    local result = kv("put", "a", "2", "--revision", "0", "--json")
    assert.equal(1, result.status)
    assert.equal("EEXIST", json.decode(result.stdout).error.code)
    result = kv("put", "a")
    assert.equal(2, result.status)
    assert.matches("it takes KEY VALUE", result.stderr)
    result = kv("gte", "a")
    assert.equal(2, result.status)
    assert.matches("did you mean get", result.stderr)
    assert.equal(2, kv("increment", "a", "x").status)
    assert.equal(2, kv("get", "a", "--consistency", "none").status)
    result = cli.run { "kv", "--at", "127.0.0.1:1", "--deadline", "300ms", "get", "a" }
    assert.equal(1, result.status)
    assert.matches("no answer within 0.3 s;", result.stderr)
    assert.matches("hint: are its servers there", result.stderr)
    assert.equal(2, cli.run({ "kv", "serve", folder:at "other", "--id", "3" }).status)
  end)
end)
