-- What the clients of servers that have their own do, for Lua 5.4 and for LuaJIT: DEPTH fibers call over each
-- of CONNECTIONS connections for SECONDS, after a warm-up; prints what load.c prints.
-- client: { now =, sleep =, spawn =, connect = function(port, number), call = function(connection, payload) }
return function(client, port, connections, depth, seconds)
  local payload = ("x"):rep(64)
  local now, call = client.now, client.call
  local latencies, is_counting, is_over = {}, false, false

  local function call_on(connection)
    while not is_over do
      local start = now()
      assert(call(connection, payload) == payload)
      if is_counting then
        latencies[#latencies + 1] = now() - start
      end
    end
  end

  for number = 1, connections do
    local connection = client.connect(port, number)
    for _ = 1, depth do
      client.spawn(call_on, connection)
    end
  end
  client.sleep(math.min(seconds / 2, 0.5))
  is_counting = true
  local start = now()
  repeat -- an overloaded machine may need longer for the first
    client.sleep(seconds)
  until #latencies > 0
  is_over = true
  local took, calls = now() - start, #latencies
  table.sort(latencies)
  local function percentile_us(share)
    return latencies[math.ceil(calls * share)] * 1e6
  end
  print(("calls=%d per_second=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f"):format(calls, calls / took,
    percentile_us(0.5), percentile_us(0.99), percentile_us(1)))
  os.exit(0)
end
