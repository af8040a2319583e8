--- Puts, gets and both: 1, 16, 64 and 256 clients, each with one request in flight.
---
--- Every store is asked by the same client, load.c, through its own protocol. Stores take turns within a
--- round, so that a slow minute of the machine hits all of them.
local process = require "perilune.process"
local stores = require "kv.stores"

local NAME = "loads"
local MODES = { "put", "get", "mix" }
local CELLS = {
  { name = "1", connections = 1, depth = 1 }, { name = "16", connections = 16, depth = 1 },
  { name = "64", connections = 64, depth = 1 }, { name = "256", connections = 256, depth = 1 },
  { name = "8 x 32", connections = 8, depth = 32 },
}
local FILL = { connections = 64, depth = 1 }
local KEYS, FILL_ATTEMPTS, LOAD_ATTEMPTS = 1024, 5, 3

local function ask_load(context, store, cell, mode, seconds)
  local opened = store.opened
  if opened.turn then
    opened:turn()
  end
  return process.run { context.programs .. "bench_kv_load", store.protocol, tostring(opened.port),
    tostring(opened.pid), tostring(cell.connections), tostring(cell.depth), tostring(seconds), mode }
end

-- A load that breaks off, because a machine stood still and another leader was elected, begins again.
local function run_load(context, store, cell, mode, seconds)
  local result
  for _ = 1, LOAD_ATTEMPTS do
    result = ask_load(context, store, cell, mode, seconds)
    if result.status == 0 then
      local found = {}
      for key, value in result.stdout:gmatch "([%w_]+)=([%d.]+)" do
        found[key] = tonumber(value)
      end
      return found
    end
  end
  error(("%s: %s"):format(store.name, result.stderr:match "^(.-)\n*$"), 0)
end

-- Puts all keys: gets find them.
local function fill(context, store)
  local seconds = context.options.quick and 0.5 or 1
  for _ = 1, FILL_ATTEMPTS do
    if run_load(context, store, FILL, "fill", seconds).calls > 2 * KEYS then
      return
    end
    seconds = 2 * seconds
  end
  error(("%s: too slow to be filled"):format(store.name), 0)
end

-- What fails in a peer is said in its row; in our own programs it is a failure of the benchmark.
local function attempt(store, fn)
  local ok, why = pcall(fn)
  if ok then
    return
  elseif store.name == stores.PERILUNE or store.name == stores.BARE then
    error(why, 0)
  end
  store.problem = "failed: " .. tostring(why)
  if store.opened then
    store.opened:close()
    store.opened = nil
  end
end

local function open_all(context)
  for _, store in ipairs(stores.list) do
    store.results, store.problem, store.opened = {}, nil, nil
    for _, program in ipairs(store.needs or {}) do
      if not stores.has(program) then
        store.problem = "skipped: " .. program .. " is not installed"
      end
    end
    if not store.problem and context.wants(store.name) then
      attempt(store, function()
        store.opened = store.open(context)
        fill(context, store)
      end)
    end
  end
end

local function measure(context, cells, seconds)
  for _ = 1, context.options.runs do
    for _, mode in ipairs(MODES) do
      for _, cell in ipairs(cells) do
        for _, store in ipairs(stores.list) do
          if store.opened then
            attempt(store, function()
              local key = mode .. " " .. cell.name
              store.results[key] = store.results[key] or {}
              table.insert(store.results[key], run_load(context, store, cell, mode, seconds))
            end)
          end
        end
      end
    end
  end
end

local function median(results, field)
  local values = {}
  for i, result in ipairs(results or {}) do
    values[i] = result[field]
  end
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function print_table(context, cells, mode, title, field)
  local line = ("\n%-32s"):format(title)
  for _, cell in ipairs(cells) do
    line = line .. ("%10s"):format(cell.name)
  end
  context.say(line)
  for _, store in ipairs(stores.list) do
    line = ("  %-30s"):format(store.name) .. (store.problem or "")
    for _, cell in ipairs(store.opened and cells or {}) do
      line = line .. ("%10.0f"):format(median(store.results[mode .. " " .. cell.name], field))
    end
    if store.opened or store.problem then
      context.say(line)
    end
  end
end

-- The median over the rounds of how one store did beside another in the same round.
local function ratio(ours, peer, key, field)
  local a, b, ratios = ours.results[key] or {}, peer.results[key] or {}, {}
  for i = 1, math.min(#a, #b) do
    ratios[i] = a[i][field] / b[i][field]
  end
  table.sort(ratios)
  return ratios[(#ratios + 1) // 2]
end

-- What the issue asks for: at least so many times the peer's rate; below means a latency.
local function wanted_of(by_name)
  local wanted = {}
  for _, cell in ipairs(CELLS) do
    for _, row in ipairs {
      { stores.BARE, "put", "per_second", 0.8 }, { stores.ETCD, "put", "per_second",
        cell.connections == 1 and 2.5 or cell.connections >= 64 and 5 or nil },
      { stores.TARANTOOL, "put", "per_second", 1.4 }, { stores.REDIS_3, "put", "per_second", 1.2 },
      { stores.ETCD, "get", "per_second", 8 }, { stores.ETCD, "put", "p99_us", nil, 1 },
      { stores.ETCD, "get", "p99_us", nil, 1 },
    } do
      wanted[#wanted + 1] = { peer = by_name[row[1]], mode = row[2], field = row[3], at_least = row[4],
        below = row[5], cell = cell }
    end
  end
  return wanted
end

local function goals_of()
  local by_name, goals = {}, {}
  for _, store in ipairs(stores.list) do
    by_name[store.name] = store
  end
  local ours = by_name[stores.PERILUNE]
  for _, goal in ipairs(wanted_of(by_name)) do
    local value = ratio(ours, goal.peer, goal.mode .. " " .. goal.cell.name, goal.field)
    if value then
      goals[#goals + 1] = {
        what = ("%s %s, %s, by %s"):format(goal.mode, goal.cell.name, goal.below and "p99" or "rate",
          goal.peer.name), value = ("%.2fx"):format(value),
        wanted = goal.at_least and (">= %.1fx"):format(goal.at_least) or goal.below
          and ("< %.1fx"):format(goal.below) or nil,
        met = value >= (goal.at_least or 0) and value < (goal.below or math.huge),
      }
    end
  end
  return goals
end

local function rows_of()
  local rows = {}
  for _, store in ipairs(stores.list) do
    rows[#rows + 1] = { name = store.name, problem = store.problem, results = store.results }
  end
  return rows
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, goals = {} }
  local any = context.wants(NAME)
  for _, store in ipairs(stores.list) do
    any = any or context.wants(store.name)
  end
  if not any then
    return section
  end
  local cells = context.options.quick and { CELLS[1], CELLS[3] } or CELLS
  local seconds = context.options.quick and 0.2 or context.options.full and 5 or 1
  local ok, why = xpcall(function()
    open_all(context)
    measure(context, cells, seconds)
  end, function(err) return type(err) == "string" and err or debug.traceback(tostring(err)) end)
  for _, store in ipairs(stores.list) do
    if store.opened then
      store.opened:close()
    end
  end
  if not ok then
    error(why, 0)
  end
  for _, mode in ipairs(MODES) do
    print_table(context, cells, mode, mode .. ", a second", "per_second")
    print_table(context, cells, mode, mode .. ", p99 us", "p99_us")
  end
  section.rows, section.goals = rows_of(), goals_of()
  return section
end
