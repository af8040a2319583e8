-- What main.lua runs in perilune: all sections, then the goals.
package.path = "scripts/benches/?.lua;" .. package.path

require("lib.sections").run("raft",
  { "raft.loads", "raft.failover", "raft.idle", "raft.compaction", "raft.alone" },
  require("lib.options").parse("raft", { ... }), {
    directory = "build/bench/raft/data", -- of nodes
    libraft = "build/bench/raft/libraft",
    programs = os.getenv "PERILUNE":match "^.*/" or "./",
  })
