--- A store whose disk has no room for its keys, for real: it says so, can be read, and goes on by itself.
local binary = require "support.binary"
local fiber = require "perilune.fiber"
local kv = require "perilune.kv"
local new_folder = require "support.folder"
local process = require "perilune.process"

local function lacks(...)
  local result, err = process.run { ... }
  return not result and err or result.status ~= 0 and result.stderr:match "[^\n]*" or nil
end

describe("a store on a full disk", function()
  local server, mounted, store

  after_each(function() -- before the folder goes
    if mounted then
      assert.is_nil(lacks("umount", "-l", mounted))
    end
  end)
  local folder = new_folder(before_each, after_each)

  local function start()
    server = assert(process.spawn {
      binary.path, "kv", "serve", mounted .. "/data", "--members", "127.0.0.1:0", "--listen", "127.0.0.1:0",
      stdout = "pipe", stderr = "pipe", dies_with_parent = true,
    })
    store = kv.connect(assert(server:read_line()):match "serves clients at (.*)$", { deadline = 2 })
  end

  local function stop()
    server:kill(9)
    server:wait()
    local said = server:stderr_read()
    server:close()
    return said
  end

  it("refuses writes, is read, and takes them again when there is room", function()
    local path = folder:at "small"
    assert(require("perilune.fs").mkdir(path))
    local why = lacks("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path)
    if why then
      pending("no small file system can be mounted: " .. why)
      return
    end
    mounted = path
    start()
    local random, count = {}, 0
    for i = 1, 100000 do
      random[i] = ("%x"):format(i * 2654435761 % 4294967296)
    end
    local body = table.concat(random)
    local done, err, code
    repeat
      done, err, code = store:put("k" .. count, count .. body)
      count = count + (done and 1 or 0)
    until not done or count > 200
    assert.equal("EDEADLINE", code)
    assert.matches("which leads it, is full: it takes no commands until there is room", err, 1, true)
    assert.equal(count, store:count())
    assert.is_nil(lacks("mount", "-o", "remount,size=256m", path))
    local before = fiber.now()
    repeat
      done = store:put("again", "x")
    until done or fiber.now() > before + 10
    assert(done)
    store:close()
    local said = stop()
    assert.matches("the disk has no room for the state store, new commands are refused", said, 1, true)
    assert.matches("has room again", said, 1, true)
    start()
    assert.equal(count + 1, store:count())
    assert.equal(count - 1 .. body, store:get("k" .. count - 1))
    store:close()
    stop()
  end)
end)
