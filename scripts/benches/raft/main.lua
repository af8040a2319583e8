--- Raft: three processes with real fsync, beside the disk alone and beside libraft; failover; idle groups;
--- the log store and the core by themselves.
---
--- This file builds the programs; measure.lua runs in perilune, whose fibers talk to several at a time.
package.path = "scripts/benches/?.lua;" .. package.path
local options = require("lib.options").parse("raft", arg)

local PERILUNE = os.getenv "PERILUNE" or "build/release/perilune"
local BUILD = "build/bench/raft"
local LIBRAFT = ("cc -std=gnu11 -O2 -o %s/libraft scripts/benches/raft/libraft.c scripts/benches/raft/load.c")
  :format(BUILD) .. " -lraft -luv"

local function must(command)
  if not os.execute(command) then
    io.stderr:write("failed: ", command, "\n")
    os.exit(1)
  end
end

local function has_libraft()
  return os.execute "test -e /usr/include/raft.h" == true
end

must(("mkdir -p %s/data"):format(BUILD))
local log = BUILD .. "/build.log"
local build = "cmake --preset release && cmake --build '%s' --target bench_raft"
must(("{ " .. build .. "; } >%s 2>&1 || { tail -20 %s; false; }"):format(PERILUNE:match "^(.*)/" or ".",
  log, log))
if not options.quick and not has_libraft() then
  os.execute "bash -c '. scripts/packages.sh; need_packages libraft-dev' >&2"
end
if has_libraft() then
  must(LIBRAFT)
else
  os.remove(BUILD .. "/libraft")
end

local words = { ("PERILUNE='%s' '%s' run scripts/benches/raft/measure.lua"):format(PERILUNE, PERILUNE) }
for _, word in ipairs(arg) do
  words[#words + 1] = "'" .. word:gsub("'", "'\\''") .. "'"
end
os.exit(os.execute(table.concat(words, " ")) == true)
