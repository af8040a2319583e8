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
  assert(kv.serve { group = node.group, history = options.history, caches = options.caches })
end

M.probes = {
  stop = function(node) node.stopped = true end,
  is_leader = function(node)
    local status = node.group and node.group:status()
    return status ~= nil and status.role == "leader"
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

local acts = {}

function acts.put(store, key, text)
  local op = history.invoke("put", key, text)
  local revision, _, _, details = store:put(key, text)
  close(op, revision, details, true)
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

function acts.cas(store, key, text)
  local _, info, code = store:get(key, { consistency = "stale" })
  if code then
    return
  end
  local version = info and info.version or 0
  local op = history.invoke("cas", key, { version, text })
  local revision, _, refused, details = store:put(key, text, { version = version })
  if refused == "EEXIST" then
    op:ok(false)
  else
    close(op, revision, details, true)
  end
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
  local item = items and items[1]
  close(op, type(code) == "number" or nil, nil, item and { item.version, item.value } or false)
end

local NAMES = {
  "put", "append", "append", "delete", "add", "add", "cas", "cas", "get", "get", "get", "range",
}

function M.nodes.mixed(node, me, addresses, options)
  local store, count = connect(addresses, options), 0
  while not node.stopped do
    count = count + 1
    local act = acts[NAMES[perilune.random(#NAMES)]]
    act(store, "k" .. perilune.random(KEYS), ("%d.%d;"):format(me, count), options)
    perilune.sleep(perilune.random() * 0.1)
  end
end

-- Reads much, mostly without asking anybody: judged as the others.
function M.nodes.cacher(node, _, addresses, options)
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
end

-- ---- many keys at once ----

-- What is moved between accounts leaves their sum as it is, at every revision and on every server.
function M.nodes.bank(node, _, addresses, options)
  local store = connect(addresses, options)
  while not node.stopped do
    local from, to = perilune.random(ACCOUNTS), perilune.random(ACCOUNTS)
    store:transact({ { "version", "a/" .. from, "<", 1000000 } }, {
      { "increment", "a/" .. from, -7 }, { "increment", "a/" .. to, 7 },
    })
    local consistency = perilune.random(2) == 1 and "stale" or "linearizable"
    local items, sum = store:range { prefix = "a/", consistency = consistency }, 0
    for _, item in ipairs(items or {}) do
      sum = sum + tonumber(item.value)
    end
    assert(sum == 0, "half a transaction is visible")
    perilune.sleep(perilune.random() * 0.3)
  end
end

-- ---- leases ----

-- A key with a lease is there as long as the lease is kept; when it goes is seen in the end. Each has a key
-- of its own: a put of unknown outcome that happens late would give the key back to an older lease.
function M.nodes.leaser(node, me, addresses, options)
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
    perilune.sleep(perilune.random() * 3)
  end
end

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

-- ---- watches ----

-- All keys as they are, and the revision of that.
local function read_all(store)
  local found, from, revision = {}, "", nil
  repeat
    local items, next_key, at = store:range { from = from, revision = revision, limit = 7 }
    assert(items or at == "ECOMPACTED" or at == "EDEADLINE", next_key)
    if not items then -- begins again
      found, from, revision = {}, "", nil
      perilune.sleep(0.1)
    else
      for _, item in ipairs(items) do
        found[item.key] = item
      end
      from, revision = next_key, revision or at
    end
  until not from
  return found, revision
end

local function lines_of(found)
  local lines = {}
  for key, item in pairs(found) do
    lines[#lines + 1] = ("%s=%s@%d.%d"):format(key, item.value, item.revision, item.version)
  end
  table.sort(lines)
  return lines
end

-- Every revision is heard of, in order, and every change of a key says that it is the next one.
local function follow(found, last, event)
  local old = found[event.key]
  assert(event.revision == last or event.revision == last + 1, "a watch left out a revision")
  if event.type == "delete" then
    assert(old, "a watch left out that a key was made")
    found[event.key] = nil
  else
    assert(event.version == (old and old.version or 0) + 1, "a watch left out a change")
    found[event.key] = event
  end
  return event.revision
end

-- Hears of all changes up to the one of the key "end", and gives what these make of the keys.
function M.nodes.watcher(_, _, addresses, options)
  local store, found, last = connect(addresses, options), {}, 0
  while true do
    local watch <close> = assert(store:watch { revision = last + 1 })
    local event, err, code
    repeat
      event, err, code = watch:recv()
      last = event and follow(found, last, event) or last
    until not event or event.key == "end"
    if event then
      return lines_of(found)
    end
    assert(code == "ECOMPACTED" and options.history > 0, err)
    found, last = read_all(store)
    if found["end"] then
      return lines_of(found)
    end
  end
end

-- ---- the end ----

-- When nothing goes wrong any more: leases end, the queue is emptied, and there is a last write.
function M.nodes.last(_, _, addresses, options)
  local store = kv.connect(addresses, { deadline = 20, session = options.session })
  local queue, rest = lock.queue(store, "q"), {}
  repeat
    local value = queue:pop { wait = 0 }
    rest[#rest + 1] = value
  until not value
  local limit = perilune.now() + 20
  while assert(store:count { prefix = "lease/" }) + assert(store:count { prefix = "lock/" }) > 0 do
    assert(perilune.now() < limit, "leases do not end")
    perilune.sleep(0.2)
  end
  local balance = store:get "balance"
  assert(store:put("end", "end"))
  return lines_of((read_all(store))), tonumber(balance or 0), rest
end

return M
