-- Talks to itself over loopback TCP, with one message of most kinds. session.pcap.gz is a recording of it:
--   tshark -i lo -f "tcp port 7199" -F pcap -w session.pcap &
--   build/release/perilune run tests/data/rpc/session.lua
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local server = assert(rpc.serve({
  echo = function(...) return ... end,
  fail = function() error { code = "EFULL", message = "the store is full", retryable = true } end,
  note = function() end,
  count = function(n)
    for i = 1, n do
      rpc.yield(i)
    end
  end,
}, { listen = "127.0.0.1:7199", node = "n2", cluster = "moon" }))
local peer = assert(rpc.connect("127.0.0.1:7199", { node = "n1", cluster = "moon", ping = 0.1 }))
assert(peer:call("echo", "hello", 42, { x = 1.5, list = { true, false } }))
assert(not peer:call("fail"))
assert(not peer:call "no_such_function")
assert(peer:cast("note", "nobody answers"))
for _ in peer:stream("count", 3) do end
assert(#peer:call("echo", ("x"):rep(600000)) == 600000)
perilune.sleep(0.3)
peer:close()
server:close()
