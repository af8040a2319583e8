-- What perilune mr says to somebody whose first job goes wrong.
local cli = require "support.binary"
local fs = require "perilune.fs"
local json = require "perilune.json"
local process = require "perilune.process"

describe("perilune mr", function()
  local folder

  before_each(function()
    folder = assert(fs.tempdir())
    assert(fs.write(folder .. "/input", "a b\n"))
  end)

  after_each(function()
    fs.remove(folder, { recursive = true })
  end)

  local function run(source)
    assert(fs.write(folder .. "/job.lua", source))
    return cli.run { "mr", folder .. "/job.lua", folder .. "/input", "-o", folder .. "/out" }
  end

  for _, case in ipairs {
    { "return { map = function() io.open 'x' end }", "a job reads files through side = " },
    { "return { map = function(_, out) out(os.time()) end }", "a job has no clock" },
    { "require 'perilune.fs' return {}", "jobs have no fibers, files or processes" },
    { "{ map = function() end }", "a job file begins with return" },
    { "return { timeout = '50ms', attempts = 1, map = function() while true do end end }",
      "is there a loop that does not end?" },
    { "local t = {} return { memory = '16M', attempts = 1, "
      .. "map = function() while true do t[#t + 1] = {} end end }",
      "raise --memory" },
  } do
    it("hints: " .. case[2], function()
      local result = run(case[1])
      assert.equal(1, result.status)
      assert.matches("\nhint: " .. case[2], result.stderr, 1, true)
    end)
  end

  it("shows the fields of an error that is a table, and never its address", function()
    assert.matches("job.lua: (error object is a table value)\n",
      run("return { map = function() error {} end }").stderr, 1, true)
    assert.matches('job.lua: (error object is a table: { code = 1, text = "no" })\n',
      run("return { map = function() error { text = 'no', code = 1, more = {} } end }").stderr, 1, true)
    assert.matches("job.lua: told\n", run([[return { map = function()
      error(setmetatable({}, { __tostring = function() return "told" end })) end }]]).stderr, 1, true)
  end)

  it("tells the job's part of a traceback, and the job file once", function()
    local job = folder .. "/job.lua"
    assert.equal(("perilune: mr: %s:1: no\nstack traceback:\n\t%s:1: in main chunk\n"):format(job, job),
      run("assert(false, 'no')").stderr)
    local stderr = run([[
      local function inner(x) return x.y.z end
      return { map = function(rec) rec:str():gsub("a", inner) end }]]).stderr
    assert.matches(("stack traceback:\n\t%s:1: in function <%s:1>\n\t[C]: in function 'string.gsub'\n"
      .. "\t%s:2: in function <%s:2>\ninput: "):format(job, job, job, job), stderr, 1, true)
  end)

  it("says that there is no reduce", function()
    local result = run "return { map = function(rec, out) out(rec, 1) end }"
    assert.matches("1 map task, no reduce: what map emits is the output, ", result.stderr, 1, true)
    result = cli.run { "mr", folder .. "/job.lua", folder .. "/input", "-o", folder .. "/x", "--json" }
    assert.equal(0, json.decode(result.stdout).reduces)
  end)

  it("refuses a global that is not there where the job's table is made", function()
    local result = run "return { map = function(rec, out) out(rec, 1) end, reduce = myreduce }"
    assert.equal(1, result.status)
    assert.matches("job.lua:1: there is no global 'myreduce' (misspelt, or defined further down?)\n",
      result.stderr, 1, true)
    assert.matches("hint: in a job file, a function stands above", result.stderr, 1, true)
    result = run [[
      local unpack = unpack or table.unpack
      local helper = require "helper"
      return { map = function(rec, out) seen = (seen or 0) + 1 out(unpack { helper(rec:str()), seen }) end }]]
    assert.matches("module 'helper' not found", result.stderr, 1, true)
    assert(fs.write(folder .. "/helper.lua", "local known = nothing return function(s) return s end"))
    assert.equal(0, run(assert(fs.read(folder .. "/job.lua"))).status)
  end)

  it("leaves the globals' metatable to a job that has one", function()
    assert.equal(0, run([[
      setmetatable(_G, { __index = function(_, name) return name end })
      return { map = function(rec, out) out(anything, 1) end, reduce = "sum" }]]).status)
    assert.equal("anything 1\n", (fs.read(folder .. "/out/part-00000")))
    assert(fs.remove(folder .. "/out", { recursive = true }))
    assert.equal(0, run([[
      getmetatable(_G).__index = function(_, name) return name end
      return { map = function(rec, out) out(another, 1) end, reduce = "sum" }]]).status)
    assert.equal("another 1\n", (fs.read(folder .. "/out/part-00000")))
  end)

  it("removes its progress bar when it is interrupted", function()
    if assert(process.run { "script", "-qec", "true", "/dev/null" }).status ~= 0 then
      pending "this machine gives no pseudo-terminals (is /dev/pts mounted?)"
    end
    assert(fs.write(folder .. "/job.lua", [[return { split = "1B", map = function(rec, out)
      for i = 1, 1e6 do local _ = i * i end
      out(rec, 1) end }]]))
    assert(fs.write(folder .. "/input", ("line\n"):rep(10000)))
    local command = ("stty cols 80; cd %s; timeout --foreground -s INT 2.5 %s mr job.lua input -o out")
      :format(folder, cli.path)
    local shown = assert(process.run { "script", "-qec", command, "/dev/null" }).stdout
    assert.matches("map [", shown, 1, true)
    assert.matches("maps\r\27%[K[^\r]*perilune:[^\r]* mr job.lua: interrupted; nothing was written\r\n$",
      shown)
    assert.same({ "input", "job.lua" }, fs.list(folder))
  end)

  it("tells the most memory that a worker had, not what it has left", function()
    local result = run [[return { map = function(rec, out)
      local long = ("x"):rep(60 << 20)
      out(#long)
      long = nil
      collectgarbage()
    end }]]
    local mebibytes = tonumber(result.stderr:match "at most ([%d.]+) MiB of memory in each")
    assert.is_true(mebibytes > 60 and mebibytes < 200, result.stderr)
    result = cli.run { "mr", folder .. "/job.lua", folder .. "/input", "-o", folder .. "/json", "--json" }
    assert.is_true(json.decode(result.stdout).worker_rss_bytes > 60 << 20)
  end)

  it("wonders when nothing was put out", function()
    local result = run "return { map = function(rec) return rec:str(), 1 end, reduce = 'sum' }"
    assert.equal(0, result.status)
    assert.matches("hint: nothing was put out", result.stderr, 1, true)
    result = cli.run { "mr", folder .. "/job.lua", folder .. "/input", "-o", folder .. "/other", "--quiet" }
    assert.equal("", result.stderr)
  end)
end)
