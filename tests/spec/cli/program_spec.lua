-- What a script sees of its process: how it ends, and what it leaves on the terminal.
local cli = require "support.binary"
local fs = require "perilune.fs"
local perilune = require "perilune"
local process = require "perilune.process"

local function write_script(source)
  local folder = assert(fs.tempdir())
  local path = folder .. "/script.lua"
  assert(fs.write(path, source))
  return path
end

local function run(source)
  return cli.run { "run", write_script(source) }
end

-- Runs the script under a shell, where pipes and signals are easy to say; $P is the program.
local function run_in_shell(source, command)
  return assert(process.run {
    "bash", "-c", "P=$1 SCRIPT=$2; " .. command, "bash", cli.path, write_script(source),
  })
end

local SPIN = [[while true do pcall(function() while true do end end) end]]

describe("os.exit", function()
  it("unwinds, keeps the code and cannot be caught", function()
    local result = run [[
      local guard <close> = setmetatable({}, { __close = function() print "closed" end })
      pcall(function() coroutine.wrap(function() os.exit(7) end)() end)
      print "went on"]]
    assert.same({ 7, "closed\n" }, { result.status, result.stdout })
    assert.equal(0, run("os.exit(true)").status)
    assert.equal(1, run("os.exit(false)").status)
  end)

  it("ends the program from any fiber", function()
    local result = run [[
      local perilune = require "perilune"
      perilune.spawn(function() perilune.sleep(0.01) os.exit(5) end)
      perilune.sleep(100)]]
    assert.equal(5, result.status)
  end)
end)

describe("a script", function()
  it("ends when its fibers have ended, not before", function()
    local result = run [[
      local perilune = require "perilune"
      perilune.spawn(function()
        perilune.spawn(function() perilune.sleep(0.02) print "grandchild" end)
      end)
      perilune.spawn({ detached = true }, function() perilune.sleep(100) end)
      print "end of script"]]
    assert.same({ 0, "end of script\ngrandchild\n" }, { result.status, result.stdout })
  end)

  it("ends although fibers wait for what can never come", function()
    local result = run [[
      local perilune = require "perilune"
      local jobs = perilune.channel()
      perilune.spawn(function() for _ in jobs:values() do end end)]]
    assert.same({ 0, "" }, { result.status, result.stderr })
  end)

  it("lets go of what it has printed before it waits", function()
    local script = write_script [[
      print "ready"
      require("perilune").sleep(100)]]
    local path = script:gsub("script.lua$", "output")
    local child = assert(process.spawn { "sh", "-c", 'exec "$1" "$2" >"$3"', "sh", cli.path, script, path })
    local due = perilune.now() + 10
    local text
    repeat
      perilune.sleep(0.01)
      text = fs.read(path)
    until text and text ~= "" or perilune.now() > due
    child:kill(9)
    child:wait()
    assert.equal("ready\n", text)
  end)

  it("ends when nobody reads what it prints now and then", function()
    local result = run_in_shell([[
      local perilune = require "perilune"
      while true do print "x" perilune.sleep(0.01) end]],
      '(timeout 20 "$P" run "$SCRIPT"; echo "$?" >&2) | head -n 1')
    assert.same({ "x\n", "141\n" }, { result.stdout, result.stderr })
  end)

  it("that fails shows its own lines and nothing of ours", function()
    local result = run "local function f() error 'boom' end\nlocal function g() f() end\ng()"
    assert.equal(1, result.status)
    assert.matches("^perilune: .*script.lua:1: boom\nstack traceback:\n\t", result.stderr)
    assert.matches("script.lua:2: in ", result.stderr)
    assert.is_nil(result.stderr:find("[C]", 1, true))
  end)

  it("hears of fibers that fail when nobody joins them", function()
    local result = run [[
      local perilune = require "perilune"
      perilune.spawn({ name = "lost" }, function() error "forgotten" end)]]
    assert.matches("level=error component=fiber", result.stderr)
    assert.matches("fiber lost failed: [^\"\\]*script.lua:2: forgotten; stack traceback: "
      .. "[^\"\\]*script.lua:2: in function <[^\"\\]*>\"\n", result.stderr)
    assert.equal(1, result.status)
  end)

  it("succeeds when somebody joins a failed fiber, however late", function()
    local result = run [[
      local perilune = require "perilune"
      local fiber = perilune.spawn({ name = "lost" }, function() error "forgotten" end)
      perilune.sleep(0.02)
      assert(not fiber:join())]]
    assert.equal(0, result.status)
  end)

  it("that can never go on is ended with a report of every fiber", function()
    local result = run [[
      local perilune = require "perilune"
      local channel = perilune.channel()
      perilune.spawn({ name = "worker" }, function() channel:recv() end)
      channel:recv()]]
    assert.equal(1, result.status)
    assert.matches("deadlock: nothing can wake the main fiber", result.stderr)
    assert.matches("fiber main waits for ever: channel.recv at .*script.lua:4", result.stderr)
    assert.matches("fiber worker waits for ever: channel.recv at .*script.lua:3", result.stderr)
  end)

  it("ends without a word when nobody reads its output", function()
    for _, write in ipairs { "print(i)", "io.write(i, '\\n')", "io.stdout:write(i, '\\n')" } do
      local result = run_in_shell("for i = 1, 1e12 do " .. write .. " end",
        [["$P" run "$SCRIPT" | head -1; echo "${PIPESTATUS[0]}"]])
      assert.same({ "1\n141\n", "" }, { result.stdout, result.stderr })
    end
  end)
end)

describe("a signal", function()
  for _, case in ipairs { { "TERM", 143 }, { "INT", 130 } } do
    local name, status = case[1], case[2]
    it(name .. " ends a script that catches everything and never waits", function()
      local start = perilune.now()
      local result = run_in_shell(SPIN,
        ([[set -m; "$P" run "$SCRIPT" & sleep 0.3; kill -%s $!; wait $!; echo $?]]):format(name))
      assert.matches(status .. "\n$", result.stdout)
      assert.is_true(perilune.now() - start < 2.3)
    end)
  end

  it("runs the handlers of the main fiber and of its children", function()
    local result = run_in_shell([[
      local perilune = require "perilune"
      local function wait(name)
        local guard <close> = setmetatable({}, { __close = function() print(name) end })
        perilune.sleep(100)
      end
      perilune.spawn(wait, "child")
      wait "main"]], [[set -m; "$P" run "$SCRIPT" & sleep 0.3; kill -TERM $!; wait $!; echo $?]])
    assert.matches("child\n", result.stdout)
    assert.matches("main\n", result.stdout)
    assert.matches("143\n$", result.stdout)
  end)
end)
