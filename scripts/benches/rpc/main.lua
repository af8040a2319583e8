--- RPC against its peers on one machine: 64-byte echoes over loopback TCP.
---
--- Every server is loaded with 1 and 50 connections and 1, 16 and 128 requests in flight on each, by the
--- same client (load.c), in rounds, so that a slow minute of the machine hits all of them. The tables show
--- medians.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("rpc", arg,
  "A row is loaded for half a second in each run: about three minutes in all; with --full for 5 s.")
local report = require "lib.report"
local servers = require "rpc.servers"

local CELLS = {}
for _, connections in ipairs { 1, 50 } do
  for _, depth in ipairs { 1, 16, 128 } do
    CELLS[#CELLS + 1] = {
      connections = connections, depth = depth, name = ("%d x %d"):format(connections, depth),
      seconds = options.quick and 0.1 or options.full and 5 or 0.5,
    }
  end
end

local pwd = assert(io.popen "pwd")
local root = pwd:read "l"
pwd:close()
local perilune = os.getenv "PERILUNE" or "build/release/perilune"
if perilune:sub(1, 1) ~= "/" then
  perilune = root .. "/" .. perilune
end
local paths = { here = root .. "/scripts/benches/rpc", programs = perilune:match "^(.*)/" }
paths.perilune = perilune
local build = root .. "/build/bench/rpc"

-- The packages start services of their own, which RUNLEVEL=1 forbids. Debian's tarantool becomes `lua`: this
-- project calls lua5.4.
local function install_peers()
  if not options.quick and not (servers.has "redis-benchmark" and servers.has "tarantool") then
    os.execute "RUNLEVEL=1 bash -c '. scripts/packages.sh; need_packages redis-server tarantool' >&2"
  end
end

-- The servers and the client are built where the binary was.
local function prepare()
  local commands = { ("mkdir -p '%s'"):format(build),
    ("cmake --build '%s' --target bench_rpc >/dev/null"):format(paths.programs) }
  for _, command in ipairs(commands) do
    if not os.execute(command) then
      io.stderr:write("failed: ", command, "\n")
      os.exit(1)
    end
  end
  install_peers()
end

local function start_all(list)
  local started = {}
  for _, server in ipairs(list) do
    server.results = {}
    if options.only and not server.name:find(options.only, 1, true) then
      server.problem = "left out"
    elseif server.needs and not servers.has(server.needs) then
      server.problem = "skipped: not installed"
    elseif server.shares then
      local other = started[server.shares]
      server.port, server.problem = other and other.port, not other and "its server does not run" or nil
      server.measured_pid = other and other.pid
    else
      local ok, why = servers.start(server, build)
      server.problem = not ok and why or nil
      server.failed = not ok
      started[server.name] = ok and server or nil
    end
  end
end

local function measure(server, cell)
  if server.problem or server.depths and not server.depths[cell.depth] then
    return
  end
  local result, said = server.load(server, cell)
  if not result then
    server.problem, server.failed = ("%s: %s"):format(cell.name, (said or ""):match "[^\n]*"), true
    return
  end
  local results = server.results[cell.name] or {}
  server.results[cell.name] = results
  results[#results + 1] = result
end

local function median(results, field)
  local values = {}
  for _, result in ipairs(results or {}) do
    values[#values + 1] = result[field]
  end
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function print_table(list, title, field, format)
  io.write(("\n%-34s"):format(title))
  for _, cell in ipairs(CELLS) do
    io.write(("%12s"):format(cell.name))
  end
  for _, server in ipairs(list) do
    if server.problem ~= "left out" then
      io.write(("\n  %-32s"):format(server.name), server.problem or "")
      for _, cell in ipairs(server.problem and {} or CELLS) do
        local value = median(server.results[cell.name], field)
        io.write(("%12s"):format(value and format:format(value) or ""))
      end
    end
  end
  print()
end

-- The median over the rounds of how one server did beside another in the same round.
local function ratio(ours, peer, cell, field)
  local a, b, ratios = ours.results[cell.name] or {}, peer.results[cell.name] or {}, {}
  for i = 1, math.min(#a, #b) do
    ratios[#ratios + 1] = a[i][field] and b[i][field] and a[i][field] / b[i][field]
  end
  table.sort(ratios)
  return ratios[(#ratios + 1) // 2]
end

local function goals_of(list)
  local by_name, goals = {}, {}
  for _, server in ipairs(list) do
    by_name[server.name] = server
  end
  local function add(ours, peer, cell, field, what, at_least, below)
    local value = ratio(by_name[ours], by_name[peer], cell, field)
    local by_cpu = field == "per_second" and ratio(by_name[peer], by_name[ours], cell, "server_cpu_us")
    if value then
      goals[#goals + 1] = {
        what = ("%s, %s: %s"):format(what, cell.name, ours), value = ("%.2fx"):format(value),
        wanted = at_least and (">= %.2fx"):format(at_least) or below and ("< %.2fx"):format(below) or nil,
        met = value >= (at_least or 0) and value < (below or math.huge),
        by_cpu = by_cpu and ("%.2fx"):format(by_cpu) or nil,
      }
    end
  end
  local bare, c, lua = "bare libuv echo", "perilune rpc, C handler", "perilune rpc, Lua handler"
  local tarantool, netbox = "tarantool, our client", "tarantool, net.box"
  local both = "perilune rpc, Lua both ends"
  local floors = { "bare echo of rpc's 70 bytes", "echo of parsed messages", "frames (env_conn), no rpc" }
  for _, cell in ipairs(CELLS) do
    add(c, bare, cell, "per_second", "rate by bare echo's", 0.7)
    for _, floor in ipairs(cell.depth == 128 and floors or {}) do
      add(floor, bare, cell, "per_second", "rate by bare echo's")
    end
    if cell.depth > 1 then
      add(lua, netbox, cell, "per_second", "rate by net.box's", 1)
      add(lua, tarantool, cell, "per_second", "rate by tarantool's")
      add(both, netbox, cell, "per_second", "both ends by net.box's", 1)
    else
      add(c, bare, cell, "p99_us", "p99 by bare echo's", nil, 2)
    end
  end
  return goals
end

local function finish(list)
  local failed = false
  local goals = options.quick and {} or goals_of(list)
  for _, server in ipairs(list) do
    failed = failed or server.failed
  end
  if options.json then
    local rows = {}
    for _, server in ipairs(list) do
      rows[#rows + 1] = { name = server.name, problem = server.problem, results = server.results }
    end
    report.json { about = { runs = options.runs, payload_bytes = 64 }, goals = goals, rows = rows }
  else
    print_table(list, "calls per second (conns x depth)", "per_second", "%.0f")
    print_table(list, "p50, us", "p50_us", "%.0f")
    print_table(list, "p99, us", "p99_us", "%.0f")
    print_table(list, "server's processor time a call, us", "server_cpu_us", "%.2f")
    report.goals(goals)
  end
  return not failed
end

prepare()
local list = servers.list(paths)
local ok, result = xpcall(function()
  start_all(list)
  for _ = 1, options.runs do
    for _, cell in ipairs(CELLS) do
      for _, server in ipairs(list) do
        measure(server, cell)
      end
    end
  end
  return finish(list)
end, debug.traceback)
for _, server in ipairs(list) do
  servers.stop(server)
end
if not ok then
  io.stderr:write(result, "\n")
end
os.exit(ok and result)
