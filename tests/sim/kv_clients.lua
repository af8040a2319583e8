-- Servers and clients of tests/sim/kv.lua. What a client alone can judge, it asserts itself.
local bugs = require "kv_bugs"
local history = require "perilune.history"
local kv = require "perilune.kv"
local lock = require "perilune.lock"
local perilune = require "perilune"

local M = { nodes = {}, probes = {} }

local KEYS, ACCOUNTS = 4, 3
local MARGIN = 0.95 -- of a lease, for clocks that drift

-- ---- servers ----

-- A replica whose state differs would be set aside and rebuilt; here it is a failure.
local function watch_for_difference(opened)
  local event = opened:event()
  while event do
    assert(event.type ~= "diverged", ("the state of member %s differs behind entry %s"):format(event.member,
      event.index))
    event = opened:event()
  end
end

function M.nodes.server(node, id, members, options)
  local raft = require "perilune.raft"
  bugs.plant(args.bug)
  local opened, err = raft.open {
    id = id, path = "data", leases = options.leases, snapshot_entries = 100, trailing_entries = 20,
    recorder = 0,
  }
  if opened then
    node.group, err = raft.group { id = 1, members = members, machine = "kv" }
  end
  if not node.group then -- its disk fails; at the latest in peace it starts again
    node.trouble = "does not start: " .. err
    return
  end
  perilune.spawn(watch_for_difference, opened)
  assert(kv.serve {
    group = node.group, history = options.history, caches = options.caches, resp = options.resp,
    secret = options.secret,
  })
end

M.probes = {
  stop = function(node) node.stopped = true end,
  status = function(node)
    local status = node.group and node.group:status()
    return status and status.role, status and status.members
  end,
  -- Begins to add, promote or remove a member.
  change = function(node, kind, id, address)
    local given = { deadline = 3 }
    perilune.spawn(node.group[kind], node.group, id, address or given, address and given)
  end,
  transfer = function(node) return node.group and node.group:transfer() end,
  snapshot = function(node) return node.group and node.group:snapshot() end,
}

local function connect(addresses, options)
  return kv.connect(addresses, { deadline = 2, attempt = 0.5, session = options.session })
end

-- ---- one key at a time: judged by the checker ----

-- Records how an operation ended: done is what the store gave, or nil.
local function close(op, done, details, value)
  if done ~= nil then
    op:ok(value)
  elseif details and details.certainty == "unknown" then
    op:unknown()
  else
    op:fail()
  end
end

-- The same of a put; now and then the store is asked what became of one that nobody knows of.
local function close_put(op, store, done, details)
  local is_unknown = not done and details and details.certainty == "unknown"
  local outcome = is_unknown and perilune.random(2) == 1 and store:outcome(details.token)
  if outcome == "ok" or outcome == "never" then
    close(op, outcome == "ok" or nil, nil, true)
  else
    close(op, done, details, true)
  end
end

local function found_of(item)
  return item and { item.version, item.value } or false
end

local acts = {}

function acts.put(store, key, text)
  local op = history.invoke("put", key, text)
  local revision, _, _, details = store:put(key, text)
  close_put(op, store, revision, details)
end

function acts.append(store, key, text)
  local op = history.invoke("append", key, text)
  local size, _, _, details = store:append(key, text)
  close(op, size, details, size)
end

function acts.delete(store, key)
  local op = history.invoke("delete", key)
  local was_there, _, _, details = store:delete(key)
  close(op, was_there, details, was_there)
end

function acts.add(store)
  local key, delta = "n" .. perilune.random(2), perilune.random(-5, 5)
  local op = history.invoke("add", key, delta)
  local sum, _, _, details = store:increment(key, delta)
  close(op, sum, details, sum)
end

-- The version that a key had lately, or nil.
local function lately(store, key)
  local _, info, code = store:get(key, { consistency = "stale" })
  return not code and (info and info.version or 0) or nil
end

