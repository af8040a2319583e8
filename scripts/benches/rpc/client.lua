-- Perilune's own client: DEPTH fibers call echo over each connection.
-- Usage: perilune run client.lua PORT CONNECTIONS DEPTH SECONDS; prints what load.c prints.
local fiber = require "perilune.fiber"
local rpc = require "perilune.rpc"
local port, connections, depth, seconds = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local payload = ("x"):rep(64)
local latencies, is_counting, is_over = {}, false, false

local function call_on(peer)
  while not is_over do
    local start = fiber.now()
    assert(peer:call("echo", payload) == payload)
    if is_counting then
      latencies[#latencies + 1] = fiber.now() - start
    end
  end
end

for number = 1, connections do -- as so many nodes, because peers of one node share a connection
  local peer = rpc.connect("127.0.0.1:" .. port, { cluster = "bench", node = "load" .. number })
  for _ = 1, depth do
    fiber.spawn(call_on, peer)
  end
end
fiber.sleep(math.min(seconds, 0.5))
is_counting = true
local start = fiber.now()
repeat -- an overloaded machine may need longer for the first
  fiber.sleep(seconds)
until #latencies > 0
is_over = true
local took, calls = fiber.now() - start, #latencies
table.sort(latencies)
print(("calls=%d per_second=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f"):format(calls, calls / took,
  latencies[math.ceil(calls * 0.5)] * 1e6, latencies[math.ceil(calls * 0.99)] * 1e6, latencies[calls] * 1e6))
os.exit(0)
