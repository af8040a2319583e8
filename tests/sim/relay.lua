-- Clients ping, echo and relay through servers while everything goes wrong that the simulator knows: the
-- soak of scripts/soak, run twice for each seed under --verify. An answer must be the one to its question,
-- a call must end by its deadline, and when all faults have ended everybody answers everybody.
local mishaps = require "mishaps"
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local SECONDS = tonumber(args.seconds or 5)
local SERVERS, CLIENTS = 4, 3
local DEADLINE = 0.4

local M = { about = "ping, echo and relay under all faults", time = "10m" }

M.nodes = {}

-- Each answer counts on disk; what the disk does to that is not the caller's business.
local function count_on_disk(node)
  node.count = (node.count or 0) + 1
  if node.count % 8 == 0 then
    perilune.spawn(function()
      local ok, err = perilune.fs.write("count", tostring(node.count), { atomic = true, sync = true })
      node:log(ok and "saved" or "not saved: " .. err)
    end)
  end
end

function M.nodes.server(node)
  local peers = {}
  local function peer_of(name)
    peers[name] = peers[name] or rpc.connect(name, { deadline = DEADLINE })
    return peers[name]
  end
  assert(rpc.serve {
    ping = function()
      return "pong"
    end,
    echo = function(value)
      count_on_disk(node)
      return value
    end,
    slow = function(value)
      perilune.sleep(0.2 * perilune.random())
      return value
    end,
    relay = function(path, value)
      local next_name = table.remove(path, 1)
      if next_name then
        return peer_of(next_name):call("relay", path, value)
      end
      return value
    end,
    count_to = function(last)
      for number = 1, last do
        rpc.yield(number)
      end
    end,
    note = function(value)
      node.noted = value
    end,
  })
end

local function check_answer(what, answer, expected)
  if answer ~= nil and answer ~= expected then
    error(("%s: %s came instead of %s"):format(what, tostring(answer), tostring(expected)))
  end
end

local actions = {}

function actions.ping(_, peer)
  check_answer("ping", peer:call "ping", "pong")
end

function actions.echo(_, peer, _, number)
  check_answer("echo", peer:call("echo", number), number)
end

function actions.big(_, peer, _, number)
  local text = ("%d "):format(number):rep(20000)
  check_answer("big", peer:call("echo", text), text)
end

function actions.slow(_, peer, _, number)
  check_answer("slow", peer:call("slow", number), number)
end

function actions.relay(names, peer, _, number)
  local path = {}
  for hop = 1, perilune.random(3) do
    path[hop] = names[perilune.random(#names)]
  end
  check_answer("relay", peer:call("relay", path, number), number)
end

function actions.stream(_, peer)
  local items, expected = peer:stream("count_to", 20), 1
  while true do
    local item = items:recv()
    if item == nil then
      break
    end
    check_answer("stream", item, expected)
    expected = expected + 1
  end
end

function actions.cast(_, peer, _, number)
  peer:cast("note", number)
end

function actions.all(_, _, peers, number)
  for _, outcome in ipairs(rpc.multicall(peers, "echo", number)) do
    check_answer("multicall", outcome.ok and outcome[1] or nil, number)
  end
end

local ACTIONS = { "ping", "ping", "echo", "echo", "big", "slow", "relay", "relay", "stream", "cast", "all" }

local function act(names, peers, number)
  local started = perilune.now()
  local action = ACTIONS[perilune.random(#ACTIONS)]
  actions[action](names, peers[perilune.random(#peers)], peers, number)
  local took = perilune.now() - started
  if took > 4 * DEADLINE then
    error(("%s took %.3f s, with a deadline of %g s"):format(action, took, DEADLINE))
  end
end

function M.nodes.client(_, names, seconds)
  local peers = {}
  for index, name in ipairs(names) do
    peers[index] = rpc.connect(name, { deadline = DEADLINE })
  end
  local number, until_s = 0, perilune.now() + seconds
  while perilune.now() < until_s do
    number = number + 1
    act(names, peers, number)
    perilune.sleep(0.05 * perilune.random())
  end
  return number
end

-- Each changes something; what it changed, quiet undoes.
local happenings = {
  function(sim, servers)
    local victim = sim:pick(servers)
    if sim:is_up(victim) then
      sim[sim:chance(0.5) and "crash" or "kill"](sim, victim)
    elseif sim:chance(0.2) then
      sim:wipe(victim)
    else
      sim:restart(victim)
    end
  end,
  mishaps.pause, mishaps.resume, mishaps.partition, mishaps.cut_or_hold, mishaps.heal,
  function(sim, servers)
    sim:clock(sim:pick(servers), { jump = sim:random(-10, 10), drift = sim:random(-500, 500) / 100000 })
  end,
  mishaps.stall,
  function(sim)
    mishaps.spoil_link(sim, 1, 1)
  end,
}

local function quiet(sim, servers)
  mishaps.calm(sim, sim:names())
  for _, name in ipairs(servers) do
    if sim:is_up(name) then
      sim:resume(name)
    else
      sim:restart(name)
    end
  end
end

local function start_everybody(sim)
  local servers, clients = {}, {}
  for index = 1, SERVERS do
    servers[index] = "s" .. index
    sim:start({ name = servers[index], role = "server", disk = {
      keep = mishaps.up_to(sim, 1), tear = mishaps.up_to(sim, 1), garble = mishaps.up_to(sim, 1),
      sync_error = 0.05, write_error = 0.02,
      read_error = 0.02, delay = { "uniform", "10us", "1ms" }, sync_delay = { "exponential", "1ms", "5ms" },
    } })
  end
  for index = 1, CLIENTS do
    clients[index] = "c" .. index
    sim:start(clients[index], "client", servers, SECONDS)
  end
  return servers, clients
end

function M.run(sim)
  sim:network {
    latency = { "long_tail", "1ms", "10ms", "200ms" }, loss = mishaps.up_to(sim, 0.1),
    duplicate = mishaps.up_to(sim, 0.05), reorder = mishaps.up_to(sim, 0.1),
    corrupt = mishaps.up_to(sim, 0.01), reset = mishaps.up_to(sim, 0.01), bandwidth = 10000000,
  }
  local servers, clients = start_everybody(sim)
  local until_s = sim:now() + SECONDS
  while sim:now() < until_s do
    sim:sleep(0.2 * sim:random())
    sim:pick(happenings)(sim, servers)
  end
  quiet(sim, servers)
  for _, client in ipairs(clients) do
    sim:assert(sim:join(client, "60s"))
  end
  sim:sleep "5s"
  sim:start("judge", "judge", servers)
  sim:assert(sim:join("judge", "60s"))
end

function M.nodes.judge(_, names)
  for _, name in ipairs(names) do
    assert(rpc.connect(name, { deadline = 5 }):call "ping")
  end
end

return M
