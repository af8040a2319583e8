local fs = require "perilune.fs"
local process = require "perilune.process"

-- What a script writes on standard error.
local function logged(script)
  local path = os.tmpname()
  assert(fs.write(path, 'local log = require "perilune.log"\n' .. script))
  local result = assert(process.run { process.executable(), "run", path })
  os.remove(path)
  assert.are.equal(0, result.status, result.stderr)
  return (result.stderr:gsub("%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ", "NOW"))
end

describe("perilune.log", function()
  it("writes logfmt with fields in order", function()
    assert.are.equal('time=NOW level=info component=mr msg="job done" a=true name="two words" records=3 '
      .. 'seconds=1.5 where=[1,2]\n',
      logged [[log.info("job done", { records = 3, name = "two words", seconds = 1.5, a = true,
        component = "mr", where = { 1, 2 } })]])
  end)

  it("lets no value forge a line or reach the terminal", function()
    assert.are.equal([[time=NOW level=warn msg="a\nlevel=error" x="\x1b[31m\"\xff\xc2\x9b" y=""]] .. "\n",
      logged [[log.warn("a\nlevel=error", { x = "\27[31m\"\255\xc2\x9b", y = "" })]])
  end)

  it("drops what is below its level", function()
    assert.are.equal("time=NOW level=error msg=c\n", logged [[
      assert(log.level() == "info")
      log.debug "a"
      assert(log.level "error" == "info")
      log.warn "b"
      log.error "c"
      assert(not pcall(log.level, "loud"))]])
    assert.are.equal("time=NOW level=debug msg=a\n", logged [[log.level "debug" log.debug "a"]])
  end)

  it("writes JSON", function()
    assert.are.equal([[{"time":"NOW","level":"info","msg":"a \"b\"","n":1.5,"s":"\u0001"}]] .. "\n",
      logged [[log.format "json" log.info('a "b"', { n = 1.5, s = "\1" })]])
  end)

  it("writes valid JSON even when it has to cut", function()
    local line = logged [[log.format "json" log.info(("m"):rep(100000), { a = ("é"):rep(100000), b = 1 })]]
    local value = assert(require "perilune.json".decode(line))
    assert.are.equal("info", value.level)
    assert.truthy(#line <= 16384)
  end)
end)
