local cli = require "support.binary"
local fs = require "perilune.fs"
local process = require "perilune.process"
local use_folder = require "support.folder"

describe("perilune test", function()
  local folder = use_folder(before_each, after_each)

  -- Runs a spec of its own in TAP; returns the lines "ok ..." and "not ok ...", and everything.
  local function run(source, arguments)
    folder:write("a_spec.lua", source)
    local command = { "test" }
    table.move(arguments or {}, 1, #(arguments or {}), 2, command)
    table.move({ "-o", "TAP", folder.path }, 1, 3, #command + 1, command)
    local result = cli.run(command)
    local verdicts = {}
    for line in result.stdout:gmatch "[^\n]+" do
      verdicts[#verdicts + 1] = line:match "^n?o?t? ?ok .*"
    end
    return verdicts, result
  end

  it("lets tests sleep, spawn and wait everywhere", function()
    local verdicts, result = run [[
      local perilune = require "perilune"
      perilune.sleep(0.001)
      describe("a", function()
        local n
        setup(function() perilune.sleep(0.001) n = 1 end)
        before_each(function() perilune.sleep(0.001) n = n + 1 end)
        after_each(function() perilune.sleep(0.001) end)
        it("sleeps", function() perilune.sleep(0.001) assert.equal(2, n) end)
        it("joins", function()
          local ok, value = perilune.spawn(function() perilune.sleep(0.001) return n end):join()
          assert.is_true(ok)
          assert.equal(3, value)
        end)
      end)]]
    assert.same({ "ok 1 - a sleeps", "ok 2 - a joins" }, verdicts)
    assert.equal(0, result.status)
  end)

  it("fails a test whose fiber failed when nobody joined it", function()
    local verdicts = run [[
      local perilune = require "perilune"
      it("loses one", function()
        perilune.spawn(function() error "lost" end)
        perilune.sleep(0.01)
      end)
      it("joins one", function()
        assert.is_nil((perilune.spawn(function() error "joined" end):join()))
      end)]]
    assert.same({ "not ok 1 - loses one", "ok 2 - joins one" }, verdicts)
  end)

  it("names a test that waits or spins too long, and goes on", function()
    local verdicts, result = run([[
      local perilune = require "perilune"
      it("waits", function() perilune.channel(0):recv() end)
      it("spins", function() while true do pcall(function() while true do end end) end end)
      it("sleeps in a coroutine", function()
        coroutine.wrap(function() perilune.sleep(60) end)()
      end)
      it("is fine", function() perilune.sleep(0.001) end)]], { "--timeout", "200ms" })
    assert.same({
      "not ok 1 - waits", "not ok 2 - spins", "not ok 3 - sleeps in a coroutine", "ok 4 - is fine",
    }, verdicts)
    assert.matches("a_spec.lua:2: gave up after 0.2 s", result.stdout, 1, true)
    assert.equal(1, result.status)
  end)

  it("keeps the place of a failure and of an error", function()
    local _, result = run [[
      it("fails", function()
        assert.equal(1, 2)
      end)
      it("raises", function()
        local t
        t.x = 1
      end)]]
    assert.matches("a_spec.lua:2: Expected objects to be equal", result.stdout, 1, true)
    assert.matches("a_spec.lua:6: attempt to index a nil value", result.stdout, 1, true)
    assert.equal(1, result.status)
  end)

  it("takes os.exit for a failed test", function()
    local verdicts, result = run [[
      it("exits", function() os.exit(0) end)
      it("goes on", function() end)]]
    assert.same({ "not ok 1 - exits", "ok 2 - goes on" }, verdicts)
    assert.matches("a_spec.lua:1: os.exit(0) was called", result.stdout, 1, true)
    assert.equal(1, result.status)
  end)

  it("passes busted's own options on", function()
    local verdicts = run("it('one', function() end) it('two', function() end)", { "--filter=two" })
    assert.same({ "ok 1 - two" }, verdicts)
    local result = cli.run { "test", "--list", folder.path }
    assert.equal("one\ntwo\n", result.stdout)
    assert.equal(0, result.status)
  end)

  -- What busted shows on a terminal, which `script` stands in for.
  local function shown(arguments, env)
    if assert(process.run { "script", "-qec", "true", "/dev/null" }).status ~= 0 then
      pending "this machine gives no pseudo-terminals (is /dev/pts mounted?)"
    end
    folder:write("a_spec.lua", "it('one', function() end)")
    local command = ("%s test %s %s"):format(cli.path, folder.path, arguments)
    return assert(process.run { "script", "-qec", command, "/dev/null",
      env = { NO_COLOR = env and "1" or false, TERM = "xterm" } }).stdout
  end

  it("colours nothing when told so", function()
    for _, text in ipairs { shown("", true), shown "--color never", shown "--color=never -o gtest",
      shown "-o utfTerminal --color never" } do
      assert.matches("1", text)
      assert.not_matches("\27[", text, 1, true)
    end
  end)

  it("colours what is no terminal when told so", function()
    folder:write("a_spec.lua", "it('one', function() end)")
    assert.matches("\27[32m", cli.run({ "test", "--color", "always", folder.path }).stdout, 1, true)
    assert.not_matches("\27[", cli.run({ "test", folder.path }).stdout, 1, true)
  end)

  it("takes the global options among busted's", function()
    local verdicts, result = run([[
      local perilune = require "perilune"
      it("one", function() perilune.log.info "told" end)
      it("two", function() end)]],
      { "--color", "never", "--filter=one", "--log-level=error", "--timeout", "5s" })
    assert.same({ "ok 1 - one" }, verdicts)
    assert.equal("", result.stderr)
    assert.equal(0, result.status)
  end)

  for flag, hint in pairs { ["--timout"] = "did you mean '--timeout'?", ["--fliter=x"] =
    "did you mean '--filter'?", ["--frobnicate"] = "see 'perilune test --help'" } do
    it("hints at what was meant by " .. flag, function()
      local result = cli.run { "test", flag, "5s", folder.path }
      assert.equal(("perilune: test: unknown option '%s'\nhint: %s\n"):format(flag:match "[^=]+", hint),
        result.stderr)
      assert.equal(2, result.status)
    end)
  end

  it("fails when no test has run", function()
    local _, result = run("it('one', function() end)", { "--filter=nope", "--tags", "slow" })
    assert.equal("perilune: test: no test matches --filter=nope --tags=slow\n"
      .. "hint: perilune test --list shows the names of the tests\n", result.stderr)
    assert.equal(1, result.status)
    _, result = run "local x"
    assert.matches("the specs have no test", result.stderr, 1, true)
    assert.equal(1, result.status)
  end)

  it("fails before any test when a spec is missing, in any format", function()
    folder:write("a_spec.lua", "it('one', function() end)")
    for _, format in ipairs { "TAP", "plainTerminal", "junit", "gtest" } do
      local result = cli.run { "test", "-o", format, "x_spec.lua", "y_spec.lua", folder:at "a_spec.lua" }
      assert.matches("^perilune: test: no such file or folder: x_spec.lua, y_spec.lua\n", result.stderr)
      assert.equal("", result.stdout)
      assert.equal(1, result.status)
    end
    assert(fs.remove(folder:at "a_spec.lua"))
    local result = cli.run { "test", folder.path }
    assert.matches(("no file in %s has a name with _spec\n"):format(folder.path), result.stderr, 1, true)
    assert.equal(1, result.status)
  end)

  it("finds specs from another directory", function()
    folder:write("a_spec.lua", "it('one', function() end)")
    assert.equal(0, cli.run({ "test", "-C", folder.path, "a_spec.lua" }).status)
  end)
end)
