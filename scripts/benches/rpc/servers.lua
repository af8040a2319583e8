--- Who is measured: how each server starts, and who loads it.
local M = {}

local function capture(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  return pipe:close() and output or nil, output
end

--- Is there a program of this name or path?
---@param program string
---@return boolean
function M.has(program)
  return os.execute(("command -v '%s' >/dev/null 2>&1"):format(program)) == true
end

-- The server on one processor, the client on another: otherwise the moods of the scheduler are measured.
local function on_cpu(number, command)
  return M.has "taskset" and ("taskset -c %d %s"):format(number, command) or command
end

local function numbers_of(line)
  local result = {}
  for key, value in (line or ""):gmatch "([%w_]+)=([%d.]+)" do
    result[key] = tonumber(value)
  end
  return result.per_second and result or nil
end

-- A client that prints "name=number ...".
local function client(command)
  return function(server, cell)
    local output, said = capture(on_cpu(1, command(server, cell) .. " 2>&1"))
    return numbers_of(output), said
  end
end

local function load_with(protocol, programs)
  return client(function(server, cell)
    return ("%s/bench_rpc_load %s %s %s %d %d %g"):format(programs, protocol, server.port,
      server.measured_pid or server.pid, cell.connections, cell.depth, cell.seconds)
  end)
end

local function own_client(paths)
  return client(function(server, cell)
    return ("%s run %s/client.lua %s %d %d %g"):format(paths.perilune, paths.here, server.port,
      cell.connections, cell.depth, cell.seconds)
  end)
end

local function netbox(here)
  return client(function(server, cell)
    return ("tarantool %s/netbox.lua %s %d %d %g"):format(here, server.port, cell.connections, cell.depth,
      cell.seconds)
  end)
end

-- It counts requests, not seconds, so it is asked how fast it is before it is measured.
local function redis_benchmark(server, cell)
  local function benchmark(count)
    local command = ("redis-benchmark -p %s -t ping_mbulk -c %d -P %d -n %d --csv 2>&1")
      :format(server.port, cell.connections, cell.depth, count)
    local output, said = capture(on_cpu(1, command))
    local row, fields = (output or ""):match '"PING_MBULK"[^\n]*', {}
    for field in (row or ""):gmatch '"([^"]*)"' do
      fields[#fields + 1] = field
    end
    return tonumber(fields[2]), fields, said
  end
  local rate, fields, said = benchmark(2000 * cell.depth)
  if rate then
    rate, fields, said = benchmark(math.max(2000, math.ceil(rate * cell.seconds)))
  end
  return rate and { per_second = rate, p50_us = fields[5] * 1000, p99_us = fields[7] * 1000 }, said
end

--- All servers, in the order of the table. A row with `shares` is another client for the server of that name.
---@param paths { here: string, programs: string, perilune: string }
---@return table[]
function M.list(paths)
  local port = 20000 + os.time() % 20000
  local here, programs = paths.here, paths.programs
  return {
    { name = "bare libuv echo", command = programs .. "/bench_rpc_uv", load = load_with("raw", programs) },
    { name = "bare echo of rpc's 70 bytes", shares = "bare libuv echo", load = load_with("long", programs) },
    { name = "echo of parsed messages", command = programs .. "/bench_rpc_uv messages",
      load = load_with("raw", programs) },
    { name = "frames (env_conn), no rpc", command = programs .. "/bench_rpc_env",
      load = load_with("frame", programs) },
    { name = "perilune rpc, C handler", command = programs .. "/bench_rpc_echo",
      load = load_with("rpc", programs) },
    { name = "perilune rpc, Lua handler", command = ("%s run %s/echo.lua"):format(paths.perilune, here),
      load = load_with("rpc", programs) },
    { name = "perilune rpc, Lua both ends", shares = "perilune rpc, Lua handler", load = own_client(paths) },
    { name = "tarantool, our client", command = ("tarantool %s/echo_tarantool.lua %d"):format(here, port + 1),
      load = load_with("iproto", programs), needs = "tarantool" },
    { name = "tarantool, net.box", shares = "tarantool, our client", load = netbox(here),
      needs = "tarantool" },
    { name = "redis, redis-benchmark -t ping", port = port, depths = { [1] = true, [16] = true },
      command = ("redis-server --port %d --save '' --dir ."):format(port), load = redis_benchmark,
      needs = "redis-benchmark" },
  }
end

local function log_of(path)
  local file = io.open(path)
  local text = file and file:read "a" or ""
  if file then
    file:close()
  end
  return text
end

--- Starts a server in the folder `build`, and waits until it listens. Sets its pid and port.
---@return boolean|nil ok
---@return string|nil why
function M.start(server, build)
  local log = server.name:gsub("%W+", "_") .. ".log"
  local command = ("cd %s && { %s >%s 2>&1 & echo $!; }"):format(build, on_cpu(0, server.command), log)
  server.pid = capture(command):match "%d+"
  for _ = 1, 100 do
    local text = log_of(build .. "/" .. log)
    local port = text:match "listening at [%d.]+:(%d+)" or text:find "Ready to accept" and server.port
    if port then
      server.port = port
      return true
    end
    os.execute "sleep 0.05"
  end
  return nil, ("it did not start: %s/%s"):format(build, log)
end

--- Ends a server that M.start started.
function M.stop(server)
  if server.pid then
    os.execute(("kill %s 2>/dev/null"):format(server.pid))
    server.pid = nil
  end
end

return M
