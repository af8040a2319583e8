-- The memory tests of the MIT labs' key/value servers (6.824 of 2024: kvsrv; 6.5840 of 2025: kvsrv1), by
-- their names, on a real process.
--
--   perilune run tests/live/kv_memory.lua [CLIENTS [NAME]]     the last line is "tests=N failures=M"
--
-- The labs measure a heap that was collected, of a server that keeps everything in it, and bound it by what
-- was stored (10 MiB beside a value of 10, 200 bytes for each client that has written). This server has its
-- data on disk and caches of fixed size before that, which such values fill: log entries, keys, tables that
-- are being made. So the steps of a test run seven times on a server, each time until its memory has come
-- to rest, and what counts is by how much the least anonymous memory of the process after the last three
-- runs is more than after the three before, the first run having filled what it can: a cache is sometimes
-- full and sometimes not, what is left behind is there each time. Where clients are counted, those of three
-- runs are. TOTAL_MAX bounds all of it. Values have 7 MiB, for 8 is the limit. CLIENTS (default 100000) are
-- clerks that each write or read once; each that writes has a session of its own.
-- With 20000 clerks two of the seven are above their bound in a run, and not always the same:
-- TestMemPutManyClients (13.1 MiB of 11.4) and TestMemManyAppends (4.1 of 2.9) in one, TestMemPut2 (21.2 of
-- 10: 19 MiB once, 40 six times) and TestMemPutManyClientsReliable (13.3 of 11.4) in the next. None had 80.
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local kv = require "perilune.kv"
local process = require "perilune.process"

local CLIENTS, ONLY = math.tointeger(tonumber((...) or 100000)), (select(2, ...))
local TOTAL_MAX = 100 << 20
local RUNS, HALF = 7, 3
local MIB, BIG = 1 << 20, 7 << 20
local FIBERS = 200
local REST, REST_MAX, NOISE = 2, 60, 64 << 10

local function anonymous_bytes(pid)
  return tonumber(fs.read(("/proc/%d/status"):format(pid)):match "RssAnon:%s*(%d+)") * 1024
end

-- What the process has when nothing happens in it any more: tables are written and merged behind commands.
local function bytes_at_rest(pid)
  local size, rested, deadline = anonymous_bytes(pid), 0, fiber.now() + REST_MAX
  while rested < REST and fiber.now() < deadline do
    fiber.sleep(0.1)
    local now = anonymous_bytes(pid)
    local is_resting = math.abs(now - size) < NOISE
    size, rested = is_resting and size or now, is_resting and rested + 0.1 or 0
  end
  return anonymous_bytes(pid)
end

-- Calls fn(i, store) for each client, many at a time.
local function each_client(store, fn)
  local next_client, workers = 1, {}
  for i = 1, FIBERS do
    workers[i] = fiber.spawn({ cpu_deadline = false }, function()
      while next_client <= CLIENTS do
        local me = next_client
        next_client = me + 1
        fn(me, store)
      end
    end)
  end
  for _, worker in ipairs(workers) do
    assert(worker:join())
  end
end

-- A command of a clerk of its own.
local function command(store, session, ...)
  local result, err = store:ask("kv.command", session, session > 0 and 1 or 0, ...)
  return assert(result, err)
end

local function put_as_new(store, ...)
  return command(store, command(store, 0, "open", 600000)[3], "do", ...)
end

-- Each: by how much memory may grow in HALF runs, and the steps, which get a store and how often they ran
-- before.
local TESTS = {
  { "TestMemGet2", 10 * MIB, function(store)
    assert(store:put("k", ("x"):rep(BIG)))
    for _ = 1, 2 do
      assert(#store:get "k" == BIG)
    end
    assert(store:put("k", "x"))
  end },
  { "TestMemPut2", 10 * MIB, function(store)
    assert(store:put("k", ("x"):rep(BIG)))
    assert(store:put("k", ""))
  end },
  { "TestMemAppend2", 30 * MIB, function(store)
    assert(store:delete "k" ~= nil)
    assert(store:append("k", ("x"):rep(BIG // 2)))
    assert(store:append("k", ("x"):rep(BIG // 2)))
  end },
  { "TestMemPutManyClients", HALF * 200 * CLIENTS, function(store)
    local value = ("x"):rep(1000)
    each_client(store, function() put_as_new(store, {}, { { "put", "k", value, 0 } }, {}) end)
  end },
  { "TestMemGetManyClients", HALF * 10 * CLIENTS, function(store)
    each_client(store, function() store:get "k" end)
  end },
  { "TestMemManyAppends", 3000000, function(store)
    assert(store:delete "k" ~= nil)
    for _ = 1, 1000 do
      assert(store:append("k", ("x"):rep(1000)))
    end
  end },
  { "TestMemPutManyClientsReliable", HALF * 200 * CLIENTS, function(store, runs)
    local value = ("x"):rep(1000)
    each_client(store, function(i)
      put_as_new(store, { { "version", "k", "=", runs * CLIENTS + i - 1 } }, { { "put", "k", value, 0 } }, {})
    end)
  end },
}

local function measure(name, limit, steps)
  local folder = fs.tempdir "kv-memory"
  local server <close> = assert(process.spawn {
    process.executable(), "kv", "serve", folder, "--members", "127.0.0.1:0", "--listen", "127.0.0.1:0",
    stdout = "pipe", dies_with_parent = true,
  })
  local address = assert(server:read_line()):match "clients at (.*)$"
  local store <close> = kv.connect(address, { deadline = 600, attempt = 60 })
  assert(store:count() == 0)
  local sizes, from = {}, fiber.now()
  for run = 1, RUNS do
    steps(store, run - 1)
    sizes[run] = bytes_at_rest(server:pid())
  end
  local growth = math.min(table.unpack(sizes, HALF + 2)) - math.min(table.unpack(sizes, 2, HALF + 1))
  local texts = {}
  for i, size in ipairs(sizes) do
    texts[i] = ("%.1f"):format(size / MIB)
  end
  local is_good = growth <= limit and math.max(table.unpack(sizes)) <= TOTAL_MAX
  print(("%s: %s MiB, %+.2f of %.2f, %.1f s%s"):format(name, table.concat(texts, ", "), growth / MIB,
    limit / MIB, fiber.now() - from, is_good and "" or ": TOO MUCH"))
  server:kill(9)
  server:wait()
  fs.remove(folder, { recursive = true })
  return is_good
end

local count, failures = 0, 0
for _, test in ipairs(TESTS) do
  if not ONLY or test[1]:find(ONLY, 1, true) then
    count, failures = count + 1, failures + (measure(table.unpack(test)) and 0 or 1)
  end
end
print(("tests=%d failures=%d"):format(count, failures))
os.exit(failures == 0)
