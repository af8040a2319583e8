-- What a shell, a terminal and a service manager do to a program.
local cli = require "support.binary"
local fs = require "perilune.fs"
local perilune = require "perilune"
local process = require "perilune.process"
local use_folder = require "support.folder"

describe("perilune", function()
  local folder = use_folder(before_each, after_each)

  -- Runs a command of the shell in which $P is the binary.
  local function shell(text)
    return assert(process.run { "sh", "-c", text, env = { P = cli.path, D = folder.path } })
  end

  for _, closed in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
    it("runs with " .. closed .. ", and no file becomes a standard stream", function()
      assert(fs.write(folder:at "script.lua", [[
        local fs = require "perilune.fs"
        local file = assert(fs.open(... .. "/file", "w"))
        print "printed" io.stderr:write "noted"
        assert(file:write "kept") file:close()]]))
      local result = shell(('"$P" run "$D/script.lua" "$D" %s'):format(closed))
      assert.equal(0, result.status, result.stderr)
      assert.equal("kept", fs.read(folder:at "file"))
    end)
  end

  -- Sends the signal to a script that sleeps for a second; the status that it ends with.
  local function status_after(signal, prefix)
    assert(fs.write(folder:at "script.lua", [[
      local perilune = require "perilune"
      local _ <close> = setmetatable({}, { __close = function() print "closed" end })
      print "started" io.stdout:flush() perilune.sleep(1)]]))
    local child = assert(process.spawn { "sh", "-c", ('%s exec "$P" run "$D/script.lua"'):format(prefix),
      env = { P = cli.path, D = folder.path }, stdout = "pipe" })
    assert.equal("started", child:read_line())
    child:kill(signal)
    assert.equal("closed", child:read_line())
    return child:wait().status
  end

  it("ends in order when its terminal goes away", function()
    assert.equal(129, status_after(1, ""))
  end)

  it("outlives its terminal under nohup", function()
    assert.equal(0, status_after(1, "trap '' HUP;"))
  end)

  for _, case in ipairs {
    { "a hook that never ends", "debug.sethook(function() while true do end end, 'l') local x = 1" },
    { "a read that nobody answers", "io.read()" },
    { "a command that goes on", "os.execute 'sleep 5'" },
    { "a finalizer that never ends", "setmetatable({}, { __gc = function() while true do end end })" },
  } do
    it("ends within 2 s of SIGTERM inside " .. case[1], function()
      folder:write("script.lua", "print 'started' io.stdout:flush() " .. case[2])
      local child = assert(process.spawn { cli.path, "run", folder:at "script.lua", stdin = "pipe",
        stdout = "pipe" })
      assert.equal("started", child:read_line())
      perilune.sleep(0.02)
      local began = perilune.now()
      child:kill(15)
      local exit = child:wait()
      assert.is_true(perilune.now() - began < 2, perilune.now() - began .. " s")
      assert.is_true(exit.status == 143 or exit.status == 0, tostring(exit.status)) -- 0: it had ended
    end)
  end

  it("ends at once at the second signal", function()
    folder:write("script.lua", "print 'started' io.stdout:flush() io.read()")
    local child = assert(process.spawn { cli.path, "run", folder:at "script.lua", stdin = "pipe",
      stdout = "pipe" })
    assert.equal("started", child:read_line())
    local began = perilune.now()
    child:kill(15)
    perilune.sleep(0.1)
    child:kill(2)
    assert.equal(130, child:wait().status)
    assert.is_true(perilune.now() - began < 1)
  end)

  it("cannot be left twice: os.exit in a finalizer at the end is an error", function()
    folder:write("script.lua", "setmetatable({}, { __gc = function() os.exit(7) end })")
    assert.equal(0, cli.run({ "run", folder:at "script.lua" }).status)
  end)

  it("reads standard input once only, and says why it cannot", function()
    folder:write("job.lua", "return { map = function(rec, out) out(rec, 1) end }")
    local result = shell 'echo a | "$P" mr "$D/job.lua" - - -o "$D/out"'
    assert.equal(1, result.status)
    assert.matches("can be read once only", result.stderr, 1, true)
    result = shell '"$P" mr "$D/job.lua" - -o "$D/out" < /'
    assert.equal(1, result.status)
    assert.matches("job.lua: standard input: ", result.stderr, 1, true)
    assert.same({ "job.lua" }, fs.list(folder.path))
  end)

  it("leaves nothing of a job behind when the terminal goes away", function()
    folder:write("job.lua", "return { map = function() while true do end end }")
    local child = assert(process.spawn { cli.path, "mr", folder:at "job.lua", folder:at "job.lua", "-o",
      folder:at "out", stderr = "null" })
    for _ = 1, 400 do
      if #assert(fs.list(folder.path)) == 2 then
        break
      end
      perilune.sleep(0.01)
    end
    perilune.sleep(0.05)
    child:kill(1)
    assert.equal(129, child:wait().status)
    assert.same({ "job.lua" }, fs.list(folder.path))
  end)
end)