function acts.cas(store, key, text)
  local version = lately(store, key)
  if not version then
    return
  end
  local op = history.invoke("cas", key, { version, text })
  local revision, _, refused, details = store:put(key, text, { version = version })
  if refused == "EEXIST" then
    op:ok(false)
  else
    close(op, revision, details, true)
  end
end

-- If it is the same as it was lately, appends; else reads it.
function acts.either(store, key, text)
  local version = lately(store, key)
  if not version then
    return
  end
  local op = history.invoke("either", key, { version, text })
  local holds, results, _, details = store:transact({ { "version", key, "=", version } },
    { { "append", key, text } }, { { "get", key } })
  local first = holds ~= nil and results[1]
  close(op, holds, details, { holds, holds and first or first and { first[4], first[1] } or false })
end

local function read(store, key, consistency)
  local op = history.invoke("get", key)
  local value, info, code = store:get(key, { consistency = consistency })
  close(op, code == nil or nil, nil, value and { info.version, value } or false)
end

function acts.get(store, key, _, options)
  read(store, key, options.leases and "lease" or "linearizable")
end

-- In a range, and counted, it is the same as alone.
function acts.range(store, key)
  local op = history.invoke("get", key)
  local items, _, code = store:range { key = key }
  close(op, type(code) == "number" or nil, nil, found_of(items and items[1]))
end

local NAMES = {
  "put", "append", "append", "delete", "add", "add", "cas", "cas", "either", "get", "get", "get", "range",
}

-- Two fibers in one node do the same, each with a store of its own: what both gave.
local function twice(run)
  return function(node, me, addresses, options)
    local first = perilune.spawn(run, node, 2 * me - 1, addresses, options)
    local second = table.pack(run(node, 2 * me, addresses, options))
    return select(2, assert(first:join())), table.unpack(second, 1, second.n)
  end
end

