--- The key/value store: three processes with real fsync, beside a bare loop of group commit, etcd, Tarantool
--- and Redis, over loopback TCP and with the same client; failover; memory and start.
---
--- This file builds the programs; measure.lua runs in perilune, whose fibers talk to several at a time.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("kv", arg, "Five minutes with --runs 3.")

local PERILUNE = os.getenv "PERILUNE" or "build/release/perilune"
local BUILD = "build/bench/kv"
local PEERS = { redis = "redis-server", etcd = "etcd-server etcd-client", tarantool = "tarantool" }

local function must(command)
  if not os.execute(command) then
    io.stderr:write("failed: ", command, "\n")
    os.exit(1)
  end
end

local function has(program)
  return os.execute(("command -v '%s' >/dev/null 2>&1"):format(program)) == true
end

must(("mkdir -p %s/data"):format(BUILD))
local log = BUILD .. "/build.log"
local build = "cmake --preset release && cmake --build '%s' --target bench_kv"
must(("{ " .. build .. "; } >%s 2>&1 || { tail -20 %s; false; }"):format(PERILUNE:match "^(.*)/" or ".",
  log, log))
-- The packages start services of their own, which RUNLEVEL=1 forbids.
if not options.quick and not (has "redis-server" and has "etcd" and has "etcdctl" and has "tarantool") then
  os.execute(("RUNLEVEL=1 bash -c '. scripts/packages.sh; need_packages %s %s %s' >&2"):format(PEERS.redis,
    PEERS.etcd, PEERS.tarantool))
end

local words = { ("PERILUNE='%s' '%s' run scripts/benches/kv/measure.lua"):format(PERILUNE, PERILUNE) }
for _, word in ipairs(arg) do
  words[#words + 1] = "'" .. word:gsub("'", "'\\''") .. "'"
end
os.exit(os.execute(table.concat(words, " ")) == true)
