-- Machines on three processes that are killed and come back: what is planted in them ends alike everywhere,
-- and a replica that does something else is named, set aside and rebuilt.
local fiber = require "perilune.fiber"
local process = require "perilune.process"
local rpc = require "perilune.rpc"
local use_folder = require "tests.spec.support.folder"

-- One machine with its state in tables, one with it in ctx.store; both understand the same commands.
local TEXTS = {}
TEXTS.tables = [[
  local function get(state, _, key) return state[key] end
  local function put(state, _, key, value) state[key] = value end
  local function all(state) return state end
  local STORE = nil
]]
TEXTS.store = [[
  local function get(_, ctx, key) return ctx.store:get(key) end
  local function put(_, ctx, key, value) ctx.store:put(key, value) end
  local function all(_, ctx)
    local out = {}
    for key, value in ctx.store:range() do out[key] = value end
    return out
  end
  local STORE = true
]]
local REST = [[
  local plants = {
    math_random = function() return math.random() end,
    clock = function() return os.time() end,
    addresses = function()
      local keys, order = {}, {}
      for i = 1, 20 do keys[{}] = i end
      for _, i in pairs(keys) do order[#order + 1] = i end
      return table.concat(order, ",")
    end,
    address = function() return tostring({}) .. tostring(print) end,
    endless = function(put) while true do put("half", 1) end end,
    endless_caught = function(put)
      while true do pcall(function() while true do put("half", 1) end end) end
    end,
    bomb = function(put) local s = "x" while true do s = s .. s put("half", #s) end end,
    bomb_of_tables = function(put) local t = {} while true do t = { t, {} } put("half", 1) end end,
    half = function(put) put("count", -1) put("half", { 1 }) error("half done", 0) end,
    ["function"] = function(put) put("half", print) end,
  }
  return {
    store = STORE,
    apply = function(state, command, ctx)
      local function write(key, value) put(state, ctx, key, value) end
      if command.plant then return plants[command.plant](write) end
      local count = (get(state, ctx, "count") or 0) + command.add
      write("count", count)
      write("at" .. count % 50, { count = count, text = ("x"):rep(200) })
      return count
    end,
    query = function(state, _, ctx) return all(state, ctx) end,
    budget = { instructions = 1000000, memory = 4 << 20 },
  }
]]

local ENDS = {
  math_random = "math.random: not available in a machine",
  clock = "os.time", addresses = "a key is a table; keys must be numbers or strings",
  endless = "the budget of 1000000 instructions is spent",
  endless_caught = "the budget of 1000000 instructions is spent",
  bomb = "the budget of 4 MiB of memory is spent",
  bomb_of_tables = "spent", half = "half done", ["function"] = "function",
}

describe("three processes with a machine", function()
  local folder = use_folder(before_each, after_each)
  local replicas

  local function start(id)
    local replica = replicas[id]
    replica.child = assert(process.spawn {
      assert(process.executable()), "run", "tests/live/machine_replica.lua", tostring(id), folder:at "",
      replica.file, stdout = "pipe", stderr = "null", dies_with_parent = true,
    })
    local child = replica.child
    fiber.spawn(function()
      for line in function() return child:read_line() end do
        replica.lines[#replica.lines + 1] = line
      end
    end)
  end

  local function stop(id)
    replicas[id].child:kill(9)
    replicas[id].child:wait()
  end

  local function start_all(files)
    replicas = {}
    for id = 1, 3 do
      replicas[id] = { lines = {}, file = files[id], peer = rpc.connect(
        ("unix:%s/n%d.calls"):format(folder:at "", id), { cluster = "live", deadline = 4, wait = false }) }
      start(id)
    end
  end

  after_each(function()
    for id = 1, 3 do
      stop(id)
    end
  end)

  local function eventually(check)
    local limit = fiber.now() + 30
    local value
    repeat
      value = check()
      if value then
        return value
      end
      fiber.sleep(0.05)
    until fiber.now() > limit
    error("it does not come to that", 2)
  end

  -- What a command ends with, wherever the leader is.
  local function propose(command)
    return eventually(function()
      for _, replica in ipairs(replicas) do
        local answer = replica.peer:call("propose", command)
        if answer and (answer.result ~= nil or answer.code == "ELUA" or answer.code == "ECPU") then
          return answer
        end
      end
    end)
  end

  -- All replicas at the same entry with the same hash and state: that state.
  local function agreed()
    return eventually(function()
      local stands = {}
      for id, replica in ipairs(replicas) do
        stands[id] = replica.peer:call "stand" or {}
      end
      local first = stands[1]
      for _, stand in ipairs(stands) do
        if not stand.value or stand.applied ~= first.applied or stand.diverged then
          return nil
        end
        assert.equal(first.hash, stand.hash)
        assert.same(first.value, stand.value)
      end
      return first.value
    end)
  end

  for _, state in ipairs { "tables", "store" } do
    it("bound what is planted, alike on all: " .. state, function()
      local file = folder:write("machine.lua", TEXTS[state] .. REST)
      start_all { file, file, file }
      assert.equal(5, propose({ add = 5 }).result)
      local before = agreed()
      for plant in pairs { math_random = 1, clock = 1, addresses = 1, address = 1, endless = 1,
        endless_caught = 1, bomb = 1, bomb_of_tables = 1, half = 1, ["function"] = 1 } do
        local answer = propose { plant = plant }
        if ENDS[plant] then
          assert.is_nil(answer.result)
          assert.truthy(answer.err:find(ENDS[plant], 1, true), plant .. ": " .. answer.err)
        else
          assert.equal("string", type(answer.result), answer.err)
        end
      end
      assert.same(before, agreed())
    end)

    it("come back after kills, with and without a snapshot: " .. state, function()
      local file = folder:write("machine.lua", TEXTS[state] .. REST)
      start_all { file, file, file }
      local count = 0
      for round = 1, 3 do
        local id = round % 3 + 1
        for _ = 1, 5 do
          propose { add = 1 }
        end
        stop(id)
        for _ = 1, round % 2 == 0 and 60 or 5 do -- more than the log keeps, or less
          count = propose({ add = 1 }).result
        end
        start(id)
        assert.equal(count, agreed().count)
      end
      for id = 1, 3 do
        stop(id)
      end
      for id = 1, 3 do
        start(id)
      end
      assert.equal(count, propose({ add = 0 }).result) -- until one leads all stand at their last snapshot
      assert.equal(count, agreed().count)
    end)

    it("name the one that does something else, and rebuild it: " .. state, function()
      local text = TEXTS[state] .. REST
      local good = folder:write("machine.lua", text)
      local bad = folder:write("other.lua",
        (text:gsub("%+ command%.add", "+ command.add + (command.add == 7 and 1 or 0)")))
      start_all { good, good, bad }
      assert.truthy(propose({ add = 1 }).result)
      propose { add = 7 }
      local function saw(id, pattern)
        return table.concat(replicas[id].lines, "\n"):match(pattern)
      end
      eventually(function() return saw(3, "rebuilt") end)
      assert.equal("3", saw(3, "diverged\t(%d)"))
      assert.equal("3", saw(1, "diverged\t(%d)") or saw(2, "diverged\t(%d)"))
      assert.equal(0, agreed().count % 7 - 1)
      propose { add = 7 }
      assert.equal(0, agreed().count % 7 - 1)
    end)
  end
end)
