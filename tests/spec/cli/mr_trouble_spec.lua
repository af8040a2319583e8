-- What perilune mr says when something is not there, is in the way, or gives up.
local cli = require "support.binary"
local fs = require "perilune.fs"
local json = require "perilune.json"
local new_folder = require "support.folder"
local perilune = require "perilune"
local process = require "perilune.process"

describe("perilune mr", function()
  local folder = new_folder(before_each, after_each)
  local SUM = "return { map = function(rec, out) out:words(rec, 1) end, reduce = 'sum' }"
  local SLOW = "return { map = function(rec, out) while true do out:count('round') end end, timeout = '60s' }"

  local function run(arguments)
    local command = table.move(arguments, 1, #arguments, 2, { "mr" })
    return cli.run(command)
  end

  -- Runs a job over the text; more options may follow.
  local function run_job(source, input, ...)
    return run { folder:job(source), folder:write("input", input), "-o", folder:at "out", ... }
  end

  it("names all inputs that are missing, and a missing job", function()
    local job, input = folder:job(SUM), folder:write("input", "a\n")
    local result = run { job, "no_1", input, "no_2", "-o", folder:at "out" }
    assert.equal(("perilune: mr %s: no such input: no_1, no_2\n"):format(job), result.stderr)
    result = run { folder:at "none.lua", input, "-o", folder:at "out" }
    assert.matches("no such job file: " .. folder:at "none.lua", result.stderr, 1, true)
    assert.equal(1, result.status)
  end)

  it("sees that job and input are swapped", function()
    local job, input = folder:job(SUM), folder:write("book.txt", "a b\n")
    local result = run { input, job, "-o", "out" }
    assert.equal(1, result.status)
    assert.matches(("hint: the job comes first: perilune mr %s %s -o out\n"):format(job, input),
      result.stderr, 1, true)
  end)

  it("names the folder in which the output cannot be made", function()
    local result = run { folder:job(SUM), folder:write("input", "a\n"), "-o", "/proc/out" }
    assert.equal(1, result.status)
    assert.matches("the output /proc/out cannot be made in /proc: ", result.stderr, 1, true)
  end)

  it("refuses too little memory and an output without a name as usage", function()
    local result = run_job(SUM, "a\n", "--memory", "1k")
    assert.equal(2, result.status)
    assert.matches("--memory: memory 1.0 KiB is too little for a worker, the least is 8.0 MiB\n",
      result.stderr, 1, true)
    result = run { folder:at "job.lua", folder:at "input", "-o", "" }
    assert.equal(2, result.status)
    assert.matches("--out: the name of the folder is empty\n", result.stderr, 1, true)
  end)

  it("shows nothing as the top of nothing", function()
    local result = run_job(SUM, "", "--top", "3")
    assert.equal("", result.stdout)
    assert.equal(0, result.status)
  end)

  local PICKY = "return { map = function(rec) if rec:str() == 'bad' then error 'no' end end }"

  it("hints at skipping bad records, and says when there are too many", function()
    local result = run_job(PICKY, "good\nbad\n")
    assert.matches("record: bad\nhint: where bad records are to be expected, --skip-records N", result.stderr,
      1, true)
    result = run_job(PICKY, "bad\ngood\n") -- a map that takes no record at all is wrong itself
    assert.matches("record: bad\n$", result.stderr)
    result = run_job(PICKY, "bad\ngood\nbad\nbad\n", "--skip-records", "2")
    assert.equal(1, result.status)
    assert.matches("record: bad\nskipped before it: 2 bad records, and the limit is 2\n$", result.stderr)
    assert.equal(0, run_job(PICKY, "bad\ngood\nbad\n", "--skip-records", "2").status)
  end)

  it("names the task whose workers are killed again and again", function()
    local result = run_job("return { attempts = 2, map = function() os.execute 'kill -9 $PPID' end }",
      "a b\n", "--trusted", "--json")
    assert.equal(1, result.status)
    local told = assert(json.decode(result.stdout)).error
    assert.equal("EWORKER", told.code)
    assert.matches(("map task 1 (%s, 4 bytes from offset 0) failed 2 times; the last time the worker process "
      .. "was ended by signal 9"):format(folder:at "input"), told.message, 1, true)
    assert.matches("fewer --workers", told.hint, 1, true)
  end)

  local function working_folder()
    for _, name in ipairs(assert(fs.list(folder.path))) do
      if name:match "^out%.perilune%-%x+$" and fs.exists(folder:at(name) .. "/lock") then
        return name
      end
    end
  end

  -- Starts a job that does not end, and waits until its folder is there.
  local function start_slow(...)
    local child = assert(process.spawn { cli.path, "mr", folder:job(SLOW), folder:write("input", "a\n"), "-o",
      folder:at "out", "--workers", "1", stderr = "pipe", ... })
    while not working_folder() do
      perilune.sleep(0.01)
    end
    return child
  end

  it("refuses at once what another run is writing", function()
    local child, job = start_slow(), folder:write("sum.lua", SUM)
    local began = perilune.now()
    local result = run { job, folder:at "input", "-o", folder:at "out", "--force" }
    assert.equal(1, result.status)
    assert.matches(("another run is writing %s (it works in %s/out.perilune-"):format(folder:at "out",
      folder.path), result.stderr, 1, true)
    assert.is_true(perilune.now() - began < 20)
    assert.is_string(working_folder()) -- the first run goes on
    assert.equal(0, run({ job, folder:at "input", "-o", folder:at "out2" }).status)
    child:kill(9)
    child:wait()
    result = run { job, folder:at "input", "-o", folder:at "out" }
    assert.equal(0, result.status, result.stderr)
  end)

  it("says that the output has been made meanwhile", function()
    local job = folder:job(([[return { map = function() os.execute "mkdir -p %s" end }]]):format(
      folder:at "out"))
    local result = run { job, folder:write("input", "a\n"), "-o", folder:at "out", "--trusted" }
    assert.equal(1, result.status)
    assert.matches("the output " .. folder:at "out" .. " exists: somebody else has made it meanwhile",
      result.stderr, 1, true)
  end)

  it("says when it is interrupted that nothing was written", function()
    local child = start_slow("--quiet")
    child:kill(2)
    local said, bytes = {}, child.stderr:read(1000)
    while bytes do
      said[#said + 1], bytes = bytes, child.stderr:read(1000)
    end
    assert.equal(("perilune: mr %s: interrupted; nothing was written\n"):format(folder:at "job.lua"),
      table.concat(said))
    assert.equal(130, child:wait().status)
    assert.same({ "input", "job.lua" }, fs.list(folder.path))
  end)
end)
