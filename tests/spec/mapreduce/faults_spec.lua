-- Jobs among failures: killed workers, killed runs, damage between steps, bad input, full disks. Whatever
-- happens, the output is the right one, or there is none, and nothing else is left behind.
local cli = require "support.binary"
local fs = require "perilune.fs"
local inline = require "perilune.mapreduce.inline"
local json = require "perilune.json"
local mr = require "perilune.mapreduce"
local perilune = require "perilune"
local process = require "perilune.process"
local jobs = require "support.jobs"
local support_text = require "support.text"

local BOOKS = os.getenv "PERILUNE_BOOKS" or "../shared/data/gutenberg"
local EXPECTED = "62e82bfba04609a770b1c7ee461bd486"
local COUNT = [[return { attempts = 100, reduce = %s, %s
  map = function(rec, out) %s out:words(rec, 1) end }]]
local LUA_SUM = [[function(key, values, out)
  local n = 0 for v in values do n = n + v end out(key, n) end]]

describe("faults", function()
  local folder, out

  before_each(function()
    folder = assert(fs.tempdir())
    out = folder .. "/out"
  end)

  after_each(function()
    fs.remove(folder, { recursive = true })
  end)

  local function job(source)
    assert(fs.write(folder .. "/job.lua", source))
    return folder .. "/job.lua"
  end

  local function input(bytes)
    assert(fs.write(folder .. "/input", bytes))
    return folder .. "/input"
  end

  local function count(work, reduce, more)
    return job(COUNT:format(reduce or '"sum"', more and more .. "," or "", work or ""))
  end

  local function need_books()
    if not fs.exists(BOOKS) then
      pending(("the books are not at %s (set PERILUNE_BOOKS)"):format(BOOKS))
    end
  end

  local function digest()
    return support_text.digest(jobs.output(out))
  end

  -- What stands beside the job and its input: nothing of ours may.
  local function left()
    local names = {}
    for _, name in ipairs(assert(fs.list(folder))) do
      if name ~= "job.lua" and name ~= "input" and name ~= "out" then
        names[#names + 1] = name
      end
    end
    return names
  end

  local function run(path, ...)
    return cli.run { "mr", path, "-o", out, ... }
  end

  local function start(path, ...)
    return assert(process.spawn { cli.path, "mr", path, "-o", out, "--quiet", "--workers", "2",
      stderr = "null", stdout = "null", ... })
  end

  local function children_of(pid)
    local found = {}
    for number in assert(process.run { "pgrep", "-P", tostring(pid) }).stdout:gmatch "%d+" do
      found[#found + 1] = number
    end
    return found
  end

  local function wait_until(what, is_so)
    for _ = 1, 400 do
      if is_so() then
        return
      end
      perilune.sleep(0.025)
    end
    error("waited in vain for " .. what)
  end

  describe("the output is the same", function()
    local cases = {
      { "--workers", "1", "--reduces", "1" },
      { "--workers", "3", "--reduces", "50", "--split", "1" },
      { "--workers", "8", "--reduces", "7", "--split", "64k" },
      { "--workers", "2", "--reduces", "13", "--split", "64M", "--memory", "8M" },
    }
    for _, options in ipairs(cases) do
      it("with " .. table.concat(options, " "), function()
        need_books()
        local ways = { { '"sum"' }, { LUA_SUM }, { LUA_SUM, 'combine = "sum"' },
          { LUA_SUM, "combine = " .. LUA_SUM } }
        local way = ways[tonumber(options[4]) % #ways + 1]
        local result = run(count("", way[1], way[2]), BOOKS, table.unpack(options))
        assert.equal(0, result.status, result.stderr)
        assert.equal(EXPECTED, digest())
        assert.same({}, left())
      end)
    end

    it("from standard input, with another order of files", function()
      need_books()
      local texts = {}
      for i, path in ipairs(assert(fs.glob(BOOKS .. "/*.txt"))) do
        texts[i] = assert(fs.read(path))
      end
      local result = cli.run { "mr", count(), "-", "-o", out, "--json", input = table.concat(texts) }
      assert.equal(0, result.status, result.stderr)
      assert.equal(21845, json.decode(result.stdout).records_out)
      assert.equal(EXPECTED, digest())
    end)

    it("while workers are killed", function()
      need_books()
      local work = "local s = 0 for i = 1, 3000 do s = s + i end"
      local child = start(count(work), BOOKS, "--split", "256k", "--reduces", "4")
      local killed = 0
      local killer = perilune.spawn(function()
        while killed < 6 do
          perilune.sleep(0.1)
          for _, worker in ipairs(children_of(child:pid())) do
            process.run { "kill", "-9", worker }
            killed = killed + 1
          end
        end
      end)
      local exit = child:wait()
      killer:cancel "done"
      assert.equal(0, exit.status)
      assert.is_true(killed > 0)
      assert.equal(EXPECTED, digest())
      assert.same({}, left())
    end)
  end)

  it("a worker that is frozen is replaced by a backup attempt", function()
    assert(fs.write(folder .. "/input", ("a b\n"):rep(1000)))
    local child = start(count("local s = 0 for i = 1, 30000 do s = s + i end", nil, 'backup = "200ms"'),
      folder .. "/input", "--split", "2k")
    wait_until("workers", function()
      return #children_of(child:pid()) == 2
    end)
    perilune.sleep(0.1)
    assert(process.run { "kill", "-STOP", children_of(child:pid())[1] })
    assert.equal(0, child:wait().status)
    assert.equal("a 1000\nb 1000\n", assert(fs.read(out .. "/part-00000")))
    assert.same({}, left())
  end)

  for _, case in ipairs { { "TERM", 15, 143 }, { "INT", 2, 130 } } do
    it(("SIG%s leaves nothing behind and exits with %d"):format(case[1], case[3]), function()
      assert(fs.write(folder .. "/input", ("a b\n"):rep(100)))
      local child = start(count "while true do end", folder .. "/input")
      local workers
      wait_until("workers", function()
        workers = children_of(child:pid())
        return #workers == 2 and #left() == 1 and not left()[1]:find "new$"
      end)
      child:kill(case[2])
      assert.equal(case[3], child:wait().status)
      assert.same({}, left())
      assert.is_false(fs.exists(out))
      wait_until("the workers' end", function()
        return not (fs.exists("/proc/" .. workers[1]) or fs.exists("/proc/" .. workers[2]))
      end)
    end)
  end

  it("the next run clears what a killed one left, and says so", function()
    assert(fs.write(folder .. "/input", ("a b\n"):rep(100)))
    local child = start(count "while true do end", folder .. "/input")
    local workers
    wait_until("workers", function()
      workers = children_of(child:pid())
      return #workers == 2 and #left() == 1 and not left()[1]:find "new$"
    end)
    child:kill(9)
    assert.equal(9, child:wait().signal)
    wait_until("the workers' end", function()
      return not (fs.exists("/proc/" .. workers[1]) or fs.exists("/proc/" .. workers[2]))
    end)
    local dead = left()[1]
    local result = run(count(), folder .. "/input")
    assert.equal(0, result.status, result.stderr)
    assert.matches(("removed %s/%s, left by a run that did not end"):format(folder, dead), result.stderr,
      1, true)
    assert.same({}, left())
  end)

  it("a run leaves the directory of one that is alive alone", function()
    assert(fs.write(folder .. "/input", "a\n"))
    local child = start(count "while true do end", folder .. "/input")
    wait_until("its directory", function()
      return left()[1] ~= nil and not left()[1]:find "new$"
    end)
    assert(fs.mkdir(folder .. "/other"))
    assert(fs.write(folder .. "/other/job.lua", "return { map = function(rec, out) out(rec, 1) end }"))
    local result = cli.run { "mr", folder .. "/other/job.lua", folder .. "/input", "-o", folder .. "/out2" }
    assert.equal(0, result.status, result.stderr)
    assert.equal(3, #left()) -- the directory, other and out2
    child:kill(15)
    child:wait()
  end)

  describe("a changed byte in what one step hands to the next", function()
    local PIPELINE = [[return { pipeline = {
      { cache = "words", map = function(rec, out) out:count("parsed") out:words(rec, 1) end,
        reduce = function(key, values, out) out(key, values:count()) end },
      { join = "words", reduce = function(key, values, out)
          local sum = 0
          for v in values do sum = sum + v end
          out(key, sum)
        end } } }]]

    -- Changes the file at a path that is_chosen picks, before it is read; so often at most.
    local function damaging_handover(is_chosen, most)
      local executor, damaged = inline.start(), {}
      local assign = executor.assign
      function executor.assign(self, worker, spec)
        local path = is_chosen(spec)
        if path and #damaged < most and path ~= damaged[#damaged] then
          damaged[#damaged + 1] = path
          local bytes = assert(fs.read(path))
          local middle = #bytes // 2
          assert(fs.write(path, bytes:sub(1, middle - 1) .. string.char(bytes:byte(middle) ~ 1)
            .. bytes:sub(middle + 1)))
        end
        assign(self, worker, spec)
      end
      return executor, damaged
    end

    local chosen = {
      source = function(spec)
        return spec.source
      end,
      joined = function(spec)
        return spec.origins and spec.origins[1] == 0 and spec.inputs[1]
      end,
    }

    local function run_pipeline(executor, notes)
      return mr.run { job = job(PIPELINE), inputs = { input(("a b c d e\n"):rep(50)) }, out = out,
        workers = 1, reduces = 1, executor = executor, on_note = function(text)
          notes[#notes + 1] = text
        end }
    end

    for field, is_chosen in pairs(chosen) do
      it("makes the steps start over: " .. field, function()
        local notes = {}
        local executor, damaged = damaging_handover(is_chosen, 1)
        local result = assert(run_pipeline(executor, notes))
        assert.equal(1, #damaged)
        assert.equal(1, result.restarts)
        assert.matches("starting over: ", notes[1], 1, true)
        assert.same({ parsed = 50 }, result.counters)
        assert.equal("a 100\nb 100\nc 100\nd 100\ne 100\n", assert(fs.read(out .. "/part-00000")))
        assert.same({}, left())
      end)

      it("ends the job when it happens again: " .. field, function()
        local notes = {}
        local executor, damaged = damaging_handover(is_chosen, math.huge)
        local result, err, code = run_pipeline(executor, notes)
        assert.is_nil(result)
        assert.equal("ECORRUPT", code)
        assert.matches("was damaged, and again after starting over: ", err, 1, true)
        assert.equal(2, #damaged)
        assert.equal(1, #notes)
        assert.same({}, left())
        assert.is_false(fs.exists(out))
      end)
    end

    it("is not what an input that shrinks is", function()
      local notes, executor, maps = {}, inline.start(), 0
      local assign = executor.assign
      function executor.assign(self, worker, spec)
        maps = maps + (spec.kind == "map" and 1 or 0)
        if maps == 2 then
          assert(fs.write(folder .. "/input", "a"))
        end
        assign(self, worker, spec)
      end
      local result, err = mr.run { job = job [[
        local function map(rec, out) out:words(rec, 1) end
        return { pipeline = { { cache = "words", map = map },
          { map = map, join = "words", reduce = function(key, vs, out) out(key, vs:count()) end } } }]],
        inputs = { input(("a b\n"):rep(50)) }, out = out, workers = 1, reduces = 1, executor = executor,
        on_note = function(text)
          notes[#notes + 1] = text
        end }
      assert.is_nil(result)
      assert.matches("the file shrank to 1 bytes since the job was planned", err, 1, true)
      assert.same({}, notes)
    end)
  end)

  describe("bad input:", function()
    local function refused(status, message, path, ...)
      local result = run(path, ...)
      assert.equal(status, result.status, result.stderr)
      assert.matches(message, result.stderr, 1, true)
      assert.same({}, left())
      assert.is_false(fs.exists(out))
      return result
    end

    it("a file that is not there", function()
      refused(1, folder .. "/none", count(), folder .. "/none")
    end)

    it("a glob that matches nothing", function()
      refused(1, "no file matches " .. folder .. "/*.none", count(), folder .. "/*.none")
    end)

    it("a directory without files", function()
      assert(fs.mkdir(folder .. "/input"))
      refused(1, "there is no file in", count(), folder .. "/input")
    end)

    it("an output that exists, unless it is forced", function()
      assert(fs.mkdir(out))
      assert(fs.write(out .. "/errors-00012", "old"))
      assert(fs.write(out .. "/quarantine-s1-m00000", "old"))
      local path = input "a\n"
      local result = run(count(), path)
      assert.equal(1, result.status)
      assert.matches("the output " .. out .. " exists", result.stderr, 1, true)
      assert.equal("old", fs.read(out .. "/errors-00012"))
      assert.equal(0, run(count(), path, "--force").status)
      assert.same({ "part-00000" }, fs.list(out))
      assert.same({}, left())
    end)

    it("to replace what no job has written, forced or not", function()
      assert(fs.mkdir(out))
      assert(fs.write(out .. "/part-00000", "old"))
      assert(fs.write(out .. "/thesis.tex", "years"))
      local path = input "a\n"
      local result = run(count(), path, "--force")
      assert.equal(1, result.status)
      assert.matches("holds thesis.tex, which no job has written", result.stderr, 1, true)
      assert.same({ "part-00000", "thesis.tex" }, fs.list(out))
      assert(fs.remove(out, { recursive = true }))
      assert(fs.write(out, "a file"))
      result = run(count(), path, "--force")
      assert.equal(1, result.status)
      assert.matches("is no directory", result.stderr, 1, true)
      assert.equal("a file", fs.read(out))
    end)

    it("a job that is not there", function()
      refused(1, folder .. "/none.lua", folder .. "/none.lua", input "a\n")
    end)

    it("a job with a syntax error", function()
      refused(1, "job.lua:2:", job "return {\n map = = }", input "a\n")
    end)

    it("a job without map", function()
      refused(1, "there is no map", job "return {}", input "a\n")
    end)

    it("a job that never returns its table", function()
      refused(1, "no progress", job "while true do end", input "a\n")
    end)

    it("a map that raises, with all that one needs to find out why", function()
      local path = input("one\ntwo\n" .. ("\1x"):rep(300) .. "\n")
      local result = refused(1, "job.lua:3: boom", job [[
return { map = function(rec)
  if rec:len() > 100 then
error("boom") end end }]]:gsub("\n  if", " if"), path)
      assert.matches("stack traceback", result.stderr, 1, true)
      assert.matches(("input: %s, line 3, offset 8"):format(path), result.stderr, 1, true)
      assert.matches("record: \\x01x\\x01x", result.stderr, 1, true)
      assert.matches("... (600 bytes)", result.stderr, 1, true)
    end)

    it("a setup or teardown that raises, without a place in the input", function()
      for _, hook in ipairs { "setup", "teardown" } do
        local source = ("return { map = function() end, %s = function() error 'boom' end }"):format(hook)
        local result = refused(1, "boom", job(source), input "a\n")
        assert.is_nil(result.stderr:find("offset", 1, true))
      end
    end)

    it("an error text with control bytes, which do not reach the terminal", function()
      local source = "return { map = function() error '\\27[2J' end }"
      local result = refused(1, "\\x1b[2J", job(source), input "a\n")
      assert.is_nil(result.stderr:find("\27[2J", 1, true))
    end)

    it("garbage is only bytes", function()
      local bytes = {}
      for i = 1, 5000 do
        bytes[i] = string.char((i * 7919 + i // 256) % 256)
      end
      assert.equal(0, run(count(), input(table.concat(bytes))).status)
    end)

    it("a line longer than the limit", function()
      local path = input(("x"):rep(3 << 20))
      refused(1, "record", job 'return { input = { record_max = "1M" }, map = function() end }', path)
    end)

    it("a line of 1 GB, in bounded time and memory", function()
      local path = folder .. "/input"
      assert.equal(0, assert(process.run { "truncate", "-s", "1G", path }).status)
      local began = perilune.now()
      local result = refused(1, "input: the record at byte 0 is longer than 67108864 bytes (record_max)",
        count(), path)
      assert.matches("record: \\x00\\x00", result.stderr, 1, true)
      result = run(count(), path, "--json", "--skip-records", "1")
      assert.equal(0, result.status, result.stdout)
      local told = json.decode(result.stdout)
      assert.same({ 1, 0 }, { told.skipped_records, told.records_out })
      -- record_max and its copies; far more than in a release, as ASan keeps freed memory for a while.
      assert.is_true(told.worker_rss_bytes < 1 << 30, told.worker_rss_bytes)
      assert.is_true(perilune.now() - began < 100) -- 5 s on an idle machine; hours where it was not bounded
    end)

    it("a file that cannot be read", function()
      refused(1, "read /proc/self/mem: Input/output error", count(), "/proc/self/mem")
      assert(fs.mkdir(folder .. "/input"))
      for name, error in pairs { none = "No such file or directory", dangling = "Too many levels" } do
        assert.equal(0, assert(process.run { "ln", "-sfn", name, folder .. "/input/dangling" }).status)
        refused(1, ("%s/input/dangling: %s"):format(folder, error), count(), folder .. "/input")
      end
    end)

    it("a file that its owner has locked away", function()
      local path = input "a\n"
      assert(process.run { "chmod", "0", path })
      if fs.read(path) then
        pending "this user may read everything"
      end
      refused(1, path .. ": Permission denied", count(), path)
    end)

    it("a gz file that is none, or ends too early", function()
      assert(fs.write(folder .. "/input", "not compressed"))
      assert(fs.rename(folder .. "/input", folder .. "/input.gz"))
      local result = run(count(), folder .. "/input.gz")
      assert.equal(1, result.status)
      assert.matches("input.gz", result.stderr, 1, true)
      assert.is_false(fs.exists(out))
    end)

    it("too little memory", function()
      refused(2, "memory 1.0 KiB is too little for a worker, the least is 8.0 MiB", count(), input "a\n",
        "--memory", "1k")
    end)

    it("a command line without output", function()
      local result = cli.run { "mr", count(), input "a\n" }
      assert.equal(2, result.status)
      assert.matches("-o", result.stderr, 1, true)
    end)

    it("a worker that crashes every time", function()
      local result = refused(1, "exited with status 7",
        job "return { map = function() os.exit(7) end }", input "a\n", "--trusted")
      assert.matches("the worker process", result.stderr, 1, true)
    end)

    it("JSON says the same", function()
      local result = run(job "return {}", input "a\n", "--json")
      assert.equal(1, result.status)
      local err = json.decode(result.stdout).error
      assert.equal("EINVAL", err.code)
      assert.matches("there is no map", err.message, 1, true)
    end)
  end)

  it("a full disk is named, and nothing stays on it", function()
    local disk = folder .. "/disk"
    assert(fs.mkdir(disk))
    local mounted = process.run { "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk }
    if not mounted or mounted.status ~= 0 then
      pending "a small tmpfs cannot be mounted here"
    end
    local words = {}
    for i = 1, 200000 do
      words[i] = ("word%dx"):format(i)
    end
    assert(fs.write(folder .. "/input", table.concat(words, "\n")))
    local result = cli.run { "mr", job "return { map = function(rec, out) out(rec, 1) end, reduce = 'sum' }",
      folder .. "/input", "-o", disk .. "/out" }
    local names = assert(fs.list(disk))
    process.run { "umount", disk }
    assert.equal(1, result.status, result.stderr)
    assert.matches("no space left on device", result.stderr:lower(), 1, true)
    assert.matches(disk, result.stderr, 1, true)
    assert.same({}, names)
  end)

  it("a dry run prints the plan and makes nothing", function()
    assert(fs.write(folder .. "/input", "a b\n"))
    local result = run(count(), folder .. "/input", "--dry-run")
    assert.equal(0, result.status)
    assert.matches("1 map task, 1 reduce task", result.stderr, 1, true)
    assert.is_false(fs.exists(out))
    assert.same({}, left())
  end)
end)
