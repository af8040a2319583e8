-- Scripts of Redis' clients: one command of the group each, which happens whole or not at all, alike on all
-- replicas, and is bounded.
local fiber = require "perilune.fiber"
local process = require "perilune.process"
local resp_nodes = require "support.resp_nodes"
local use_folder = require "support.folder"

local with_cli = resp_nodes.has_cli and it or pending

describe("EVAL", function()
  local nodes
  local folder = use_folder(before_each, after_each)
  after_each(function()
    nodes:close()
  end)

  local function eval(script, ...)
    local port = tostring(nodes:port(nodes.asked or 1))
    local result = process.run { "redis-cli", "-p", port, "eval", script, ... }
    return (result.stdout:gsub("\n+$", ""))
  end

  local function says(expected, script, ...)
    assert.equal(expected, eval(script, ...))
  end

  -- What a replica itself has.
  local function state(id)
    return process.run({ process.executable(), "kv", "range", "--json", "--consistency", "stale", "--at",
      nodes:address(id) }).stdout
  end

  with_cli("calls commands, and answers as Redis does", function()
    nodes = resp_nodes.start(folder, 1)
    says("hello", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])", "1", "a", "hello")
    says("1\n2\n3\nx\n\n9", "return { 1, 2.9, { 3, 'x' }, false, 9, nil, 10 }", "0")
    says("OK", "return redis.call('set', KEYS[1], 3.0, 'EX', 100)", "1", "f")
    says("3", "return redis.call('get', KEYS[1])", "1", "f")
    says("100", "return redis.call('ttl', KEYS[1])", "1", "f")
    says("hello\n\n3", "return redis.call('mget', unpack(KEYS))", "3", "a", "b", "f")
    says("fine", "return { ok = 'fine' }", "0")
    says("1", "return true", "0")
    says("false", "return type(redis.call('get', KEYS[1])) == 'boolean' and 'false'", "1", "none")
    says("ERR value is not an integer or out of range", "return redis.pcall('incr', KEYS[1]).err", "1", "a")
    says("number", "x = (x or 0) + 1 return type(x)", "0")
    says("nil", "return type(x)", "0") -- nothing of the one before is there
  end)

  with_cli("has no effect when it raises, or answers with an error", function()
    nodes = resp_nodes.start(folder, 1)
    local write = "redis.call('set', KEYS[1], 'new') redis.call('incr', KEYS[2]) "
    says("1", write .. "return 1", "2", "a", "n")
    for script, wanted in pairs {
      ["redis.call('incr', KEYS[1])"] = "^ERR value is not an integer",
      ["error 'boom'"] = "^ERR Error running script: user_script:1: boom",
      ["error { }"] = "^ERR Error running script: it raised a table",
      ["return redis.error_reply 'MINE is it'"] = "^MINE is it",
      ["return redis.call('append', KEYS[1], 'x', 'y')"] = "^ERR Wrong number of args",
      ["return redis.call('lpush', KEYS[1], 'x')"] = "^ERR Unknown Redis command",
      ["return redis.call('keys', '*')"] = "^ERR 'keys' is not allowed from script",
      ["return redis.call('get', 'other')"] = "^ERR a script uses only keys that EVAL names, and not 'other'",
      ["redis.call('set', KEYS[1], ('x'):rep(9 << 20))"] = "^ERR a value has at most",
      ["while true do end"] = "^ERR a script may run for at most 1000000 instructions",
      ["while true do pcall(function() while true do end end) end"] = "^ERR a script may run",
      ["local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end"] = "^ERR a script may run",
      ["return os.time()"] = "os.time: not available in a script: give EVAL the time as an argument",
      ["return math.random()"] = "math.random: not available in a script: give EVAL random numbers",
      ["return os.getenv 'HOME'"] = "os.getenv: not available in a script: a script reaches keys, with redis",
      ["return return nothing"] = "^ERR Error running script: user_script:1: ",
    } do
      assert.matches(wanted, eval(write .. script, "2", "a", "n"))
      assert.equal("new\n1", nodes:cli(1, "get a", "get n"))
    end
    assert.equal("ERR Number of keys can't be greater than number of args", eval("return 1", "2", "a"))
    assert.equal("OK\nERR EVAL cannot be part of a transaction", nodes:cli(1, "multi", 'eval "return 1" 0'))
  end)

  with_cli("is found by its sum, by nodes that have seen it", function()
    nodes = resp_nodes.start(folder, 1)
    local sum = nodes:cli(1, 'script load "return ARGV[1]"')
    assert.equal("098e0f0d1448c0a81dafe820f66d460eb09263da", sum) -- of sha1sum
    assert.equal("hey", nodes:cli(1, "evalsha " .. sum .. " 0 hey"))
    assert.equal("1\n0", nodes:cli(1, "script exists " .. sum:upper() .. " " .. ("0"):rep(40)))
    assert.matches("^OK\nNOSCRIPT", nodes:cli(1, "script flush", "evalsha " .. sum .. " 0 hey"))
    eval("return 7", "0")
    assert.equal("7", nodes:cli(1, "evalsha 59b6ab2fbe0ee4b25733de0f62e6cda4899ef8e9 0"))
  end)

  with_cli("does the same on all replicas, whoever is asked and whoever leads", function()
    nodes = resp_nodes.start(folder, 3)
    local script = [[
      local n = redis.call('incrby', KEYS[1], ARGV[1])
      local seen = {}
      for word in ('the quick brown fox jumps over the lazy dog'):gmatch '%a+' do
        seen[word] = tostring(seen)
      end
      local text = {}
      for word, what in pairs(seen) do text[#text + 1] = word .. what end
      redis.call('set', KEYS[2] , table.concat(text) .. n / 3, 'px', 50000 + n)
      if n % 3 == 0 then error 'not this one' end
      return n]]
    local sum, leader = 0, nodes:leader(1)
    for i = 1, 30 do
      nodes.asked = i % 3 + 1
      if i == 15 then
        nodes:kill(leader)
        nodes:spawn(leader)
        assert.matches("serves", nodes[leader]:read_line())
      end
      local answer = eval(script, "2", "n", "text" .. i % 4, tostring(i))
      local is_refused = answer:find "not this one" ~= nil
      assert.equal((sum + i) % 3 == 0, is_refused, answer)
      sum = is_refused and sum or sum + i
      assert.is_true(is_refused or answer == tostring(sum), answer)
    end
    assert.equal(tostring(sum), nodes:cli(2, "get n"))
    local wanted = state(1)
    assert.matches('"n"', wanted)
    for id = 1, 3 do
      for _ = 1, 100 do
        if state(id) == wanted then
          break
        end
        fiber.sleep(0.05)
      end
      assert.equal(wanted, state(id))
    end
  end)
end)