M.nodes.mixed = twice(function(node, me, addresses, options)
  local store, count = connect(addresses, options), 0
  while not node.stopped do
    count = count + 1
    local act = acts[NAMES[perilune.random(#NAMES)]]
    act(store, "k" .. perilune.random(KEYS), ("%d.%d;"):format(me, count), options)
    perilune.sleep(perilune.random() * 0.1)
  end
end)

-- Reads much, mostly without asking anybody: judged as the others.
M.nodes.cacher = twice(function(node, _, addresses, options)
  local store = connect(addresses, options)
  local cache
  while not node.stopped do
    cache = cache or options.caches and store:cache()
    local key = "k" .. perilune.random(KEYS)
    local op = history.invoke("get", key)
    local value, info, code = (cache or store):get(key)
    close(op, code == nil or nil, nil, value and { info.version, value } or false)
    perilune.sleep(perilune.random() * 0.06)
  end
  return cache and cache.hits or 0, cache and cache.misses or 0
end)

-- ---- many keys at once ----

local function sum_of(items)
  local sum = 0
  for _, item in ipairs(items) do
    sum = sum + tonumber(item.value)
  end
  return sum
end

-- What was there at a revision is so for ever: in pages, without values, counted, and of one key.
local function read_again(store, items, revision, options)
  local from, found = "a/", {}
  while from do
    local page, next_from, code = store:range { from = from, to = "a0", limit = 2, revision = revision }
    if not page then
      assert(code == "EDEADLINE" or code == "ECOMPACTED" and options.history > 0, next_from)
      return
    end
    table.move(page, 1, #page, #found + 1, found)
    from = next_from
  end
  assert(#found == #items and sum_of(found) == 0, "history is not what it was")
  for i, item in ipairs(items) do
    assert(found[i].key == item.key and found[i].revision == item.revision, "history is not what it was")
  end
  local keys = store:range { prefix = "a/", keys_only = true, revision = revision }
  local count = store:count { prefix = "a/", revision = revision }
  assert(not keys or #keys == #items and not keys[1].value, "a range without values is not as with them")
  assert(not count or count == #items, "a range is counted wrongly")
  local item = items[1]
  local value, info = store:get("a/1", { revision = revision })
  assert(not value or value == item.value and info.revision == item.revision, "history is not what it was")
end

-- What is moved between accounts leaves their sum as it is, at every revision and on every server.
M.nodes.bank = twice(function(node, _, addresses, options)
  local store = connect(addresses, options)
  while not node.stopped do
    local from, to = perilune.random(ACCOUNTS), perilune.random(ACCOUNTS)
    store:transact({ { "version", "a/" .. from, "<", 1000000 } }, {
      { "increment", "a/" .. from, -7 }, { "increment", "a/" .. to, 7 },
    })
    local consistency = perilune.random(2) == 1 and "stale" or "linearizable"
    local items, _, revision = store:range { prefix = "a/", consistency = consistency }
    assert(not items or sum_of(items) == 0, "half a transaction is visible")
    if items and #items > 0 and perilune.random(4) == 1 then
      perilune.sleep(perilune.random() * 0.5)
      read_again(store, items, revision, options)
    end
    perilune.sleep(perilune.random() * 0.3)
  end
end)

-- ---- leases ----

-- A key with a lease is there as long as the lease is kept; when it goes is seen in the end. Each has a key
-- of its own: a put of unknown outcome that happens late would give the key back to an older lease.
M.nodes.leaser = twice(function(node, me, addresses, options)
  local store, count = connect(addresses, options), 0
  while not node.stopped do
    count = count + 1
    local key = ("lease/%d.%d"):format(me, count)
    local asked = perilune.now()
    local lease = store:lease(1.5)
    local is_there = lease and store:put(key, "here", { lease = lease })
    for _ = 1, perilune.random(5) do
      local value, _, code = store:get(key)
      local is_over = perilune.now() > asked + MARGIN * 1.5
      assert(not is_there or code or value or is_over, "a lease ended too early")
      perilune.sleep(perilune.random())
      local keeps = perilune.now()
      asked = is_there and lease:keep() and keeps or asked
    end
    if is_there and perilune.random(2) == 1 and lease:revoke() then
      local value, _, code = store:get(key)
      assert(code or not value, "a key outlives its lease, which was revoked")
    end
    perilune.sleep(perilune.random() * 2)
  end
end)

-- ---- locks and queues ----

-- Reads the balance and writes it, one higher, as the only one: gives how many were acknowledged, and of how
-- many nobody knows.
function M.nodes.holder(node, _, addresses, options)
  local store, done, unknown = connect(addresses, options), 0, 0
  local mutex = lock.mutex(store, "balance", { ttl = 1 })
  local last = 0
  while not node.stopped do
    local held = mutex:acquire { wait = 5 }
    if held then
      assert(held.token > last, "a fencing token does not grow")
      last = held.token
      local balance, _, code = store:get "balance"
      perilune.sleep(perilune.random() * 0.5)
      if not code then
        local sum = ("%d"):format(tonumber(balance or 0) + 1)
        local revision, _, _, details = store:put("balance", sum, { fence = held })
        done = done + (revision and 1 or 0)
        unknown = unknown + (details and details.certainty == "unknown" and 1 or 0)
      end
      held:release()
    end
  end
  return done, unknown
end

-- Pushes and pops: gives what was pushed, and maybe pushed, popped, and maybe popped.
function M.nodes.queuer(node, me, addresses, options)
  local store, count = connect(addresses, options), 0
  local queue, seen = lock.queue(store, "q", { ttl = 1 }), { pushed = {}, maybe = {}, popped = {}, gone = {} }
  while not node.stopped do
    count = count + 1
    local value = ("%d.%d"):format(me, count)
    local number, _, _, details = queue:push(value)
    if number or details and details.certainty == "unknown" then
      table.insert(number and seen.pushed or seen.maybe, value)
    end
    local item
    item, _, _, details = queue:pop { wait = 0.5 }
    if item or details and details.item then
      table.insert(item and seen.popped or seen.gone, item or details.item)
    end
    perilune.sleep(perilune.random() * 0.3)
  end
  return seen
end

return M
