-- What a node is told: defaults, a file, variables, flags.
local cli = require "support.binary"
local json = require "perilune.json"
local new_folder = require "support.folder"

describe("perilune config", function()
  local folder = new_folder(before_each, after_each)

  local function config(arguments)
    return cli.run { "config", env = arguments.env, table.unpack(arguments) }
  end

  it("takes the later of defaults, file, variables and flags, and says which", function()
    local file = folder:write("node.lua",
      "return { id = 2, listen = ':7102', resp = 6379, data = 'd', leases = true }")
    local result = config { "--effective", "--config", file, "--id", "4", "--json",
      env = { PERILUNE_ID = "3", PERILUNE_DATA = "there", PERILUNE_SECRET = ("s"):rep(16) } }
    assert.equal(0, result.status, result.stderr)
    local found = json.decode(result.stdout)
    assert.same({ value = 4, source = "--id" }, found.id)
    assert.same({ value = "there", source = "PERILUNE_DATA" }, found.data)
    assert.same({ value = "127.0.0.1:7102", source = "file " .. file }, found.listen)
    assert.same({ value = "127.0.0.1:6379", source = "file " .. file }, found.resp)
    assert.same({ value = true, source = "file " .. file }, found.leases)
    assert.same({ value = 10000, source = "default" }, found.history)
    assert.same({ value = "(16 bytes)", source = "PERILUNE_SECRET" }, found.secret)
    assert.same({ source = "not set" }, found.join)
    assert.matches("id +4 +%-%-id\n", config({ "--config", file, "--id", "4" }).stdout)
    assert.matches("id +2 +file ", config({ env = { PERILUNE_CONFIG = file } }).stdout)
  end)

  it("refuses what cannot be, naming who said it", function()
    local function refused(pattern, arguments)
      local result = config(arguments)
      assert.equal(2, result.status)
      assert.matches(pattern, result.stderr)
    end
    refused("PERILUNE_ID.*'x' is no whole number", { env = { PERILUNE_ID = "x" } })
    refused("%-%-listen: 'x' is no address", { "--listen", "x" })
    refused("cannot open", { "--config", folder:at "none.lua" })
    refused("there is no 'dta'; did you mean data%?",
      { "--config", folder:write("a.lua", "return { dta = 1 }") })
    refused("has to return a table", { "--config", folder:write("b.lua", "return 1") })
    refused("a.lua:1: boom", { "--config", folder:write("a.lua", "error 'boom'") })
    refused("secret .*at least 16 bytes", { env = { PERILUNE_SECRET = "short" } })
    refused("exclude each other", { "--members", ":7101,:7102", "--join", ":7103" })
    refused("id 3 is no member's number: those go from 1 to 2", { "--id", "3", "--members", ":7101,:7102" })
    refused("':7101' stands there twice", { "--members", ":7101,:7101" })
  end)

  it("lets nobody from elsewhere in without a secret", function()
    for _, option in ipairs { "--listen", "--resp" } do
      local result = config { option, "0.0.0.0:7100" }
      assert.equal(2, result.status)
      assert.matches("other machines reach, and there is no secret", result.stderr, 1, true)
    end
    local env = { PERILUNE_SECRET = ("s"):rep(16) }
    assert.equal(0, config({ "--listen", "0.0.0.0:7100", env = env }).status)
    assert.matches("say %-%-advertise",
      config({ "--listen", "0.0.0.0:7100", "--join", "a:1", env = env }).stderr)
    for _, host in ipairs { "127.0.0.1:1", "localhost:1", "[::1]:1", ":1", "unix:/tmp/x" } do
      assert.equal(0, config({ "--listen", host }).status)
    end
  end)
end)
