--- How long a store takes no write after its leader was killed: from kill -9 to the first answer.
---
--- Both stores are asked by their own command line, a new process for each attempt, several at a time: every
--- attempt knows all servers, and finds by itself one that answers.
local fiber = require "perilune.fiber"
local process = require "perilune.process"
local stores = require "kv.stores"

local NAME = "failover"
local EVERY, AT_ONCE, GOAL = 0.02, 4, 0.3

local function put_with_etcdctl(_, ports)
  return stores.etcdctl(ports, "--command-timeout=1s", "--dial-timeout=300ms", "put", "failover", "x") ~= nil
end

local function put_with_perilune(context, ports)
  local at = "127.0.0.1:" .. table.concat(ports, ",127.0.0.1:")
  return process.run { context.perilune, "kv", "put", "failover", "x", "--at", at, "--deadline", "1s" }.status
    == 0
end

-- Milliseconds until an attempt that began after now has succeeded.
local function await_put(context, put, ports)
  local began, done, under_way = fiber.now(), nil, 0
  while not done do
    if under_way < AT_ONCE then
      under_way = under_way + 1
      fiber.spawn(function()
        local ok = put(context, ports)
        under_way = under_way - 1
        done = done or ok and fiber.now()
      end)
    end
    fiber.sleep(EVERY)
  end
  return (done - began) * 1000
end

local function fail_over(context, store, put)
  local opened = store.open(context)
  await_put(context, put, opened.ports)
  fiber.sleep(0.5)
  opened.children[opened.at]:kill(9)
  local took = await_put(context, put, opened.ports)
  opened:close()
  return took
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, goals = {} }
  if not context.wants(NAME) then
    return section
  end
  local rows = {
    { name = stores.PERILUNE, put = put_with_perilune, times = {} },
    { name = stores.ETCD, put = put_with_etcdctl, times = {} },
  }
  context.say("\nFailover, kill -9 of the leader to the first answered put of a client that knows all, ms")
  for _, row in ipairs(rows) do
    for _, store in ipairs(stores.list) do
      row.store = store.name == row.name and store or row.store
    end
    for i = 1, row.store.problem and 0 or context.options.quick and 1 or 10 do
      row.times[i] = fail_over(context, row.store, row.put)
    end
    table.sort(row.times)
    row.median = row.times[(#row.times + 1) // 2]
    context.say("  %-30s %s", row.name, row.median and ("median %.0f, fastest %.0f, slowest %.0f"):format(
      row.median, row.times[1], row.times[#row.times]) or row.store.problem)
    row.store, row.put = nil, nil
  end
  section.rows = rows
  local ours, peer = rows[1].median, rows[2].median
  if peer then
    section.goals = { { what = "failover by etcd's, median", value = ("%.2fx"):format(ours / peer),
      wanted = ("<= %.1fx"):format(GOAL), met = ours <= GOAL * peer } }
  end
  return section
end
