--- A peer that is killed with kill -9 in the middle of calls, and comes back.
local binary = require "support.binary"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local new_folder = require "support.folder"
local process = require "perilune.process"
local rpc = require "perilune.rpc"
local rpcs = require "support.rpc"

-- Appends to a file what ran, so that calls which ran twice show.
local SERVER = [[
  local address, ran = ...
  local fiber = require "perilune.fiber"
  local fs = require "perilune.fs"
  local rpc = require "perilune.rpc"
  local server = assert(rpc.serve({
    add = function(id)
      assert(fs.write(ran, id .. "\n", { append = true }))
      return id
    end,
    hang = function(id)
      assert(fs.write(ran, id .. "\n", { append = true }))
      fiber.sleep(60)
    end,
    count = function()
      for i = 1, 1 << 30 do
        rpc.yield(i)
        fiber.sleep(0.001)
      end
    end,
  }, { listen = address, node = "n2" }))
  print(server:address())
  io.stdout:flush()
  fiber.sleep(120)]]

describe("a peer that is killed", function()
  local folder = new_folder(before_each, after_each)
  after_each(rpcs.close)

  local function start(address, ran)
    local script = folder:write("server.lua", SERVER)
    local child = rpcs.closing(assert(process.spawn { binary.path, "run", script, address, ran,
      stdin = "null", stdout = "pipe", stderr = "inherit", dies_with_parent = true }))
    return child, assert(child:read_line())
  end

  -- Every id runs once at most; how many did.
  local function count_runs(ran)
    local seen, count = {}, 0
    for id in (fs.read(ran) or ""):gmatch "[^\n]+" do
      assert.is_nil(seen[id], id)
      seen[id], count = true, count + 1
    end
    return count, seen
  end

  local function run(listen)
    local ran = folder.path .. "/ran"
    local child, address = start(listen, ran)
    local peer = rpcs.closing(rpc.connect(address, { deadline = "20s" }))
    assert.are.equal("before", peer:call("add", "before"))
    local incarnation = peer:info().incarnation
    local hanging = {}
    for i = 1, 20 do
      hanging[i] = fiber.spawn(function() return peer:call("hang", "hang " .. i) end)
    end
    local stream = peer:stream "count"
    assert.are.equal(1, stream:recv())
    repeat
      fiber.sleep(0.01)
    until count_runs(ran) == 21
    assert(child:kill(9))
    child:wait()

    -- What was under way ends at once, and says who, for how long, and why.
    local who = "n2 %(" .. address:gsub("%p", "%%%0") .. "%): "
    local broke = "the connection broke, after %d+%.%d+ s without a reply: "
    for i, each in ipairs(hanging) do
      local ok, value, err, code, details = each:join()
      assert.are.same({ true, nil, "EDISCONNECTED", true, false },
        { ok, value, code, details.retryable, details.remote }, i)
      assert.matches("^call hang to " .. who .. broke, err)
      assert.truthy(err:find "closed" or err:find "reset", err)
    end
    local item, err, code
    repeat
      item, err, code = stream:recv()
    until not item
    assert.are.equal("EDISCONNECTED", code)
    assert.matches("^stream count to " .. who .. broke, err)

    -- What finds nobody has not run, and says since when.
    assert.are.equal("EUNREACHABLE", (select(3, peer:with { wait = false }:call("add", "never"))))
    item, err, code = peer:with { deadline = "300ms" }:call("add", "never")
    assert.are.same({ "EUNREACHABLE" }, { code, item })
    assert.matches("^call add to " .. who .. "not connected within 0%.3 s: ", err)
    assert.matches("%(%d+ attempts, the last %d+%.%d s ago%)$", err)
    assert.is_false(peer:is_up())

    -- What waits is sent once there is somebody again, and nothing of before is sent again.
    local waiting = fiber.spawn(function() return peer:call("add", "after") end)
    local _, same = start(address, ran)
    assert.are.equal(address, same)
    assert.are.same({ true, "after" }, { waiting:join() })
    local count, seen = count_runs(ran)
    assert.are.same({ 22, nil, true }, { count, seen.never, seen.after })
    assert.are_not.equal(incarnation, peer:info().incarnation)
  end

  it("ends the calls under way and is found again, over TCP", function()
    run "127.0.0.1:0"
  end)

  it("does the same over a Unix socket, whose file it leaves behind", function()
    run("unix:" .. folder.path .. "/socket")
  end)
end)
