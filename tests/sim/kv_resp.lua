-- The store as Redis' clients see it, under all faults of kv.lua (scripts/soak kv runs both): commands that
-- are sent ahead, transactions, WATCH, scripts, subscriptions. What is done to single keys must be
-- linearizable; what a transaction or a script moves between accounts leaves their sum as it is; a script
-- that raises has done nothing; what INCR has acknowledged counts once; commands of one connection keep
-- their order; subscribers hear of every change, in order, as long as their connection stands.
-- resp_client.lua speaks the protocol, kv_trouble.lua makes the faults; --arg slip=NAME has clients make a
-- mistake, which some seeds have to find: twice, half, torn.
local clients = require "kv_clients"
local history = require "perilune.history"
local mishaps = require "mishaps"
local perilune = require "perilune"
local raft_trouble = require "raft_trouble"
local resp = require "resp_client"
local trouble = require "kv_trouble"

local SECONDS = tonumber(args.seconds or 10)
local KINDS = { mixed = 3, bank = 2, counter = 2, writer = 2, subscriber = 2 }
local ORDER = { "mixed", "bank", "counter", "writer", "subscriber" }
local KEYS, ACCOUNTS, AHEAD = 3, 3, 6

local M = {
  about = "the store as Redis' clients see it, under all faults", time = "15m",
  nodes = { server = clients.nodes.server }, probes = clients.probes,
}

-- ---- one key at a time: judged by the checker ----

local CAS = [[
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[2])
  return 1]]
local DOUBLE = [[
  local n = math.tointeger(redis.call('GET', KEYS[1]) or 0) % 1000
  redis.call('SET', KEYS[1], 2 * n)
  return n]]
local SPOIL = "redis.call('SET', KEYS[1], 'spoiled') error 'no'"

-- What a command is for the model: its operation, and its value.
local acts = {
  { "set", function(key, text) return { "SET", key, text } end },
  { "append", function(key, text) return { "APPEND", key, text } end },
  { "append", function(key, text) return { "APPEND", key, text } end },
  { "getset", function(key, text) return { "SET", key, text, "GET" } end },
  { "setnx", function(key, text) return { "SET", key, text, "NX" } end },
  { "del", function(key) return { "DEL", key } end },
  { "get", function(key) return { "GET", key } end },
  { "get", function(key) return { "MGET", key } end },
  { "get", function(key) return { "GET", key } end },
}

local function number_act()
  local key, delta = "n" .. perilune.random(2), perilune.random(-5, 5)
  if perilune.random(4) == 1 then
    return key, "double", false, { "EVAL", DOUBLE, 1, key }
  end
  return key, "add", delta, { "INCRBY", key, delta }
end

local function close(op, reply)
  local how = resp.outcome(reply)
  if how == "unknown" then
    op:unknown()
  elseif how == "never" then
    op:fail()
  else
    assert(type(reply) ~= "table" or not reply.err, type(reply) == "table" and reply.err)
    reply = type(reply) == "table" and reply ~= resp.NIL and reply[1] or reply
    op:ok(reply ~= resp.NIL and reply)
  end
end

