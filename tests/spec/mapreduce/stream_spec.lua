-- The Hadoop Streaming and Spark pipe() contracts (mapreduce.md 8.1-8.3): the same file, the same bytes.
local cli = require "support.binary"
local fs = require "perilune.fs"
local new_folder = require "support.folder"
local perilune = require "perilune"
local process = require "perilune.process"
local text = require "support.text"

describe("perilune stream", function()
  local folder = new_folder(before_each, after_each)

  local function job(source)
    return folder:job(source)
  end

  local function stream(phase, path, input, env)
    return cli.run { "stream", phase, path, input = input, env = env }
  end

  local function ok(result)
    assert.equal(0, result.status, result.stderr)
    return result.stdout
  end

  -- The engine's own output of the same job.
  local function native(path, input)
    local result = cli.run { "mr", path, folder:write("input", input), "-o", folder:at "out", "--force",
      "--reduces", "2" }
    assert.equal(0, result.status, result.stderr)
    return folder:read "out/part-00000" .. folder:read "out/part-00001"
  end

  -- Hadoop's part: two map tasks, each combined; all lines partitioned by key, sorted, to two reducers.
  local function hadoop(path, input, combines)
    local half = #input // 2 + (input:find("\n", #input // 2, true) or #input) - #input // 2
    local lines = {}
    for _, part in ipairs { input:sub(1, half), input:sub(half + 1) } do
      local mapped = ok(stream("map", path, part))
      for _ = 1, combines do
        mapped = ok(stream("combine", path, table.concat(text.sorted_lines(mapped), "\n") .. "\n"))
      end
      for line in mapped:gmatch "[^\n]*\n" do
        lines[#lines + 1] = line
      end
    end
    local parts = { {}, {} }
    for _, line in ipairs(lines) do
      local key, sum = line:match "^[^\t\n]*", 0
      for i = 1, #key do
        sum = sum + key:byte(i)
      end
      table.insert(parts[sum % 2 + 1], line)
    end
    local output = {}
    for i, part in ipairs(parts) do
      table.sort(part)
      output[i] = ok(stream("reduce", path, table.concat(part)))
    end
    return table.concat(output)
  end

  local INPUT = "b 2 x\na 10 y\nb 1 z\na 9 tab\\\nc 5 q\na -1 w\nb 7 7\n"
  local jobs = {
    sum = [[return { map = function(rec, out) out(rec:field(1), rec:num(2)) end, reduce = "sum" }]],
    ["exact float sums"] = [[return { reduce = "sum",
      map = function(rec, out) out(rec:field(1), rec:num(2) / 10) end }]],
    count = [[return { map = function(rec, out) out(rec:field(1)) end, reduce = "count" }]],
    avg = [[return { map = function(rec, out) out(rec:field(1), rec:num(2)) end, reduce = "avg" }]],
    ["a set of strings that look like numbers"] = [[return {
      map = function(rec, out) out(rec:field(1), rec:field(3)) end, reduce = "set", output = "jsonl" }]],
    ["number keys"] = [[return { map = function(rec, out) out(rec:num(2) % 3, 1) end, reduce = "sum" }]],
    ["a secondary key"] = [[return { map = function(rec, out) out(rec:field(1), rec:num(2), rec:field(3)) end,
      reduce = function(key, values, out)
        local list = {}
        for value, second in values do list[#list + 1] = second .. value end
        out(key, table.concat(list, " "))
      end }]],
    ["tables, and a combine function"] = [[
      local function add(key, values, out)
        local sum, count = 0, 0
        for v in values do sum, count = sum + v.sum, count + v.count end
        out(key, { sum = sum, count = count })
      end
      return { map = function(rec, out) out(rec:field(1), { sum = rec:num(2), count = 1 }) end,
        combine = add, reduce = add }]],
    ["bytes that lines cannot hold"] = [[return {
      map = function(rec, out) out("k\t\n" .. rec:field(1), "v\r\\\0" .. rec:field(3)) end,
      reduce = function(key, values, out)
        local list = values:array()
        table.sort(list)
        out(key, table.concat(list, "|"))
      end, output = "jsonl" }]],
  }
  for name, source in pairs(jobs) do
    for combines = 0, 2 do
      it(("gives the engine's bytes for %s, combined %d times"):format(name, combines), function()
        local path = job(source)
        assert.same(text.sorted_lines(native(path, INPUT)), text.sorted_lines(hadoop(path, INPUT, combines)))
      end)
    end
  end

  it("writes words as words", function()
    assert.equal("a\t1\nb\t2.5\n12\t\\s12\n", ok(stream("map", job [[
      return { reduce = "first",
        map = function(_, out) out("a", 1) out("b", 2.5) out(12, "12") end }]], "x\n")))
  end)

  it("reads the lines of somebody else's mapper, in any order", function()
    local path = job [[return { map = function() end, reduce = "sum" }]]
    assert.equal("a 4\nb 2\n", ok(stream("reduce", path, "b\t2\na\t1\na\t3\n")))
  end)

  it("writes the job's output when there is no reduce", function()
    local path = job [[return { map = function(rec, out) out(rec:field(2), rec:len()) end, output = "tsv" }]]
    assert.equal("b\t3\n", ok(stream("map", path, "a b\n")))
    local result = stream("reduce", path, "")
    assert.equal(1, result.status)
    assert.matches("the job has no reduce", result.stderr, 1, true)
  end)

  it("reports counters to Hadoop, and writes named outputs where Hadoop commits them", function()
    local path = job [[return { map = function(rec, out, job)
      out:count("bad, lines", 2)
      out:to("errors", "k", job.task)
    end, reduce = "sum" }]]
    local result = stream("map", path, "x\n",
      { mapreduce_task_partition = "6", mapreduce_task_output_dir = folder.path })
    assert.equal(0, result.status, result.stderr)
    assert.matches("reporter:counter:perilune,bad  lines,2\n", result.stderr, 1, true)
    assert.equal("k 7\n", folder:read "errors-m00006")
  end)

  it("fails with the job's own error and exit 1", function()
    local result = stream("map", job "return { map = function()\nerror('boom') end }", "first\n")
    assert.equal(1, result.status)
    assert.matches("job.lua:2: boom", result.stderr, 1, true)
    assert.matches("record: first", result.stderr, 1, true)
  end)

  it("refuses what has no form in lines", function()
    local path = job [[return { pipeline = { { map = function() end }, { reduce = "sum" } } }]]
    assert.matches("a pipeline has no form", stream("map", path, "").stderr, 1, true)
    path = job [[return { map = function() end, input = "fixed:100" }]]
    assert.matches('input "fixed:100" has no lines', stream("map", path, "").stderr, 1, true)
  end)

  it("wants a phase that exists", function()
    local result = cli.run { "stream", "mop", job "return {}" }
    assert.equal(2, result.status)
  end)

  describe("leaves no directory behind", function()
    local temp

    before_each(function()
      temp = folder.path .. "/tmp"
      assert(fs.mkdir(temp))
    end)

    local function wait_until_empty()
      for _ = 1, 200 do
        if #assert(fs.list(temp)) == 0 then
          return
        end
        perilune.sleep(0.01)
      end
      assert.same({}, fs.list(temp))
    end

    local function start(source, stdout)
      return assert(process.spawn { cli.path, "stream", "reduce", folder:job(source), stdin = "pipe",
        stdout = stdout, stderr = "null", env = { TMPDIR = temp } })
    end

    for _, signal in ipairs { 2, 9, 15 } do
      it("when signal " .. signal .. " ends it, waiting for input or computing", function()
        for _, input in ipairs { "x\t1\n", "" } do
          local child = start("return { map = function() end, reduce = function() while true do end end }",
            "null")
          child:write(input)
          if input ~= "" then
            child.stdin:close()
          end
          perilune.sleep(0.3)
          assert.equal(1, #assert(fs.list(temp)))
          child:kill(signal)
          assert.is_not.equal(0, child:wait().status)
          wait_until_empty()
        end
      end)
    end

    it("when nobody reads its output", function()
      local child = start([[return { map = function() end, reduce = function(key, values, out)
        for i = 1, 1e6 do out(key, i) end end }]], "pipe")
      child:write "x\t1\n"
      child.stdin:close()
      assert(child.stdout:read(1))
      child.stdout:close()
      assert.is_not.equal(0, child:wait().status)
      wait_until_empty()
    end)

    it("when it is done", function()
      ok(stream("reduce", folder:job "return { map = function() end, reduce = 'sum' }", "x\t1\n",
        { TMPDIR = temp }))
      assert.same({}, fs.list(temp))
    end)
  end)

  it("ends when it is told to, though it only computes", function()
    local path = job "return { map = function() while true do end end }"
    local child = assert(process.spawn { cli.path, "stream", "map", path, stdin = "pipe", stdout = "null",
      stderr = "null" })
    child:write "x\n"
    perilune.sleep(0.2)
    child:kill(15)
    assert.equal(15, child:wait().signal)
  end)
end)
