-- What the engine does with a job, run in this process: the same C path as in workers.
local jobs = require "support.jobs"
local mr = require "perilune.mapreduce"
local use_folder = require "support.folder"

describe("the engine", function()
  local folder = use_folder(before_each, after_each)

  local function job(source)
    folder:write("job.lua", source)
    return assert(mr.load(folder:at "job.lua"))
  end

  -- Runs a job without processes.
  local function run(source, input, options)
    return jobs.run(folder, source, input, options)
  end

  local function read(name)
    return folder:read("out/" .. name)
  end

  describe("job:test", function()
    it("passes when the output is as expected", function()
      job [[return { map = function(rec, out) for w in rec:words() do out(w, 1) end end, reduce = "sum" }]]
        :test { input = "a b a\nb c\n", expect = "a 2\nb 2\nc 1\n" }
    end)

    it("shows the difference when it is not", function()
      local counts = job [[
        return { map = function(rec, out) for w in rec:words() do out(w, 1) end end, reduce = "sum" }]]
      local ok, err = pcall(counts.test, counts, { input = "a b a\n", expect = { "a 2", "c 1" } })
      assert.is_false(ok)
      assert.matches("  + b 1\n  - c 1", err, 1, true)
      local _, where = pcall(function()
        counts:test { input = "a b a\n", expect = "c 1" }
      end)
      assert.matches("^tests/spec/mapreduce/engine_spec.lua:%d+: the job's output", where)
    end)

    it("refuses what it does not know, at the line of the spec", function()
      local counts = job "return { map = function(rec, out) out:words(rec, 1) end, reduce = 'sum' }"
      for problem, test in pairs {
        ["unknown option inputs; did you mean input?"] = { inputs = "a", expect = "a 1" },
        ["input must be a text, or a table { name = text } of files, and is left out"] = { expect = "a 1" },
        ["of files, but 1 is a string"] = { input = { "a" }, expect = "a 1" },
        ["a list of its lines or a function(lines), and is left out"] = { input = "a" },
        ["a list of its lines or a function(lines), but a is a number"] = { input = "a", expect = { a = 1 } },
        ["option args must be a table, not a string"] = { input = "a", expect = "a 1", args = "x" },
      } do
        local ok, err = pcall(function()
          counts:test(test)
        end)
        assert.is_false(ok)
        assert.matches("^tests/spec/mapreduce/engine_spec.lua:%d+: job:test: ", err)
        assert.matches(problem, err, 1, true)
      end
      local _, err = pcall(function()
        counts.test { input = "a", expect = "a 1" }
      end)
      assert.matches("engine_spec.lua:%d+: write job:test { input = ..., expect = ... }, with a colon", err)
    end)

    it("shows the record that map cannot take", function()
      local picky = job "return { map = function(rec) if #rec > 3 then error 'too long' end end }"
      local _, err = pcall(picky.test, picky, { input = { ["a.txt"] = "one\nthree\n" }, expect = "" })
      assert.matches("job.lua:1: too long\nstack traceback:\n", err, 1, true)
      assert.matches("\ninput: a.txt, line 2, offset 4\nrecord: three$", err)
    end)

    it("finds a reduce that depends on how the input was cut", function()
      local wrong = job [[
        return { map = function(rec, out) out("n", 1) end,
          combine = function(key, values, out) out(key, values:count()) end,
          reduce = function(key, values, out) out(key, values:count()) end }]]
      assert.has_error(function()
        wrong:test { input = ("x\n"):rep(10), expect = "n 10" }
      end)
    end)

    it("takes several files, arguments and a judge", function()
      local seen
      job [[local args = ...
        return { input = "files", map = function(rec, out, job)
          out(args.prefix .. job.args.prefix .. rec:key():match("[^/]*$"), rec:len()) end, reduce = "max" }]]
        :test { input = { one = "abc", two = "" }, args = { prefix = ">" }, expect = function(lines)
          table.sort(lines)
          seen = lines
        end }
      assert.same({ ">>one 3", ">>two 0" }, seen)
    end)

    it("reports what the job raises, with its line", function()
      local bad = job "return { map = function(rec)\n  error('boom')\nend }"
      local ok, err = pcall(bad.test, bad, { input = "x", expect = "" })
      assert.is_false(ok)
      assert.matches("job.lua:2: boom", err, 1, true)
    end)
  end)

  it("gives map the job as its third argument, however it takes it", function()
    for _, head in ipairs { "rec, out, job", "...", "rec, ..." } do
      job(([[return { map = function(%s)
          local out, job = select(2, %s)
          out(job.args.word .. select("#", %s), 1)
        end }]]):format(head, head, head))
        :test { input = "a\n", args = { word = "x" }, expect = "x3 1\n" }
    end
  end)

  it("reduces by every name, whatever the splits", function()
    local input = {}
    for i = 1, 300 do
      input[i] = ("k%d\t%d"):format(i % 3, (i * 37) % 101)
    end
    local expected = { sum = 0, count = 0, min = math.huge, max = -math.huge, values = {} }
    for i = 3, 300, 3 do
      local v = (i * 37) % 101
      expected.sum, expected.count = expected.sum + v, expected.count + 1
      expected.min, expected.max = math.min(expected.min, v), math.max(expected.max, v)
      expected.values[#expected.values + 1] = v
    end
    local sorted = table.move(expected.values, 1, #expected.values, 1, {})
    table.sort(sorted, function(a, b) return a > b end)
    local distinct, different = {}, 0
    for _, v in ipairs(sorted) do
      different = different + (distinct[v] and 0 or 1)
      distinct[v] = true
    end
    local cases = {
      { '"sum"', expected.sum }, { '"count"', expected.count }, { '"min"', expected.min },
      { '"max"', expected.max }, { '"avg"', expected.sum / expected.count },
      { '"first"', expected.values[1] }, { '"last"', expected.values[#expected.values] },
      { '"any"', "true" }, { '"all"', "true" }, { '"distinct"', different },
      { '{ "topk", 3 }', ("[%d,%d,%d]"):format(sorted[1], sorted[2], sorted[3]) },
      { '{ "concat", "," }', table.concat(expected.values, ",") },
    }
    for _, case in ipairs(cases) do
      job(([[return { input = "tsv", map = function(rec, out)
          out(rec:key(), tonumber(rec:value())) end, reduce = %s }]]):format(case[1]))
        :test { input = table.concat(input, "\n"), expect = function(lines)
          local got
          for _, line in ipairs(lines) do
            got = line:match("^k0 (.*)$") or got
          end
          assert.equal(tostring(case[2]), got, case[1])
        end }
    end
  end)

  it("sums strings that come again, more of them than are summed up beforehand", function()
    local count, sums, lines = 20000, {}, {}
    local function key(i)
      return i % 7 == 0 and ("k"):rep(50) .. i or "k" .. i
    end
    for i = 1, count do
      local integers = 2 * i + (i % 11 == 0 and math.maxinteger or 0)
      sums[key(i)] = i % 5 == 0 and integers + 0.5 or integers
    end
    assert(run(([[return { reduce = "sum", output = "tsv", map = function(rec, out)
      for _ = 1, 2 do
        for i = 1, %d do
          out(i %% 7 == 0 and ("k"):rep(50) .. i or "k" .. i, i)
        end
      end
      for i = 5, %d, 5 do out("k" .. (i %% 7 == 0 and ("k"):rep(49) or "") .. i, 0.5) end
      for i = 11, %d, 11 do out("k" .. (i %% 7 == 0 and ("k"):rep(49) or "") .. i, math.maxinteger) end
    end }]]):format(count, count, count), "x\n"))
    for name, sum in pairs(sums) do
      table.insert(lines, ("%s\t%s\n"):format(name, sum))
    end
    table.sort(lines)
    assert.equal(table.concat(lines), read "part-00000")
  end)

  describe("sums the same whatever way the strings come:", function()
    local input, expected

    setup(function()
      local text, counts = {}, {}
      for i = 1, 40000 do
        local word = ("%x"):format(i * i % 30011):gsub("%d", { ["0"] = "g", ["1"] = "h", ["2"] = "i",
          ["3"] = "j", ["4"] = "k", ["5"] = "l", ["6"] = "m", ["7"] = "n", ["8"] = "o", ["9"] = "p" })
        counts[word], text[i] = (counts[word] or 0) + 1, word
      end
      expected = {}
      for word, count in pairs(counts) do
        table.insert(expected, ("%s %d"):format(word, count))
      end
      table.sort(expected)
      input = table.concat(text, " ", 1, 20000) .. "\n" .. table.concat(text, " ", 20001) .. "\n"
    end)

    local function check(body, more, skip_records)
      local source = ("return { %s reduce = 'sum', map = function(rec, out) %s end }"):format(more, body)
      assert(run("string.gmatch('early', '.')() " .. source, input,
        { skip_records = skip_records, force = true, reduces = 2 }))
      local lines = {}
      for line in (read "part-00000" .. read "part-00001"):gmatch "[^\n]+" do
        table.insert(lines, line)
      end
      table.sort(lines)
      assert.equal(table.concat(expected, "\n"), table.concat(lines, "\n"))
    end

    for what, body in pairs {
      words = "for w in rec:words() do out(w, 1) end",
      ["words twice"] = "for w in rec:words() do out(w, 2) out(w, -1) end",
      gmatch = "for w in rec:str():gmatch '%a+' do out(w, 1) end",
      split = "for w in rec:split ' ' do out(w, 1) end",
      slices = "for w in rec:slices() do out(w, 1) end",
      ["out:words"] = "out:words(rec, 1)",
      kept = [[local kept = {}
        for w in rec:words() do kept[#kept + 1] = w end
        for _, w in ipairs(kept) do out(w, 1) end]],
      ["two at a time"] = [[local other = rec:words()
        for w in rec:words() do other() out(w, 1) end]],
      ["in a coroutine"] = "for w in rec:words() do coroutine.wrap(out)(w, 1) end",
      made = "for w in rec:words() do out(w:upper():lower(), 1) end",
      ["between errors"] = "for w in rec:words() do pcall(out, w) out(w, 1) pcall(out, nil, 1) end",
    } do
      it(what, function()
        check(body, "", 0)
        check(body, "", 5)
        check(body, "partition = function(key, n) return #key % n + 1 end,", 0)
      end)
    end

    it("in hooks", function() -- of map; those of reduce write lines of their own
      assert(run([[return { setup = function(_, out) out("hook", 1) out("hook", 1) end,
        teardown = function(_, out) out("hook", 40) end, reduce = "sum",
        map = function(rec, out) for w in rec:words() do out(w, 1) end end }]], "hook\nhook\n"))
      assert.matches("hook 44\n", read "part-00000", 1, true)
    end)
  end)

  it("sums nothing for a finalizer that comes after the end", function()
    local job_source = [[return { reduce = "sum", map = function(rec, out)
      local said = out
      keep = setmetatable({}, { __gc = function() pcall(said, "late", 1) pcall(said, "late", 1) end })
      for w in rec:words() do out(w, 1) end
    end }]]
    assert(run(job_source, "late a\n"))
    assert.equal("a 1\nlate 1\n", read "part-00000")
  end)

  it("orders the values of a group by the second key", function()
    job [[
      return { map = function(rec, out) out(rec:field(1), rec:num(2), rec:field(3)) end,
        reduce = function(key, values, out)
          local list = {}
          for value, second in values do list[#list + 1] = second .. value end
          out(key, table.concat(list, " "))
        end }]]
      :test { input = "a 10 x\na 9 y\nb 1 z\na -3 w\n", expect = "a -3w 9y 10x\nb 1z" }
  end)

  it("writes parts that are one sorted list with partition = range", function()
    local lines, expected = {}, {}
    for i = 1, 5000 do
      lines[i] = ("%06d"):format((i * 7919) % 1000003)
    end
    table.move(lines, 1, #lines, 1, expected)
    table.sort(expected)
    assert(run([[return { map = function(rec, out) out(rec:str()) end, reduce = "identity",
      partition = "range" }]], table.concat(lines, "\n"), { reduces = 4, split_bytes = 4096 }))
    local parts, sizes = {}, {}
    for i = 0, 3 do
      parts[i + 1] = read(("part-%05d"):format(i))
      sizes[i + 1] = select(2, parts[i + 1]:gsub("\n", ""))
    end
    assert.equal(table.concat(expected, "\n") .. "\n", table.concat(parts))
    assert.is_true(math.max(table.unpack(sizes)) < 1.5 * 5000 / 4, table.concat(sizes, " "))
  end)

  it("orders keys downwards, or by a function of the user's", function()
    local input = "bb 1\na 2\nccc 3\na 4\n"
    local map = "map = function(rec, out) out(rec:field(1), rec:num(2)) end"
    assert(run(("return { %s, reduce = 'sum', compare = 'descending' }"):format(map), input))
    assert.equal("ccc 3\nbb 1\na 6\n", read "part-00000")
    assert(run(([[return { %s, reduce = function(k, values, out) out(k, values:array()[1]) end,
      compare = function(a, b) return #a > #b end }]]):format(map), input, { force = true }))
    assert.equal("ccc 3\nbb 1\na 2\n", read "part-00000")
    local _, err = run(("return { %s, reduce = 'sum', compare = function(a, b) return a < nil end }")
      :format(map), input, { force = true })
    assert.matches("attempt to compare", err, 1, true)
  end)

  it("partitions by a function, and refuses a number out of range", function()
    local text = [[return { map = function(rec, out) out(rec:num(1), 1) end, reduce = "sum",
      partition = function(key, partitions) return %s end }]]
    assert(run(text:format "key % partitions + 1", "0\n1\n2\n3\n4\n", { reduces = 2 }))
    assert.equal("0 1\n2 1\n4 1\n", read "part-00000")
    assert.equal("1 1\n3 1\n", read "part-00001")
    local _, err = run(text:format "0", "0\n", { reduces = 2, force = true })
    assert.matches("partition must return a whole number from 1 to 2, not 0", err, 1, true)
  end)

  it("counts, and writes named outputs beside the parts", function()
    local result = assert(run([[return { map = function(rec, out)
        out:count("seen")
        if rec:num(1) then out(rec:num(1), 1) else out:count("bad", 2) out:to("errors", rec:offset(), rec) end
      end, reduce = function(key, values, out) out:to("sums", key, values:count()) end }]],
      "1\nx\n1\ny\n", { reduces = 1 }))
    assert.same({ seen = 4, bad = 4 }, result.counters)
    assert.equal("2 x\n6 y\n", read "errors-m00000")
    assert.equal("1 2\n", read "sums-00000")
    assert.equal("", read "part-00000")
    assert.equal(2, result.outputs.errors.records)
  end)

  it("reads side data, and keeps what setup made", function()
    folder:write("stop.txt", "the\na\n")
    assert(run([[return { side = { stop = "stop.txt" },
      setup = function(job) job.stop = {} for w in job.side.stop:gmatch("%a+") do job.stop[w] = true end end,
      map = function(rec, out, job) for w in rec:words() do if not job.stop[w] then out(w, 1) end end end,
      teardown = function(job, out) out:count("attempts ended") end,
      reduce = "sum" }]], "the cat a dog\n"))
    assert.equal("cat 1\ndog 1\n", read "part-00000")
  end)

  it("chains steps with typed pairs, and loops until a counter says so", function()
    local result = assert(run([[return { pipeline = {
      { map = function(rec, out) out(rec:field(1), rec:num(2)) end, reduce = "sum" },
      { loop = { { map = function(key, value, out)
            if value >= 100 then out(key, value) return end
            out:count("doubled")
            out(key, value * 2)
          end, reduce = "sum" } }, max = 20,
        until_ = function(counters, round) return not counters.doubled end },
      { map = function(key, value, out) out(value, { name = key }) end,
        reduce = function(value, groups, out) for g in groups do out(g.name, value) end end },
    } }]], "a 1\nb 60\na 2\n", { reduces = 2 }))
    assert.same({ 7, 6 }, { result.rounds, result.counters.doubled - 1 })
    assert.equal("a 192\nb 120", table.concat({ (read("part-00000") .. read("part-00001"))
      :match("(a %d+)"), (read("part-00000") .. read("part-00001")):match("(b %d+)") }, "\n"))
  end)

  it("parses the input of a loop once", function()
    local result = assert(run([[
      local function split(values)
        local links, sum = {}, 0
        for v in values do if type(v) == "string" then links[#links + 1] = v else sum = sum + v end end
        return links, sum
      end
      return { pipeline = {
        { cache = "graph", map = function(rec, out) out:count("parsed") out(rec:field(1), rec:field(2)) end,
          reduce = function(_, values, out) for _, l in ipairs((split(values))) do out(l, 1) end end },
        { loop = { { join = "graph", reduce = function(_, values, out)
            local links, sum = split(values)
            for _, l in ipairs(links) do out(l, sum) end
          end } }, max = 5 },
        { reduce = "sum" },
      } }]], "a b\nb c\nc a\n", { reduces = 3 }))
    assert.equal(3, result.counters.parsed)
    assert.equal(5, result.rounds)
    assert.equal(3, result.records_out)
  end)

  it("skips bad records within a budget, into the quarantine", function()
    local text = [[return { map = function(rec, out)
      if rec:str() == "poison" then error("bad thing") end out(rec, 1) end, reduce = "sum" }]]
    local result = assert(run(text, "a\npoison\nb\n", { skip_records = 1 }))
    assert.equal(1, result.skipped_records)
    assert.equal("a 1\nb 1\n", read "part-00000")
    assert.matches("input\t2\t[^\t]*bad thing\tpoison\n$", read "quarantine-m00000")
    local _, err, code, failure = run(text, "a\npoison\nb\n", { force = true })
    assert.matches("job.lua:2: bad thing", err, 1, true)
    assert.equal("ELUA", code)
    local detail = failure.attempt_error
    assert.same({ 2, 2, "poison" }, { detail.line, detail.offset, detail.record })
    assert.matches("in function", detail.traceback, 1, true)
  end)

  it("cuts the record of an error at 200 bytes", function()
    local _, _, _, failure = run("return { map = function() error('no') end }", ("x"):rep(1000))
    local detail = failure.attempt_error
    assert.same({ 200, 1000 }, { #detail.record, detail.record_size })
  end)

  local refused = {
    { "a nil key", "out(nil, 1)", "the key must be a string, number, boolean or a part of the record" },
    { "a table key", "out({}, 1)", "not table" },
    { "a function value", "out('a', print)", "the value must be data, not a function" },
    { "too many arguments", "out(1, 2, 3, 4)", "out takes key, value or key, key2, value" },
    { "a not-a-number key", "out(0/0, 1)", "" },
    { "an output named part", "out:to('part', 1, 1)", "an output's name has letters, digits and _" },
    { "a sum of words", "out('a', 'x')", "sum" },
    { "a function in a value", "out('a', { b = { print } })", "value.b[1]" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function()
      local result, err = run(("return { map = function(rec, out) %s end, reduce = 'sum' }")
        :format(case[2]), "x\n")
      assert.is_nil(result)
      assert.matches(case[3], err, 1, true)
    end)
  end

  it("refuses a combine that changes the key", function()
    local _, err = run([[return { map = function(rec, out) out(rec, 1) end,
      combine = function(key, values, out) out(key .. "x", values:count()) end,
      reduce = function(key, values, out) out(key, values:count()) end }]], "a\na\n")
    assert.matches("combine must keep the key", err, 1, true)
  end)

  it("lets user code call out under pcall", function()
    local _, err = run([[return { map = function(rec, out)
      pcall(out.to, out, "errors", 1, 1) out(1, 1) end }]], "x\n")
    assert.is_nil(err)
    assert.equal("1 1\n", read "errors-00000")
  end)

  it("ends values and records with their call, and says so", function()
    local _, err = run([[local kept return { map = function(rec, out)
      if kept then out(kept, 1) end kept = rec end, reduce = "sum" }]], "a\nb\n")
    assert.matches("stale record", err, 1, true)
    _, err = run([[local kept return { map = function(rec, out) out(rec, 1) end,
      reduce = function(k, values, out) if kept then for v in kept do end end kept = values end,
      teardown = function() if kept then for v in kept do end end end }]], "a\n")
    assert.matches("these values are over", err, 1, true)
  end)

  it("has no library that reaches the world", function()
    for _, name in ipairs { "os", "io", "debug", "dofile", "loadfile" } do
      local _, err = run(("return { map = function(rec, out) out(%s.x, 1) end }"):format(name), "a\n")
      assert.matches(name, err, 1, true)
    end
    local _, err = run("return { map = function(rec, out) assert(load('\\27Lua')) end }", "a\n")
    assert.matches("attempt to load a binary chunk", err, 1, true)
  end)

  it("requires modules beside the job file", function()
    folder:write("helper.lua", "return { twice = function(n) return 2 * n end }")
    assert(run([[local helper = require "helper"
      return { map = function(rec, out) out(rec, helper.twice(21)) end }]], "a\n"))
    assert.equal("a 42\n", read "part-00000")
  end)

  it("ends a map that makes no progress, also inside pcall and coroutines", function()
    for _, loop in ipairs { "while true do end", "while true do pcall(function() while true do end end) end",
      "coroutine.wrap(function() while true do end end)()" } do
      local _, err, code = run(("return { attempts = 1, timeout = '200ms', map = function() %s end }")
        :format(loop), "a\n")
      assert.equal("EDEADLINE", code, loop)
      assert.matches("no progress for 200 ms", err, 1, true)
    end
  end)

  it("ends a map that takes too much memory", function()
    local _, err, code = run([[return { attempts = 1, memory = "16M", map = function()
      local t = {} for i = 1, 1e9 do t[i] = ("x"):rep(100) .. i end end }]], "a\n")
    assert.equal("EMEMORY", code)
    assert.matches("memory limit of 6 MiB", err, 1, true)
  end)

  it("writes an empty part for an empty input", function()
    assert(run("return { map = function(rec, out) out(rec, 1) end, reduce = 'sum' }", ""))
    assert.equal("", read "part-00000")
  end)
end)
