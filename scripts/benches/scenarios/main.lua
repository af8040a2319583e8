--- What whole runs of scenarios cost: a cold start, a thousand Lua states, seeds in a row.
package.path = "scripts/benches/?.lua;" .. package.path
local Bench = require "lib.bench"
local options = require("lib.options").parse("scenarios", arg)

local MEBIBYTE = 1024 * 1024

local pwd = assert(io.popen "pwd")
local root = pwd:read "l"
pwd:close()
local perilune = os.getenv "PERILUNE" or root .. "/build/release/perilune"
os.execute "mkdir -p build/bench"

local bench = Bench.new {
  name = "scenarios", build = root .. "/build/bench", runs = options.runs, only = options.only,
  json = options.json, outputs = "none", has_goals = not options.quick,
}

local function sim(path, more)
  return ("exec %s sim %s/%s --quiet %s"):format(perilune, root, path, more)
end

if not Bench.has(perilune) then
  io.stderr:write(("scripts/bench: %s is missing\nhint: build it with scripts/quickstart\n"):format(perilune))
  os.exit(1)
end
local nodes, seeds = options.quick and 50 or 1000, options.quick and 10 or 1000
bench:section("Whole runs", {
  { name = "ping, cold", command = sim("examples/scenarios/ping.lua", ""), runs = options.quick and 1 or 21 },
  { name = ("gossip among %d nodes"):format(nodes), command = sim("tests/sim/gossip_1000.lua",
    "--arg nodes=" .. nodes) },
  { name = ("%d seeds of ping"):format(seeds), command = sim("examples/scenarios/ping.lua",
    "--seeds 1.." .. seeds) },
  { name = ("%d seeds of the soak, each twice"):format(seeds), command = sim("tests/sim/relay.lua",
    "--verify --seeds 1.." .. seeds) },
})
bench:time_below("cold start to verdict", "ping, cold", 0.1)
bench:memory_below("a thousand nodes in one process", "gossip among 1000 nodes", 1024 * MEBIBYTE)
bench:time_below("10,000 seeds in minutes: a thousand", "1000 seeds of ping", 30)
os.exit(bench:finish { runs = options.runs, version = bench:capture(perilune .. " version") })