-- Several at once; each slot of a pipeline is a client of the history, whose operations overlap.
local function pipeline(client, slots, me, count)
  local ops, commands = {}, {}
  for i = 1, perilune.random(AHEAD) do
    local key, text = "k" .. perilune.random(KEYS), ("%d.%d.%d;"):format(me, count, i)
    local act = acts[perilune.random(#acts)]
    local f, value, command = act[1], text, act[2](key, text)
    if perilune.random(3) == 1 then
      key, f, value, command = number_act()
    end
    slots[i] = slots[i] or history.client()
    ops[i], commands[i] = slots[i]:invoke(f, key, value), command
    if args.slip == "twice" and f == "append" and perilune.random(10) == 1 then
      client:run { command }
    end
  end
  local replies = client:run(commands)
  for i, op in ipairs(ops) do
    if replies then
      close(op, replies[i])
    else
      op:fail()
    end
  end
end

-- Compares and sets: by a script, or by WATCH and EXEC.
local function cas(client, slots, me, count)
  local key, text = "k" .. perilune.random(KEYS), ("%d.%d;"):format(me, count)
  local is_script = perilune.random(2) == 1
  local replies = client:run(is_script and { { "GET", key } } or { { "WATCH", key }, { "GET", key } })
  local old = replies and replies[is_script and 1 or 2]
  if type(old) ~= "string" or not is_script and replies[1] ~= "OK" then
    client:close() -- what is watched is forgotten
    return
  end
  local op = slots[1]:invoke("cas", key, { old, text })
  if is_script then
    replies = client:run { { "EVAL", CAS, 1, key, old, text } }
    return replies and close(op, replies[1]) or not replies and op:fail()
  end
  replies = client:run {
    { "MULTI" }, { "APPEND", key, "!" }, { "SET", key, text }, { "GET", key }, { "EXEC" },
  }
  local done = replies and replies[5]
  if done == resp.NIL or not replies then
    op:fail() -- another was faster
  elseif type(done) == "table" and not done.err then
    assert(done[1] == #old + 1 and done[2] == "OK" and done[3] == text, "a transaction was interrupted")
    op:ok(1)
  else
    close(op, done)
  end
end

-- A script that raises has done nothing: nobody ever reads what it wrote.
local function spoil(client)
  local replies = client:run { { "EVAL", SPOIL, 1, "k" .. perilune.random(KEYS) } }
  local reply = replies and replies[1]
  assert(resp.outcome(reply) ~= "ok" or reply.err:find "no$", "a script raised, and it was lost")
end

function M.nodes.mixed(node, me, addresses)
  local client, slots, count = resp.client(addresses), { history.client() }, 0
  while not node.stopped do
    count = count + 1
    local drawn = perilune.random(6);
    (drawn == 1 and spoil or drawn <= 3 and cas or pipeline)(client, slots, me, count)
    perilune.sleep(perilune.random() * 0.2)
    if perilune.random(20) == 1 then
      client:close() -- so that another node is asked
    end
  end
end

-- ---- many keys at once ----

local MOVE = [[
  redis.call('INCRBY', KEYS[1], -ARGV[1])
  if ARGV[2] == 'raise' then error 'not this one' end
  redis.call('INCRBY', KEYS[2], ARGV[1])
  return 'moved']]

function M.nodes.bank(node, _, addresses)
  local client, all = resp.client(addresses), { "MGET" }
  for i = 1, ACCOUNTS do
    all[i + 1] = "a" .. i
  end
  while not node.stopped do
    local from, to = "a" .. perilune.random(ACCOUNTS), "a" .. perilune.random(ACCOUNTS)
    local drawn = perilune.random(3)
    if args.slip == "half" then
      client:run { { "DECRBY", from, 7 } }
      client:run { { "INCRBY", to, 7 } }
    elseif drawn == 1 then
      client:run { { "EVAL", MOVE, 2, from, to, 7, perilune.random(3) == 1 and "raise" or "" } }
    elseif drawn == 2 then
      client:run { { "MULTI" }, { "DECRBY", from, 7 }, { "INCRBY", to, 7 }, { "EXEC" } }
    else -- the second one fails, and undoes the first
      client:run { { "MULTI" }, { "DECRBY", from, 7 }, { "SET", "text", "no number" }, { "INCR", "text" },
        { "EXEC" } }
    end
    local replies, sum = client:run { all }, 0
    local balances = replies and replies[1]
    if type(balances) == "table" and not balances.err then
      for _, balance in ipairs(balances) do
        sum = sum + (tonumber(balance) or 0)
      end
      assert(sum == 0, "half a transaction is visible")
    end
    perilune.sleep(perilune.random() * 0.3)
  end
end

-- ---- what counts once ----

-- Adds one to a total, several at a time: gives how many were acknowledged, and of how many nobody knows.
function M.nodes.counter(node, _, addresses)
  local client, done, unknown = resp.client(addresses), 0, 0
  while not node.stopped do
    local commands, last = {}, 0
    for i = 1, perilune.random(AHEAD) do
      commands[i] = { "INCR", "total" }
    end
    local replies = client:run(commands)
    for i = 1, replies and #commands or 0 do
      local how = resp.outcome(replies[i])
      if how == "ok" then
        assert(replies[i] > last, "commands of one connection change places")
        done, last = done + 1, replies[i]
      elseif how == "unknown" then
        unknown = unknown + 1
      end
    end
    perilune.sleep(perilune.random() * 0.3)
  end
  return done, unknown
end

-- ---- subscriptions ----

-- Makes keys in the order of their numbers, each only once.
function M.nodes.writer(node, me, addresses)
  local client, count = resp.client(addresses), 1
  while not node.stopped do
    local replies = client:run { { "SET", ("seq/%d/%d"):format(me, count), "x", "NX" } }
    local reply = replies and replies[1]
    if reply == "OK" or reply == resp.NIL then
      count = count + 1
    end
    perilune.sleep(perilune.random() * 0.1)
  end
end

-- As long as a connection stands, no number of a writer is left out and none comes twice.
function M.nodes.subscriber(node, _, addresses)
  local client, heard = resp.client(addresses), 0
  while not node.stopped do
    local replies, last = client:run { { "PSUBSCRIBE", "__keyspace@0__:seq/*" } }, {}
    while not node.stopped and replies and client.conn do
      local message = client:recv(3)
      if type(message) == "table" and message[1] == "pmessage" then
        local who, number = message[3]:match "seq/(%d+)/(%d+)$"
        if args.slip ~= "torn" or perilune.random(30) > 1 then
          number = tonumber(number)
          assert(last[who] == nil or number == last[who] + 1, "a change was left out, or came twice")
          last[who], heard = number, heard + 1
        end
      end
    end
    perilune.sleep(0.1)
  end
  return heard
end

-- ---- the run ----

-- When nothing goes wrong any more: the total.
function M.nodes.last(_, _, addresses)
  local client, limit = resp.client(addresses), perilune.now() + 20
  while true do
    local replies = client:run { { "SET", "last", "1" }, { "GET", "total" } }
    if replies and replies[1] == "OK" and (replies[2] == resp.NIL or tonumber(replies[2])) then
      return tonumber(replies[2]) or 0
    end
    assert(perilune.now() < limit, "no write goes through although all is well again")
    perilune.sleep(0.2)
  end
end

local function start(sim)
  local up_to = mishaps.up_to
  local run = raft_trouble.record(3, 3)
  run.clients, run.paused, run.holders, run.is_faulty = {}, {}, {}, sim:chance(0.3)
  run.victim = sim:chance(0.3) and run.servers[sim:random(1, 3)] or nil
  run.options = { history = 0, resp = ":6379", secret = resp.SECRET }
  local addresses, members = {}, {}
  for id, name in ipairs(run.servers) do
    addresses[id], members[id] = name .. ":6379", name .. ":7200"
  end
  for id, name in ipairs(run.servers) do
    sim:start({ name = name, role = "server", disk = {
      keep = up_to(sim, 1), tear = up_to(sim, 1), sync_error = run.is_faulty and 0.0005 or 0,
      sync_delay = { "exponential", "1ms", "3ms" },
    }, clock = { drift = up_to(sim, 0.02) - 0.01 } }, id, members, run.options)
  end
  for _, kind in ipairs(ORDER) do
    run.clients[kind] = {}
    for i = 1, KINDS[kind] do
      run.clients[kind][i] = kind .. i
      sim:start(kind .. i, kind, i, addresses)
      run.holders[#run.holders + 1] = kind .. i
    end
  end
  run.addresses = addresses
  return run
end

-- Tells clients to end, and collects the sums of what they say.
local function stop(sim, run)
  for _, name in ipairs(run.holders) do
    sim:probe(name, "stop")
  end
  local sums = {}
  for _, kind in ipairs(ORDER) do
    sums[kind] = { 0, 0 }
    for _, name in ipairs(run.clients[kind]) do
      local ok, one, other = sim:join(name, 60)
      sim:assert(ok, name .. " does not end")
      sums[kind] = { sums[kind][1] + (one or 0), sums[kind][2] + (other or 0) }
    end
  end
  return sums
end

function M.run(sim)
  local up_to = mishaps.up_to
  sim:network {
    latency = { "long_tail", "1ms", "5ms", "100ms" }, loss = up_to(sim, 0.03), duplicate = up_to(sim, 0.05),
    reorder = up_to(sim, 0.1), reset = up_to(sim, 0.005),
  }
  local run = start(sim)
  trouble.last(sim, run, SECONDS)
  local sums = stop(sim, run)
  sim:start("last", "last", 1, run.addresses)
  local done, total = sim:join("last", 60)
  sim:assert(done, "no write goes through although all is well again")
  sim:assert(total >= sums.counter[1] and total <= sums.counter[1] + sums.counter[2],
    ("an increment is lost or came twice: %d were acknowledged, %d unknown, the total is %d")
    :format(sums.counter[1], sums.counter[2], total))
  sim:log("sums", { counted = sums.counter[1], unknown = sums.counter[2], heard = sums.subscriber[1] })
  sim:check(require "kv_resp_model", { shrink = false })
end

return M
