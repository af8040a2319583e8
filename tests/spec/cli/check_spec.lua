local cli = require "support.binary"
local json = require "perilune.json"
local new_folder = require "support.folder"

local FOLDER = "tests/data/histories/"

describe("perilune check", function()
  local folder = new_folder(before_each, after_each)

  it("exits 0 for a history that is linearizable, 1 for one that is not", function()
    local result = cli.run { "check", "--model", "register", FOLDER .. "unknown_write.jsonl" }
    assert.equal(0, result.status)
    assert.matches("^linearizable: 5 operations %(2 of unknown outcome%)", result.stdout)
    result = cli.run { "check", "-m", "register", FOLDER .. "stale_read.jsonl", env = { NO_COLOR = "1" } }
    assert.equal(1, result.status)
    assert.matches("c3 read 4 at 12.028 s although c1's write of 5 had been acknowledged at 12.020 s.",
      result.stdout, 1, true)
    assert.is_nil(result.stdout:find "\27")
  end)

  it("reads standard input, and several files", function()
    local text = assert(require("perilune.fs").read(FOLDER .. "kv.edn"))
    assert.equal(0, cli.run { "check", "--model", "kv", "-", input = text }.status)
    local result = cli.run { "check", "--model", "register", FOLDER .. "unknown_write.jsonl",
      FOLDER .. "new_old_inversion.jsonl" }
    assert.equal(1, result.status)
    assert.matches("unknown_write.jsonl: linearizable", result.stdout, 1, true)
    assert.matches("new_old_inversion.jsonl: not linearizable", result.stdout, 1, true)
  end)

  it("prints JSON", function()
    local result = cli.run { "check", "--model", "queue", "--json", FOLDER .. "queue_twice.jsonl" }
    assert.equal(1, result.status)
    local verdict = assert(json.decode(result.stdout)).histories[1]
    assert.is_false(verdict.ok)
    assert.equal("not linearizable", verdict.verdict)
    assert.equal(2, #verdict.keys[1].counterexample.operations)
  end)

  it("prints JSON of what is none: bytes, keys that are numbers", function()
    local result = cli.run { "check", "--model", "register", "--json", "-", input =
      "{:process 1 :type :invoke :f :read}\n{:process 1 :type :ok :f :read :value {2 \"\xff\"}}\n" }
    assert.equal(1, result.status)
    local example = assert(json.decode(result.stdout)).histories[1].keys[1].counterexample
    assert.same({ ["2"] = "\u{fffd}" }, example.blocked.result)
    result = cli.run { "check", "--model", "register", "--json", "no\xff" }
    assert.matches("no\u{fffd}: No such file", assert(json.decode(result.stdout)).histories[1].error.message,
      1, true)
  end)

  it("moves no cursor, whatever a message quotes", function()
    local result = cli.run { "check", "--model", "register", "no\xc2\x9b2J\27[31m" }
    assert.matches("no\\x9b2J\\x1b[31m: No such file", result.stderr, 1, true)
  end)

  it("exits 3 when the budget is used up, and says where it is hard", function()
    local lines = {}
    for client = 1, 26 do
      lines[#lines + 1] = ('{"process":%d,"type":"invoke","f":"add","value":%d}'):format(client, 1 << client)
    end
    lines[#lines + 1] = '{"process":99,"type":"invoke","f":"read"}'
    for client = 1, 26 do
      lines[#lines + 1] = ('{"process":%d,"type":"ok","f":"add"}'):format(client)
    end
    lines[#lines + 1] = '{"process":99,"type":"ok","f":"read","value":1}'
    local text = table.concat(lines, "\n")
    local result = cli.run { "check", "--model", "counter", "--budget", "300ms", "-", input = text }
    assert.equal(3, result.status)
    assert.matches("undecided", result.stdout, 1, true)
    assert.matches("the time (--budget) was used up", result.stdout, 1, true)
    assert.matches("at most 27 operations are open at a time, first at line 27", result.stdout, 1, true)
    result = cli.run { "check", "--model", "counter", "--memory", "1MiB", "-", input = text }
    assert.equal(3, result.status)
    assert.matches("the memory (--memory) was used up", result.stdout, 1, true)
    result = cli.run { "check", "--model", "kv", "--memory", "1", FOLDER .. "kv.edn" }
    assert.equal(3, result.status)
    assert.matches("at most 1 operation is open", result.stdout, 1, true)
  end)

  it("reads what an editor marked as UTF-8", function()
    local result = cli.run { "check", "--model", "register", "-", input = "\xef\xbb\xbf"
      .. '{"process":1,"type":"invoke","f":"read"}\n{"process":1,"type":"ok","f":"read"}\n' }
    assert.equal(0, result.status)
    assert.equal("linearizable: 1 operation, 1 step\n", result.stdout)
  end)

  it("takes a model in Lua", function()
    local result = cli.run { "check", "--model", "examples/models/bank.lua", "examples/data/bank.jsonl" }
    assert.equal(0, result.status)
  end)

  describe("runs a model's file in a sandbox", function()
    local HISTORY = FOLDER .. "unknown_write.jsonl"
    local MODEL = "return { init = 0, step = function(state) %s return true, state end }"

    local function judge(step, ...)
      local path = folder:write("model.lua", MODEL:format(step))
      return cli.run { "check", "--model", path, HISTORY, ... }
    end

    it("without the world", function()
      for _, name in ipairs { "os", "io", "debug", "load", "dofile", "package", "collectgarbage" } do
        local result = judge(name .. ".x = 1")
        assert.equal(1, result.status)
        assert.matches(("(global '%s')"):format(name), result.stderr, 1, true)
        assert.matches(("hint: a model sees no %s; --trusted"):format(name), result.stderr, 1, true)
      end
      assert.equal(1, judge "require 'perilune.fs'".status)
      assert.equal(1, judge "require '../model'".status)
    end)

    it("with files beside it and print", function()
      folder:write("beside.lua", "return { value = io == nil and 7 }")
      local result = judge "print(require('beside').value)"
      assert.equal(0, result.status)
      assert.matches("^7\n", result.stderr)
      assert.matches("^linearizable", result.stdout)
    end)

    it("unless it is trusted", function()
      local result = judge("assert(os.time() > 0 and require 'perilune.fs')", "--trusted")
      assert.equal(0, result.status)
    end)

    it("that may not spin", function()
      local path = folder:write("model.lua", "while true do end")
      local result = cli.run { "check", "--model", path, HISTORY }
      assert.equal(1, result.status)
      assert.matches("without blocking, at .*model.lua:1", result.stderr)
    end)
  end)

  it("judges sessions and sequential consistency", function()
    local result = cli.run { "check", "--sessions", FOLDER .. "new_old_inversion.jsonl" }
    assert.equal(0, result.status)
    result = cli.run { "check", "--sequential", "--model", "register", FOLDER .. "stale_read.jsonl" }
    assert.equal(0, result.status)
    assert.matches("^sequentially consistent", result.stdout)
  end)

  it("judges the other files when one cannot be read; the worst counts", function()
    local files = { FOLDER .. "stale_read.jsonl", "no/such/file", FOLDER .. "unknown_write.jsonl" }
    local result = cli.run { "check", "--model", "register", table.unpack(files) }
    assert.equal(1, result.status)
    assert.matches("stale_read.jsonl: not linearizable", result.stdout, 1, true)
    assert.matches("unknown_write.jsonl: linearizable", result.stdout, 1, true)
    assert.matches("no/such/file: No such file", result.stderr, 1, true)
    result = cli.run { "check", "--model", "register", "--json", table.unpack(files, 2) }
    assert.equal(1, result.status)
    local histories = assert(json.decode(result.stdout)).histories
    assert.equal("ENOENT", histories[1].error.code)
    assert.equal("no/such/file", histories[1].history)
    assert.is_true(histories[2].ok)
  end)

  it("exits 1 and names the page that it cannot write", function()
    local result = cli.run { "check", "--model", "register", "--html", "no/such/page.html",
      FOLDER .. "unknown_write.jsonl" }
    assert.equal(1, result.status)
    assert.matches("check --html: open no/such/page.html: No such file", result.stderr, 1, true)
    assert.matches("^linearizable", result.stdout)
  end)

  for _, case in ipairs {
    { { "check", "x" }, "missing option '--model'" },
    { { "check", "--model", "kv" }, "missing argument 'HISTORY'" },
    { { "check", "--sessions", "--sequential", "--model", "kv", "x" }, "exclude each other" },
    { { "check", "--model", "regster", "x" }, "did you mean register?" },
    { { "check", "--model", "register", "--budget", "0", "x" }, "a search needs some time" },
  } do
    it("exits 2: " .. case[2], function()
      local result = cli.run(case[1])
      assert.equal(2, result.status)
      assert.matches(case[2], result.stderr, 1, true)
    end)
  end

  for _, case in ipairs {
    { { "check", "--model", "kv", "no/such/file" }, "No such file" },
    { { "check", "--model", "kv", "-", input = "" }, "there are no operations in it" },
    { { "check", "--model", "kv", "-", input = '{"process":1}\n' }, "check -: line 1: type must be" },
    { { "check", "--model", "kv", "-", input = "\n[\n" }, "check -: line 2: neither this nor" },
    { { "check", "--model", "kv", "-", input = "\xff\0\n" }, "check -: line 1: neither this nor" },
    { { "check", "--model", "kv", "-", input = "\xef\xbb\xbf" }, "there are no operations in it" },
    { { "check", "--model", "no/such.lua", "x" }, "no/such.lua" },
  } do
    it("exits 1: " .. case[2], function()
      local result = cli.run(case[1])
      assert.equal(1, result.status)
      assert.matches(case[2], result.stderr, 1, true)
    end)
  end
end)
