--- SET and GET over RESP, as redis-benchmark asks for them: 50 clients, with 1 and 16 commands in flight,
--- beside a Redis that syncs each answer, and one that also sends all to two replicas without waiting.
local process = require "perilune.process"
local stores = require "kv.stores"

local NAME, WITH_REPLICAS = "resp", "redis, 2 replicas"
local PROGRAM = "redis-benchmark"
local CLIENTS, KEYS, VALUE_SIZE = 50, 1024, 100
local PIPELINES, COMMANDS = { 1, 16 }, { "SET", "GET" }
local SET_GOAL = 0.5 -- times Redis alone, at 16

local function rows_of()
  return {
    { name = stores.PERILUNE, needs = { PROGRAM }, open = function(context)
      return stores.open_perilune(context, true)
    end },
    { name = stores.REDIS, needs = { PROGRAM, "redis-server" }, open = stores.open_redis },
    { name = WITH_REPLICAS, needs = { PROGRAM, "redis-server", "redis-cli" },
      open = stores.open_redis_replicas },
  }
end

-- Calls of both commands a second, and their p99 in us: { SET = { per_second =, p99_us = }, GET = ... }
local function ask(opened, pipeline, requests)
  if opened.turn then
    opened:turn()
  end
  local result = process.run { PROGRAM, "-p", tostring(opened.resp_port or opened.port), "-c",
    tostring(CLIENTS), "-P", tostring(pipeline), "-n", tostring(requests), "-d", tostring(VALUE_SIZE), "-r",
    tostring(KEYS), "-t", "set,get", "--csv" }
  local found = {}
  for command, per_second, p99_ms in result.stdout:gmatch '"(%u+)","([%d.]+)"[^\n]-,"([%d.]+)","[%d.]+"\n' do
    found[command] = { per_second = tonumber(per_second), p99_us = 1000 * tonumber(p99_ms) }
  end
  assert(found.SET and found.GET, PROGRAM .. " failed: " .. result.stdout .. result.stderr)
  return found
end

local function open_all(context, rows)
  for _, row in ipairs(rows) do
    row.results = {}
    for _, program in ipairs(row.needs) do
      row.problem = row.problem or not stores.has(program) and "skipped: " .. program .. " is not installed"
        or nil
    end
    if not row.problem then
      row.opened = row.open(context)
    end
  end
end

local function measure(context, rows)
  local requests = context.options.quick and 2000 or context.options.full and 200000 or 50000
  for _ = 1, context.options.runs do
    for _, pipeline in ipairs(PIPELINES) do
      for _, row in ipairs(rows) do
        for command, found in pairs(row.opened and ask(row.opened, pipeline, requests) or {}) do
          local key = command .. " " .. pipeline
          row.results[key] = row.results[key] or {}
          table.insert(row.results[key], found)
        end
      end
    end
  end
end

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function field(results, name)
  local values = {}
  for i, result in ipairs(results) do
    values[i] = result[name]
  end
  return values
end

local function print_table(context, rows, title, name)
  local line = ("\n%-32s"):format(title)
  for _, command in ipairs(COMMANDS) do
    for _, pipeline in ipairs(PIPELINES) do
      line = line .. ("%12s"):format(("%s P=%d"):format(command, pipeline))
    end
  end
  context.say(line)
  for _, row in ipairs(rows) do
    line = ("  %-30s"):format(row.name) .. (row.problem or "")
    for _, command in ipairs(row.opened and COMMANDS or {}) do
      for _, pipeline in ipairs(PIPELINES) do
        line = line .. ("%12.0f"):format(median(field(row.results[command .. " " .. pipeline], name)))
      end
    end
    context.say(line)
  end
end

-- The median over the rounds of how we did beside a peer in the same round.
local function goals_of(rows)
  local goals, ours = {}, rows[1]
  for i = 2, #rows do
    for _, pipeline in ipairs(rows[i].opened and ours.opened and PIPELINES or {}) do
      local key, ratios = "SET " .. pipeline, {}
      for round, result in ipairs(ours.results[key]) do
        ratios[round] = result.per_second / rows[i].results[key][round].per_second
      end
      local value, is_goal = median(ratios), pipeline == 16 and rows[i].name == stores.REDIS
      goals[#goals + 1] = { what = ("%s over RESP, P=%d, by %s"):format("SET", pipeline, rows[i].name),
        value = ("%.2fx"):format(value), wanted = is_goal and (">= %.1fx"):format(SET_GOAL) or nil,
        met = value >= (is_goal and SET_GOAL or 0) }
    end
  end
  return goals
end

--- Measures and prints the section.
return function(context)
  local section = { name = NAME, goals = {} }
  if not context.wants(NAME) then
    return section
  end
  local rows = rows_of()
  local ok, why = pcall(function()
    open_all(context, rows)
    measure(context, rows)
  end)
  for _, row in ipairs(rows) do
    if row.opened then
      row.opened:close()
    end
  end
  if not ok then
    error(why, 0)
  end
  print_table(context, rows, "over RESP, a second", "per_second")
  print_table(context, rows, "over RESP, p99 us", "p99_us")
  section.goals, section.rows = goals_of(rows), {}
  for i, row in ipairs(rows) do
    section.rows[i] = { name = row.name, problem = row.problem, results = row.results }
  end
  return section
end
