-- The seven checks of MIT's MapReduce lab (test-mr.sh, mr_test.go) under their names, against our engine.
-- The expected digests were computed with the lab's own sequential program over the same seven books.
local cli = require "support.binary"
local fs = require "perilune.fs"
local perilune = require "perilune"
local jobs = require "support.jobs"
local support_text = require "support.text"

local BOOKS = os.getenv "PERILUNE_BOOKS" or "../shared/data/gutenberg"
local JOB = "tests/spec/mapreduce/jobs/lab.lua"

describe("the MIT MapReduce lab", function()
  local folder, out

  before_each(function()
    folder = assert(fs.tempdir())
    out = folder .. "/out"
    assert(fs.mkdir(folder .. "/markers"))
  end)

  after_each(function()
    fs.remove(folder, { recursive = true })
  end)

  local function need_books()
    if not fs.exists(BOOKS) then
      pending(("the lab's books are not at %s (set PERILUNE_BOOKS)"):format(BOOKS))
    end
  end

  local function run(app, workers)
    local result = cli.run { "mr", JOB, BOOKS, "-o", out, "--workers", tostring(workers), "--trusted",
      "--json", "--arg", "app=" .. app, "--arg", "dir=" .. folder .. "/markers" }
    assert.equal(0, result.status, result.stdout .. result.stderr)
  end

  local function parts()
    local texts = {}
    for i, name in ipairs(assert(fs.list(out))) do
      texts[i] = assert(fs.read(out .. "/" .. name))
    end
    return texts
  end

  local function sorted_lines()
    return support_text.sorted_lines(jobs.output(out))
  end

  local function digest()
    return support_text.digest(jobs.output(out))
  end

  it("wc", function()
    need_books()
    run("wc", 3)
    assert.equal("62e82bfba04609a770b1c7ee461bd486", digest())
    local counts = {}
    for i, text in ipairs(parts()) do
      counts[i] = select(2, text:gsub("\n", ""))
    end
    assert.same({ 2165, 2152, 2151, 2190, 2203, 2185, 2229, 2165, 2221, 2184 }, counts)
  end)

  it("indexer", function()
    need_books()
    run("indexer", 2)
    assert.equal("fc4ef4af79cc60a438c27fa1977ab318", digest())
  end)

  it("map parallelism", function()
    need_books()
    run("mtiming", 2)
    local times, together = 0, 0
    for _, line in ipairs(sorted_lines()) do
      times = times + (line:match "^times%-" and 1 or 0)
      together = together + (line:match "^parallel%-%d+ .*2" and 1 or 0)
    end
    assert.equal(2, times)
    assert.is_true(together >= 1)
  end)

  it("reduce parallelism", function()
    need_books()
    run("rtiming", 2)
    local together = 0
    for _, line in ipairs(sorted_lines()) do
      together = together + (line:match "^%a 2$" and 1 or 0)
    end
    assert.is_true(together >= 2, table.concat(sorted_lines(), "\n"))
  end)

  it("job count", function()
    need_books()
    run("jobcount", 4)
    assert.same({ "a 7" }, sorted_lines())
  end)

  it("early exit", function()
    need_books()
    run("early_exit", 3)
    local first = sorted_lines()
    assert.equal(7, #first)
    assert.same({}, assert(fs.glob(folder .. "/*.perilune-*")))
    perilune.sleep(0.8) -- longer than any reduce still sleeping would take
    assert.same(first, sorted_lines())
  end)

  it("crash", function()
    need_books()
    run("nocrash", 1)
    assert.equal("ded96809099e65fff3afb93bdb2bc8ed", digest())
    fs.remove(out, { recursive = true })
    run("crash", 3)
    assert.equal("ded96809099e65fff3afb93bdb2bc8ed", digest())
  end)
end)
