-- Tarantool's own client: DEPTH fibers call echo over each connection.
-- Usage: tarantool netbox.lua PORT CONNECTIONS DEPTH SECONDS; prints what load.c prints.
local clock, fiber, netbox = require "clock", require "fiber", require "net.box"
local port, connections, depth, seconds = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local payload = ("x"):rep(64)
local latencies, is_counting, is_over = {}, false, false

local function call_on(connection)
  while not is_over do
    local start = clock.monotonic()
    assert(connection:call("echo", { payload }) == payload)
    if is_counting then
      latencies[#latencies + 1] = clock.monotonic() - start
    end
  end
end

for _ = 1, connections do
  local connection = netbox.connect("127.0.0.1:" .. port)
  for _ = 1, depth do
    fiber.create(call_on, connection)
  end
end
fiber.sleep(math.min(seconds, 0.5))
is_counting = true
local start = clock.monotonic()
repeat -- an overloaded machine may need longer for the first
  fiber.sleep(seconds)
until #latencies > 0
is_over = true
local took, calls = clock.monotonic() - start, #latencies
table.sort(latencies)
print(("calls=%d per_second=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f"):format(calls, calls / took,
  latencies[math.ceil(calls * 0.5)] * 1e6, latencies[math.ceil(calls * 0.99)] * 1e6, latencies[calls] * 1e6))
os.exit(0)
