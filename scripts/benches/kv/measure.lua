-- What main.lua runs in perilune: all sections, then the goals.
package.path = "scripts/benches/?.lua;" .. package.path

local pwd = require("perilune.process").run { "pwd" }.stdout:match "[^\n]*"
local perilune = os.getenv "PERILUNE"
if perilune:sub(1, 1) ~= "/" then
  perilune = pwd .. "/" .. perilune
end

require("lib.sections").run("kv", { "kv.idle", "kv.loads", "kv.resp", "kv.failover" },
  require("lib.options").parse("kv", { ... }), {
    perilune = perilune,
    programs = perilune:match "^.*/",
    here = pwd .. "/scripts/benches/kv",
    directory = pwd .. "/build/bench/kv/data", -- of nodes
  })
