--- MapReduce against its peers on one machine: word count, grep, sort, memory, start-up.
package.path = "scripts/benches/?.lua;" .. package.path
local Bench = require "lib.bench"
local inputs = require "mapreduce.inputs"
local options = require("lib.options").parse("mapreduce", arg)

local MEBIBYTE = 1024 * 1024
local DUCKDB = "@duckdb/node-api@1.5.6-r.1"

local pwd = assert(io.popen "pwd")
local root = pwd:read "l"
pwd:close()
local here = root .. "/scripts/benches/mapreduce"
local perilune = os.getenv "PERILUNE" or root .. "/build/release/perilune"
os.execute "mkdir -p build/bench"

local bench = Bench.new {
  name = "mapreduce",
  build = root .. "/build/bench",
  runs = options.runs,
  only = options.only,
  json = options.json,
  outputs = "mr sorted",
  has_goals = not options.quick,
}
bench:compile("wordcount", "scripts/benches/mapreduce/peers/wordcount.c")
bench:compile("zipf", "scripts/benches/mapreduce/tools/zipf.c")
bench:compile("gensort", "scripts/benches/mapreduce/tools/gensort.c")
bench:compile("valsort", "scripts/benches/mapreduce/tools/valsort.c", "-lz")

local function mr(job, input, more)
  return ("%s mr %s/jobs/%s.lua %s -o mr --force --quiet %s")
    :format(perilune, here, job, input, more)
end

-- The generators against published checksums (sortbenchmark.org), and skipping ahead against not.
local function check_generators()
  local expected = { ascii = "1f5dfb3631a", ["v1.1"] = "1f9ffe645ec", ["v1.5"] = "1ea6370b955" }
  for kind, checksum in pairs(expected) do
    local said = bench:capture(("{ ./gensort %s 400; ./gensort %s 600 400; } | ./valsort || true")
      :format(kind, kind))
    assert(said:find("records 1000 checksum " .. checksum, 1, true), "gensort " .. kind .. ": " .. said)
  end
end

-- Why DuckDB cannot run here, or nil. npm installs it into the build folder once, but not for --quick.
local function why_no_duckdb()
  if os.execute "test -d build/bench/node_modules/@duckdb/node-api" then
    return nil
  elseif options.quick then
    return "skipped: not installed yet"
  elseif not Bench.has "npm" then
    return "skipped: npm is not installed"
  end
  local done = os.execute(("npm install --prefix build/bench --no-fund --no-audit --loglevel=error %s %s")
    :format(DUCKDB, ">build/bench/npm.log 2>&1"))
  return not done and "skipped: npm could not install it (build/bench/npm.log)" or nil
end

-- All programs must print the counts that the first one printed.
local function same_counts()
  local expected
  return function(files)
    return function()
      local sum = bench:capture(("cat %s | LC_ALL=C sort | md5sum"):format(files))
      expected = expected or sum
      return sum ~= expected and "WRONG: other counts than the first program" or nil
    end
  end
end

local function word_count(name, path)
  local size, check, rows = Bench.size_of(path), same_counts(), {}
  local function named(what)
    return name .. ": " .. what
  end
  local function add(what, needs, command, more)
    local row = { name = named(what), needs = needs, command = command, input = path }
    row.check = check "out"
    for field, value in pairs(more or {}) do
      row[field] = value
    end
    table.insert(rows, row)
  end
  local count = "END { for (w in n) print w, n[w] }"
  add("C hash table", "cc", "./wordcount " .. path)
  add("mawk", "mawk", ([[mawk -F '[^A-Za-z]+' '{ for (i = 1; i <= NF; i++) if ($i != "") n[$i]++ } %s' %s]])
    :format(count, path))
  add("mawk, a word a record", "mawk",
    ([[mawk 'BEGIN { RS = "[^A-Za-z]+" } $0 != "" { n[$0]++ } %s' %s]]):format(count, path))
  add("tr | sort | uniq -c", "sort",
    ([[tr -cs A-Za-z '\n' <%s | grep . | sort | uniq -c | awk '{ print $2, $1 }']]):format(path))
  add("Lua script", "lua5.4", ("lua5.4 %s/peers/wordcount.lua %s"):format(here, path))
  for processes = 1, 2 do
    add(("Python Counter, %d processes"):format(processes), "python3",
      ("python3 %s/peers/wordcount.py %s %d"):format(here, path, processes))
  end
  local no_duckdb = why_no_duckdb()
  for threads = 1, 2 do
    add(("DuckDB, %d threads"):format(threads), "node",
      ("NODE_PATH=node_modules node %s/peers/duckdb.js %s %d"):format(here, path, threads),
      { skip = no_duckdb })
  end
  for workers = 1, 2 do
    for _, job in ipairs { "gmatch", "words", "bulk", "words by chunk", "bulk by chunk" } do
      local input = job:match " by (%a+)"
      local more = ("--workers %d %s"):format(workers, input and "--arg input=" .. input or "")
      add(("perilune %s, %d workers"):format(job, workers), perilune, mr(job:match "%a+", path, more),
        { check = check "mr/part-*" })
    end
  end
  bench:section(("Word count, %.0f MB: %s"):format(size / 1e6, name), rows)

  local one, two = named "perilune %s, 1 workers", named "perilune %s, 2 workers"
  bench:ratio(named "gmatch in map / Lua script", one:format "gmatch", named "Lua script", 1.0)
  bench:ratio(named "rec:words() / mawk", one:format "words", named "mawk", 1.8)
  bench:ratio(named "rec:words() by chunk / mawk", one:format "words by chunk", named "mawk", 1.8)
  bench:ratio(named "rec:words() / mawk, a word a record", one:format "words",
    named "mawk, a word a record")
  bench:ratio(named "out:words / C hash table", one:format "bulk", named "C hash table", 0.6)
  bench:ratio(named "out:words by chunk / C hash table", one:format "bulk by chunk",
    named "C hash table", 0.6)
  for _, job in ipairs { "gmatch", "words", "bulk" } do
    bench:ratio(named(job .. ", two workers / one"), two:format(job), one:format(job), 1.8)
  end
  bench:ratio(named "rec:words(), two workers / DuckDB", two:format "words",
    named "DuckDB, 2 threads", 2.0)
  bench:ratio(named "rec:words() by chunk, two workers / DuckDB", two:format "words by chunk",
    named "DuckDB, 2 threads", 2.0)
