--- Committed entries a second and their latency: 1, 16 and 256 proposers inside the leader.
local cluster = require "raft.cluster"
local fiber = require "perilune.fiber"

local RAW, RAW_3 = "append + fdatasync", "the same, three files at once"
local C, LUA = "perilune, machine in C", "perilune, machine in Lua"
local LIBRAFT, BATCHED = "libraft", "libraft, a round's together" -- libraft.c says what that is
local IN_MEMORY = "/dev/shm" -- where a sync costs nothing: with --full

local CELLS = {}
for _, bytes in ipairs { 64, 1024 } do
  for _, proposers in ipairs { 1, 16, 256 } do
    local name = ("%d x %d B"):format(proposers, bytes)
    CELLS[#CELLS + 1] = { proposers = proposers, bytes = bytes, name = name }
  end
end

-- ---- who is loaded ----

local function open_raw(context, count)
  local programs = {}
  for i = 1, count do
    programs[i] = cluster.start { context.programs .. "bench_raft_raw", ("%s/raw-%d-%d"):format(
      context.directory, count, i) }
  end
  return {
    load = function(line)
      local answers = {}
      local fibers = {}
      for i, program in ipairs(programs) do
        fibers[i] = fiber.spawn(function() answers[i] = program:ask(line) end)
      end
      for _, one in ipairs(fibers) do
        assert(fiber.join(one))
      end
      table.sort(answers, function(a, b) return a.per_second < b.per_second end)
      return answers[(#answers + 1) // 2]
    end,
    ask = function(line) return programs[1]:ask(line) end,
    close = function()
      for i, program in ipairs(programs) do
        program:kill()
        os.remove(("%s/raw-%d-%d"):format(context.directory, count, i))
      end
    end,
  }
end

local function open_cluster(name, command, directory)
  local three = cluster.open { name = name, command = command, directory = directory }
  return {
    load = function(line)
      return three:load(line)
    end,
    close = function()
      three:check()
      three:close()
    end,
  }
end

local function is_there(path)
  local file = io.open(path)
  return file ~= nil and file:close()
end

local function clusters(context, directory, suffix)
  local programs = {
    { C, { context.programs .. "bench_raft_node" } },
    { LUA, { context.programs .. "perilune", "run", "scripts/benches/raft/node.lua" } },
    { LIBRAFT, { context.libraft } },
    { BATCHED, { context.libraft, "--together" } },
  }
  local rows = {}
  for i, program in ipairs(programs) do
    local name, command = table.unpack(program)
    local is_missing = command[1] == context.libraft and not is_there(context.libraft)
    rows[i] = {
      name = name .. suffix,
      open = function() return open_cluster("nodes-" .. i, command, directory) end,
      problem = is_missing and "skipped: libraft-dev is not installed" or nil,
    }
  end
  return rows
end

local function rows_of(context)
  local rows = {
    { name = RAW, open = function() return open_raw(context, 1) end },
    { name = RAW_3, open = function() return open_raw(context, 3) end },
  }
  local lists = { clusters(context, context.directory, "") }
  if context.options.full then
    lists[2] = clusters(context, IN_MEMORY .. "/perilune-bench", ", no disk")
  end
  for _, list in ipairs(lists) do
    table.move(list, 1, #list, #rows + 1, rows)
  end
  return rows
end

-- ---- measuring ----

local function measure(context, rows)
  local ms = context.options.quick and 50 or 500
  local echo = {}
  for _, row in ipairs(rows) do
    row.results = {}
    row.driver = not row.problem and row.open() or nil
  end
  for _ = 1, context.options.runs do
    for _, cell in ipairs(CELLS) do
      for _, row in ipairs(rows) do
        if row.driver then
          local results = row.results[cell.name] or {}
          row.results[cell.name] = results
          results[#results + 1] = row.driver.load(("load %d %d %d"):format(cell.proposers, cell.bytes, ms))
        end
      end
    end
    if rows[1].name == RAW then
      echo[#echo + 1] = rows[1].driver.ask(("echo 1 64 %d"):format(ms))
    end
  end
  for _, row in ipairs(rows) do
    if row.driver then
      row.driver.close()
      row.driver = nil
    end
  end
  return echo
end

local function median_of(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function median(results, field)
  local values = {}
  for _, result in ipairs(results or {}) do
    values[#values + 1] = result[field]
  end
  return median_of(values)
end

-- The median over the rounds of how one row did beside others in the same round.
local function ratio(cell, field, ours, peer)
  local a, b, ratios = ours.results[cell.name] or {}, peer.results[cell.name] or {}, {}
  for i = 1, math.min(#a, #b) do
    ratios[i] = a[i][field] / b[i][field]
  end
  return median_of(ratios)
end

-- ---- saying ----

local function say_table(context, rows, title, field, format)
  local line = { ("\n%-40s"):format(title) }
  for _, cell in ipairs(CELLS) do
    line[#line + 1] = ("%13s"):format(cell.name)
  end
  context.say(table.concat(line))
  for _, row in ipairs(rows) do
    line = { ("  %-38s"):format(row.name), row.problem }
    for _, cell in ipairs(row.problem and {} or CELLS) do
      line[#line + 1] = ("%13s"):format(format:format(median(row.results[cell.name], field)))
    end
    context.say(table.concat(line))
  end
end

local function goals_of(rows, echo)
  local by_name, goals = {}, {}
  for _, row in ipairs(rows) do
    by_name[row.name] = not row.problem and row or nil
  end
  local function add(cell, what, value, goal)
    goals[#goals + 1] = { what = ("%s, %s"):format(what, cell.name), value = ("%.2fx"):format(value),
      wanted = goal and (">= %.1fx"):format(goal), met = goal and value >= goal }
  end
  local ours, raw, raw_3 = by_name[C], by_name[RAW], by_name[RAW_3]
  local peer, batched = by_name[LIBRAFT], by_name[BATCHED]
  for _, cell in ipairs(ours and CELLS or {}) do
    if cell.proposers > 1 then
      if raw then
        add(cell, "rate by that of append + fdatasync", ratio(cell, "per_second", ours, raw),
          cell.proposers == 256 and 0.7 or nil)
      end
      if raw_3 then
        add(cell, "rate by that of three files at once", ratio(cell, "per_second", ours, raw_3))
      end
      if peer then
        add(cell, "rate by libraft's", ratio(cell, "per_second", ours, peer), 1.5)
      end
      if batched then
        add(cell, "rate by libraft's, a round's together", ratio(cell, "per_second", ours, batched))
      end
    else
      for _, disk in ipairs { raw, raw_3 } do
        local trip = #echo > 0 and median(echo, "p50_us") or 0
        local limit = 2 * median(disk.results[cell.name], "p50_us") + trip
        local found = median(ours.results[cell.name], "p50_us")
        goals[#goals + 1] = { what = ("p50, us, %s, by 2 fdatasync%s + 1 round trip"):format(cell.name,
            disk == raw_3 and " (three at once)" or ""),
          value = ("%d"):format(found), wanted = ("<= %d"):format(limit), met = found <= limit }
      end
    end
  end
  return goals
end

--- Measures and prints the section.
return function(context)
  local rows, section = {}, { name = "loads", rows = {} }
  for _, row in ipairs(rows_of(context)) do
    if context.wants(row.name) then
      rows[#rows + 1] = row
    end
  end
  if #rows == 0 then
    section.goals = {}
    return section
  end
  local echo = measure(context, rows)
  say_table(context, rows, "entries/s (proposers x size)", "per_second", "%.0f")
  say_table(context, rows, "p50, us", "p50_us", "%.0f")
  say_table(context, rows, "p99, us", "p99_us", "%.0f")
  say_table(context, rows, "leader's cpu us an entry", "cpu_us", "%.2f")
  for _, row in ipairs(rows) do
    section.rows[#section.rows + 1] = { name = row.name, problem = row.problem, results = row.results }
  end
  section.echo = echo
  section.goals = goals_of(rows, echo)
  return section
end
