local cli = require "support.binary"
local fs = require "perilune.fs"
local process = require "perilune.process"
local json = require "perilune.json"

local function with_script(source, arguments)
  local folder = assert(fs.tempdir())
  local path = folder .. "/script.lua"
  assert(fs.write(path, source))
  local command = { "run", path }
  for index, argument in ipairs(arguments or {}) do
    command[index + 2] = argument
  end
  local result = cli.run(command)
  assert(fs.remove(folder, { recursive = true }))
  return result, path
end

describe("the command line", function()
  it("shows the verbs when called without any", function()
    local result = cli.run {}
    assert.equal(0, result.status)
    assert.matches("Usage: perilune", result.stdout, 1, true)
    for _, verb in ipairs { "run", "mr", "test", "version", "help", "completion" } do
      assert.matches("\n  " .. verb .. " ", result.stdout)
    end
    assert.equal("", result.stderr)
  end)

  for _, case in ipairs {
    { "--help" }, { "-h" }, { "help" }, { "help", "run" }, { "run", "--help" }, { "test", "-h" },
    { "completion", "--help" }, { "version", "--help" },
  } do
    it("answers on standard output to " .. table.concat(case, " "), function()
      local result = cli.run(case)
      assert.equal(0, result.status)
      assert.matches("^Usage: perilune", result.stdout)
      assert.matches("Examples?:", result.stdout)
      assert.equal("", result.stderr)
    end)
  end

  for _, verb in ipairs {
    "run", "mr", "stream", "sim", "check", "kv", "machine", "recover", "test", "completion",
  } do
    it(("fits the help of %s into 79 columns"):format(verb), function()
      local is_example = false
      for line in cli.run({ verb, "--help" }).stdout:gmatch "[^\n]+" do
        is_example = is_example or line == "Examples:" -- commands are not broken
        assert.is_true(is_example or #line <= 79, line)
      end
    end)
  end

  for _, case in ipairs {
    { { "rnu", "x" }, "perilune: rnu: unknown verb\nhint: did you mean 'perilune run'?\n" },
    { { "frobnicate" }, "perilune: frobnicate: unknown verb\nhint: see 'perilune help' for the verbs\n" },
    { { "help", "tset" }, "perilune: help tset: unknown verb\nhint: did you mean 'perilune help test'?\n" },
    { { "--colr", "never" }, "perilune: --colr: unknown option\nhint: did you mean '--color'?\n" },
    { { "--color" }, "perilune: --color: needs an argument\n" },
    { { "version", "--jsno" }, "perilune: version: unknown option '--jsno'\nhint: did you mean '--json'?\n" },
    { { "run" }, "perilune: run: no script given\nhint: write: perilune run SCRIPT.lua [argument...]\n" },
    { { "--color", "blue", "version" },
      "perilune: --color: 'blue' is none of auto, always, never\n" },
    { { "test", "--timeout", "5" },
      "perilune: test: --timeout: the duration '5' needs a unit: 5s, or 5ms\n"
        .. "hint: see 'perilune test --help'\n" },
    { { "mr", "job.lua" },
      "perilune: mr: missing argument 'inputs'\nhint: write: perilune mr JOB.lua INPUT... -o OUT\n" },
    { { "mr", "job.lua", "in", "-o", "out", "--workers", "two" }, "perilune: mr: --workers: 'two' is not a "
      .. "whole number of at least 1\nhint: see 'perilune mr --help'\n" },
    { { "mr", "job.lua", "in", "-o", "out", "--reduces", "-1" },
      "perilune: mr: --reduces: '-1' is not a whole number of at least 1\nhint: see 'perilune mr --help'\n" },
  } do
    it("refuses with a hint: " .. table.concat(case[1], " "), function()
      local result = cli.run(case[1])
      assert.equal(case[2], result.stderr)
      assert.equal("", result.stdout)
      assert.equal(2, result.status)
    end)
  end

  it("reports mistakes as JSON with --json", function()
    local result = cli.run { "version", "--json", "--jsno" }
    assert.equal(2, result.status)
    assert.same({ error = {
      code = "EUSAGE", message = "version: unknown option '--jsno'", hint = "did you mean '--json'?",
    } }, json.decode(result.stdout))
  end)

  it("takes global options from the environment, and flags before that", function()
    local wrong = cli.run { "version", env = { PERILUNE_COLOR = "blue" } }
    assert.equal(2, wrong.status)
    assert.matches("PERILUNE_COLOR", wrong.stderr, 1, true)
    local colored = cli.run { "rnu", env = { PERILUNE_COLOR = "always" } }
    assert.matches("\27[", colored.stderr, 1, true)
    local plain = cli.run { "--color=never", "rnu", env = { PERILUNE_COLOR = "always" } }
    assert.not_matches("\27[", plain.stderr, 1, true)
  end)

  it("has colours only where they are wanted", function()
    for _, case in ipairs {
      { env = {}, colored = false },
      { env = { FORCE_COLOR = "1" }, colored = true },
      { env = { FORCE_COLOR = "1", NO_COLOR = "1" }, colored = false },
      { env = { FORCE_COLOR = "0" }, colored = false },
    } do
      local result = cli.run { "rnu", env = case.env }
      assert.equal(case.colored, result.stderr:find("\27[", 1, true) ~= nil)
    end
  end)
end)

describe("perilune version", function()
  it("names the libraries in the binary", function()
    local result = cli.run { "version", "--json" }
    local version = json.decode(result.stdout)
    assert.equal(0, result.status)
    assert.matches("^%d+%.%d+%.%d+$", version.version)
    assert.matches("^5%.4%.%d+$", version.libraries.lua)
    for _, library in ipairs {
      "libuv", "jansson", "libmpack", "lz4", "zstd", "zlib", "openssl", "leveldb",
    } do
      assert.matches("^%d+%.%d+", version.libraries[library])
    end
    assert.matches("^perilune " .. version.version:gsub("%.", "%%."), cli.run({ "--version" }).stdout)
  end)
end)

describe("a script without its .lua", function()
  it("is what was meant", function()
    local folder = assert(fs.tempdir())
    assert(fs.write(folder .. "/squares.lua", ""))
    local result = assert(process.run { cli.path, "squares", cwd = folder })
    assert.equal("perilune: squares: unknown verb\nhint: to run the script: perilune squares.lua\n",
      result.stderr)
    assert.equal(2, result.status)
    assert(fs.remove(folder, { recursive = true }))
  end)
end)

describe("perilune completion", function()
  for _, shell in ipairs { "bash", "zsh", "fish" } do
    it("knows verbs and options for " .. shell, function()
      local result = cli.run { "completion", shell }
      assert.equal(0, result.status)
      for _, word in ipairs { "run", "completion", "timeout", "log-level" } do
        assert.matches(word, result.stdout, 1, true)
      end
    end)
  end

  -- What bash would offer for the last of the words.
  local function offered(...)
    local words = { ... }
    local result = assert(process.run { "bash", "-c", [[
      eval "$("$0" completion bash)"
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
      _perilune
      echo "${COMPREPLY[*]}"]], cli.path, table.unpack(words) })
    assert.equal("", result.stderr)
    return (result.stdout:gsub("\n$", ""))
  end

  it("offers verbs, options, and what they take", function()
    assert.equal("mr members machine", offered("perilune", "m"))
    assert.equal("--format --force", offered("perilune", "mr", "--for"))
    assert.equal("auto always never", offered("perilune", "--color", ""))
    assert.equal("csv chunk", offered("perilune", "mr", "--format", "c"))
    assert.equal("map", offered("perilune", "stream", "m"))
    assert.equal("version", offered("perilune", "help", "v"))
    assert.equal("bash", offered("perilune", "completion", "b"))
    assert.equal("", offered("perilune", "mr", "job")) -- files: bash's own
  end)

  it("refuses another shell", function()
    assert.equal(2, cli.run({ "completion", "tcsh" }).status)
  end)
end)

describe("perilune run", function()
  it("hands arguments to the script, even those that look like ours", function()
    local result, path = with_script("print(arg[0], #arg, ...)", { "--json", "-h", "x y" })
    assert.equal(path .. "\t3\t--json\t-h\tx y\n", result.stdout)
    assert.equal(0, result.status)
  end)

  it("skips a #! line and finds modules beside the script", function()
    local folder = assert(fs.tempdir())
    assert(fs.write(folder .. "/script.lua", "#!/usr/bin/env perilune\nprint(require('beside').answer)"))
    assert(fs.write(folder .. "/beside.lua", "return { answer = 42 }"))
    local result = cli.run { folder .. "/script.lua" }
    assert.equal("42\n", result.stdout)
    assert(fs.remove(folder, { recursive = true }))
  end)

  it("reads a script from standard input", function()
    local result = cli.run { "run", "-", "5", input = "print(1 + ...)" }
    assert.equal("6\n", result.stdout)
  end)

  it("shows the message and the script's traceback", function()
    local result, path = with_script("local function f() error 'boom' end\nlocal function g() f() end\ng()\n")
    assert.equal(1, result.status)
    assert.equal(("perilune: %s:1: boom\nstack traceback:\n\t%s:1: in upvalue 'f'\n\t%s:2: in local 'g'\n\t"
      .. "%s:3: in main chunk\n"):format(path, path, path, path), result.stderr)
  end)

  it("tells a syntax error, a missing script and an odd error value", function()
    local result, path = with_script("x = = 1")
    assert.equal(("perilune: %s:1: unexpected symbol near '='\n"):format(path), result.stderr)
    assert.equal(1, result.status)

    result = cli.run { "run", "no/such.lua" }
    assert.equal("perilune: run no/such.lua: No such file or directory\n", result.stderr)
    assert.equal(1, result.status)

    result = with_script("error({})")
    assert.matches("(error object is a table value)", result.stderr, 1, true)
    assert.equal(1, result.status)
  end)

  it("ends with the code of os.exit", function()
    assert.equal(7, with_script("os.exit(7)").status)
    assert.equal(0, with_script("os.exit(true)").status)
    assert.equal(1, with_script("os.exit(false)").status)
  end)

  it("stops a script that computes longer than --cpu-deadline", function()
    local folder = assert(fs.tempdir())
    assert(fs.write(folder .. "/spin.lua", "while true do pcall(function() while true do end end) end"))
    local result = cli.run { "run", "--cpu-deadline", "200ms", folder .. "/spin.lua" }
    assert.equal(1, result.status)
    assert.matches("CPU", result.stderr, 1, true)
    assert(fs.remove(folder, { recursive = true }))
  end)
end)