end

local function grep(path)
  local size = Bench.size_of(path)
  local expected
  local function check(command)
    return function()
      local found = bench:capture(command)
      expected = expected or found
      return found ~= expected and ("WRONG: %s lines instead of %s"):format(found, expected) or nil
    end
  end
  local rows = {
    { name = "grep -c", command = "grep -c Holmes " .. path, input = path, check = check "cat out" },
  }
  for workers = 1, 2 do
    for _, by in ipairs { "line", "chunk" } do
      local input = by == "chunk" and "--arg input=chunk" or ""
      table.insert(rows, {
        name = ("perilune grep by %s, %d workers"):format(by, workers),
        command = mr("grep", path, ("--arg text=Holmes --workers %d %s"):format(workers, input)),
        input = path,
        check = check "cat mr/part-* | cut -d ' ' -f 2",
      })
    end
  end
  bench:section(("Lines that contain 'Holmes', %.0f MB"):format(size / 1e6), rows)
  bench:ratio("grep by line / grep -c", "perilune grep by line, 1 workers", "grep -c", 0.5)
  bench:ratio("grep by chunk / grep -c", "perilune grep by chunk, 1 workers", "grep -c", 0.5)
end

local function sorted(files, expected)
  return function()
    local said = bench:capture(("cat %s | ./valsort || true"):format(files))
    local is_sorted = said:find("unordered 0", 1, true) and said:find(expected, 1, true) == 1
    return not is_sorted and "WRONG: " .. said or nil
  end
end

-- Equal memory: what sort's -S gives to the one process, our workers share.
local function sort(name, count, mebibytes)
  local path, expected = inputs.records(bench, count)
  local size = Bench.size_of(path)
  local rows = {}
  for threads = 1, 2 do
    table.insert(rows, {
      name = ("%s: GNU sort, %d threads"):format(name, threads),
      command = ("sort -S %dM --parallel=%d -T . -o sorted %s"):format(mebibytes, threads, path),
      input = path,
      check = sorted("sorted", expected),
    })
  end
  for workers = 1, 2 do
    table.insert(rows, {
      name = ("%s: perilune sort, %d workers"):format(name, workers),
      command = mr("sort", path, ("--workers %d --memory %dM"):format(workers, mebibytes // workers)),
      input = path,
      check = sorted("mr/part-*", expected),
    })
  end
  bench:section(("Sort of %d records, %.0f MB, in %d MiB"):format(count, size / 1e6, mebibytes), rows)
  local ours, peer = name .. ": perilune sort, %d workers", name .. ": GNU sort, %d threads"
  bench:ratio(name .. ": one worker / GNU sort, one thread", ours:format(1), peer:format(1), 1.0)
  bench:ratio(name .. ": two workers / GNU sort, two threads", ours:format(2), peer:format(2), 1.5)
end

-- A job larger than its workers' memory.
local function bounded(count, mebibytes)
  local path, expected = inputs.records(bench, count)
  local size = Bench.size_of(path)
  local name = ("perilune sort in %d MiB, 2 workers"):format(mebibytes)
  bench:section(("More records than memory, %.0f MB"):format(size / 1e6), {
    {
      name = name,
      command = mr("sort", path, ("--workers 2 --memory %dM"):format(mebibytes)),
      input = path,
      check = sorted("mr/part-*", expected),
    },
  })
  bench:memory_below(("largest process, %.0f MB in %d MiB"):format(size / 1e6, mebibytes), name,
    (mebibytes + 32) * MEBIBYTE)
end

local function start_up()
  bench:capture "printf '' >empty.lua; echo one line >line.txt"
  local runs = options.quick and 1 or 21
  bench:section("Start-up", {
    { name = "lua5.4, empty script", command = "exec lua5.4 empty.lua", runs = runs },
    { name = "perilune run, empty script", command = "exec " .. perilune .. " run empty.lua", runs = runs },
    { name = "perilune mr, one line", command = "exec " .. mr("bulk", "line.txt", "--workers 1"),
      runs = runs },
  })
  bench:time_below("empty script", "perilune run, empty script", 0.010)
  bench:memory_below("empty script", "perilune run, empty script", 10 * MEBIBYTE)
  bench:time_below("whole job of one line, start to exit", "perilune mr, one line", 0.050)
end

if not Bench.has(perilune) then
  io.stderr:write(("scripts/bench: %s is missing\nhint: build it with scripts/quickstart\n"):format(perilune))
  os.exit(1)
end
check_generators()
local size = options.quick and 4000000 or 100000000
local books = inputs.books(bench, root, size)
word_count("books", books)
grep(books)
sort("sort", size // 100, options.quick and 16 or 64)
bounded(options.quick and 200000 or 1000000, options.quick and 8 or 10)
if options.full then
  word_count("zipf", inputs.zipf(bench, 1000000000))
  sort("1 GB sort", 10000000, 256)
end
start_up()
os.exit(bench:finish { runs = options.runs, version = bench:capture(perilune .. " version") })
