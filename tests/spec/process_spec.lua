local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local process = require "perilune.process"

describe("perilune.process", function()
  describe("run", function()
    it("returns status and both outputs", function()
      local result = assert(process.run { "sh", "-c", "echo out; echo err >&2; exit 3" })
      assert.are.equal("out\n", result.stdout)
      assert.are.equal("err\n", result.stderr)
      assert.are.equal(3, result.status)
      assert.is_nil(result.signal)
      assert.truthy(result.max_rss_bytes > 0)
    end)

    it("feeds large input while it reads large output", function()
      local input = ("0123456789abcdef"):rep(200000)
      local result = assert(process.run { "cat", input = input })
      assert.is_true(result.stdout == input)
    end)

    it("does not mind a child that ignores its input", function()
      assert.are.equal(0, process.run { "true", input = ("x"):rep(1000000) }.status)
    end)

    it("changes the environment and the directory", function()
      local result = assert(process.run { "sh", "-c", "echo $PERI_A-$HOME; pwd", cwd = "/",
        env = { PERI_A = "moon", HOME = false } })
      assert.are.equal("moon-\n/\n", result.stdout)
    end)

    it("says what could not be started and why", function()
      local result, err, code = process.run { "perilune-no-such-program" }
      assert.is_nil(result)
      assert.are.equal("start perilune-no-such-program: No such file or directory", err)
      assert.are.equal("ENOENT", code)
    end)

    it("refuses misuse", function()
      assert.has_error(function() process.run { "true", stdn = "pipe" } end,
        "process.run: unknown option stdn; there are cwd, dies_with_parent, env, input")
      assert.has_error(function() process.run { "true", cwd = 1 } end,
        "process.run: option cwd must be a string, not a number")
      assert.has_error(function() process.run {} end)
      assert.has_error(function() process.run { "a\0b" } end)
    end)
  end)

  describe("spawn", function()
    it("streams in both directions", function()
      local child <close> = assert(process.spawn { "cat", stdin = "pipe", stdout = "pipe" })
      assert(child:write "hello\nworld\nlast")
      assert.are.equal("hello", child:read_line())
      assert.are.equal("wor", child:read_exact(3))
      assert.are.equal("ld", child:read_line())
      child:close_stdin()
      assert.are.equal("last", child:read_line())
      assert.is_nil(child:read_line())
      assert.are.equal("", child:read())
      assert.are.equal(0, child:wait().status)
      assert.are.equal(0, child:wait().status) -- as often as one likes
    end)

    it("tells an end in the middle from an end", function()
      local child <close> = assert(process.spawn { "printf", "abc", stdout = "pipe" })
      local bytes, err, code = child:read_exact(5)
      assert.is_nil(bytes)
      assert.are.equal("EFORMAT", code)
      assert.truthy(err:find("3 of 5 bytes", 1, true))
      assert.are.equal("abc", child:read_exact(3))
      assert.is_nil(select(2, child:read_exact(1)))
    end)

    it("carries frames of any bytes and size", function()
      local child <close> = assert(process.spawn { "cat", stdin = "pipe", stdout = "pipe" })
      local sizes = { 0, 1, 3, 65535, 65536, 65537, 3000000 }
      fiber.spawn(function()
        for _, size in ipairs(sizes) do
          child:write(("<s4"):pack(("\0"):rep(size)))
        end
      end)
      for _, size in ipairs(sizes) do
        assert.are.equal(size, ("<I4"):unpack(child:read_exact(4)))
        assert.is_true(child:read_exact(size) == ("\0"):rep(size))
      end
    end)

    it("lets a child that nobody reads wait", function()
      local child <close> = assert(process.spawn {
        "head", "-c", "20000000", "/dev/zero", stdout = "pipe" })
      assert.are.equal(1, #child:read(1))
      fiber.sleep(0.1)
      assert.is_true(process.is_alive(child:pid()))
      assert.are.equal(19999999, #child:read())
    end)

    it("reports the signal that ended a child", function()
      local child <close> = assert(process.spawn { "sleep", "100" })
      assert.is_true(child:kill(9))
      local exit = assert(child:wait())
      assert.are.equal(9, exit.signal)
      assert.is_nil(exit.status)
      assert.are.equal("ESRCH", select(3, child:kill()))
    end)

    it("wakes every fiber that waits", function()
      local child <close> = assert(process.spawn { "cat", stdin = "pipe", stdout = "null" })
      local fibers = {}
      for i = 1, 5 do
        fibers[i] = fiber.spawn(function() return child:wait().status end)
      end
      fiber.sleep(0)
      child:close_stdin()
      for i = 1, 5 do
        assert.are.same({ true, 0 }, { fibers[i]:join() })
      end
    end)

    it("kills the child when it is closed", function()
      local child = assert(process.spawn { "sleep", "100", stdin = "pipe" })
      local pid = child:pid()
      local waiter = fiber.spawn(function() return child:wait() end)
      fiber.sleep(0)
      child:close()
      assert.are.same({ true, nil, "the process handle was closed", "ECLOSED" }, { waiter:join() })
      for _ = 1, 100 do
        if not process.is_alive(pid) then
          break
        end
        fiber.sleep(0.02)
      end
      assert.is_false(process.is_alive(pid))
    end)

    it("outlives a reader that is cancelled", function()
      local child <close> = assert(process.spawn { "cat", stdin = "pipe", stdout = "pipe" })
      local reader = fiber.spawn(function() return child:read_line() end)
      fiber.sleep(0)
      reader:cancel()
      assert(child:write "still here\n")
      assert.are.equal("still here", child:read_line())
    end)

    it("lets one fiber read at a time", function()
      local child <close> = assert(process.spawn { "cat", stdin = "pipe", stdout = "pipe" })
      fiber.spawn(function() return child:read_line() end)
      fiber.sleep(0)
      assert.has_error(function() child:read_line() end)
    end)

    it("says that a stream is no pipe, or that nobody reads", function()
      local child <close> = assert(process.spawn { "true", stdin = "pipe" })
      assert.has_error(function() child:read() end, "this child's stdout is not a pipe")
      child:wait()
      assert.are.equal("EPIPE", select(3, child:write "x"))
    end)
  end)

  it("knows the process itself", function()
    assert.is_true(process.is_alive(process.pid()))
    assert.truthy(process.processors() >= 1)
    assert.is_true(fs.exists(process.executable()))
  end)

  it("lets a detached child live, and signals it without a handle", function()
    local log = os.tmpname()
    local child = assert(process.spawn { "sh", "-c", "echo out; echo err >&2; echo $$; exec sleep 60",
      detached = true, output = log })
    local pid = child:pid()
    child:close()
    while select(2, fs.read(log):gsub("\n", "")) < 3 do
      fiber.sleep(0.01)
    end
    assert.equal(("out\nerr\n%d\n"):format(pid), fs.read(log))
    assert.equal(0, fs.stat(log).mode & 63)
    local session = assert(fs.read(("/proc/%d/stat"):format(pid))):match "%) %S %d+ %d+ (%d+)"
    assert.equal(tostring(pid), session)
    assert.is_true(process.signal(pid, 0))
    assert.is_true(process.signal(pid, 9))
    while (fs.read(("/proc/%d/stat"):format(pid)) or "(x) Z"):match "%) (%S)" ~= "Z" do
      fiber.sleep(0.01)
    end
    os.remove(log)
    local _, _, code = process.signal(2 ^ 22 | 0, 0) -- ids are below
    assert.equal("ESRCH", code)
    _, _, code = process.signal(-1, 0)
    assert.equal("EINVAL", code)
    _, _, code = process.spawn { "true", output = "/nowhere/log" }
    assert.equal("ENOENT", code)
    assert.has_error(function() process.spawn { "true", output = log, stdout = "null" } end,
      "process.spawn: output is the file of stdout and stderr; leave those out")
    assert.has_error(function() process.spawn { "true", detached = true, dies_with_parent = true } end,
      "process.spawn: detached and dies_with_parent exclude each other")
  end)

  it("reads standard input as a stream", function()
    local script = os.tmpname()
    assert(fs.write(script, [[
      local stdin = assert(require "perilune.process".standard "stdin")
      local size = ("<I4"):unpack(assert(stdin:read_exact(4)))
      print(stdin:read_exact(size), stdin:read_line(), stdin:read())
    ]]))
    local result = assert(process.run { process.executable(), "run", script,
      input = ("<s4"):pack "frame" .. "line\nrest" })
    os.remove(script)
    assert.are.equal("frame\tline\trest\n", result.stdout)
    assert.are.equal("", result.stderr)
  end)

  it("gives no more output than fits", function()
    local result, err, code = process.run { "head", "-c", "300000000", "/dev/zero" }
    assert.is_nil(result)
    assert.matches("more than 256 MiB", err, 1, true)
    assert.equal("ETOOBIG", code)
  end)
end)
