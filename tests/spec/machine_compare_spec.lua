--- Three nodes with a machine in a file, one of which was given another file: it is found out by its hashes,
--- set aside and rebuilt; in this process over real sockets and disks, and in the simulator.
local fiber = require "perilune.fiber"
local machine = require "perilune.machine"
local raft = require "perilune.raft"
local sim = require "perilune.sim"
local use_folder = require "tests.spec.support.folder"

local GOOD = {}
GOOD["in tables"] = [[
  return {
    init = function() return { count = 0 } end,
    apply = function(state, command) state.count = state.count + command return state.count end,
    query = function(state) return state.count end,
  }]]
GOOD["on disk"] = [[
  return { store = true,
    apply = function(_, command, ctx)
      local count = (ctx.store:get "count" or 0) + command
      ctx.store:put("count", count)
      return count
    end,
    query = function(_, _, ctx) return ctx.store:get "count" end,
  }]]

local function other(text)
  return (text:gsub("%+ command", "+ command + (command == 7 and 1 or 0)"))
end

describe("a replica whose machine does something else", function()
  local folder = use_folder(before_each, after_each)

  for _, where in ipairs { "in tables", "on disk" } do
    it("is named, set aside and rebuilt, with a state " .. where, function()
      local nodes, groups, members, events = {}, {}, {}, {}
      for id = 1, 3 do
        nodes[id] = assert(raft.open { id = id, path = folder:at("n" .. id), listen = "127.0.0.1:0" })
        members[id] = nodes[id]:address()
      end
      for id = 1, 3 do
        local program = assert(machine.source(id == 3 and other(GOOD[where]) or GOOD[where],
          { name = "counter.lua" }))
        groups[id] = assert(raft.group { id = 1, node = nodes[id], members = members, machine = program,
          priority = id == 1 and 4 or 1 })
        fiber.spawn(function()
          for event in function() return nodes[id]:event() end do
            events[#events + 1] = { id, event.type, event.member, event.index }
          end
        end)
      end
      local function propose(command)
        for _ = 1, 100 do
          for id = 1, 3 do
            local result = groups[id]:propose(command, { deadline = 1 })
            if result then
              return result
            end
          end
          fiber.sleep(0.05)
        end
      end
      assert.equal(1, propose(1))
      assert.equal(8, propose(7))
      local deadline = fiber.now() + 20
      local function seen(id, kind)
        for _, event in ipairs(events) do
          if event[1] == id and event[2] == kind then
            return event
          end
        end
      end
      while not seen(3, "rebuilt") and fiber.now() < deadline do
        fiber.sleep(0.02)
      end
      assert.truthy(seen(3, "rebuilt"))
      assert.equal(3, seen(3, "diverged")[3])
      assert.equal(3, (seen(1, "diverged") or seen(2, "diverged"))[3])
      assert.is_nil(groups[3]:status().diverged)
      assert.equal(8, groups[3]:read())
      assert.equal(15, propose(7)) -- it has the others' file now
      assert.equal(15, groups[3]:read())
      assert.equal(groups[1]:machine().hash, groups[3]:machine().hash)
      local equal
      repeat
        fiber.sleep(0.05)
        local of = groups[3]:status()
        equal = of.members[1].equal_index == of.applied_index
      until equal or fiber.now() > deadline
      assert.is_true(equal)
      for id = 1, 3 do
        nodes[id]:close()
      end
    end)
  end

  for _, state in ipairs { "tables", "store" } do
    it("is found and rebuilt in the simulator, over many seeds: " .. state, function()
      local summary = assert(sim.seeds { scenario = "tests/sim/machine_diverges.lua", from = 1, to = 10,
        args = { state = state } })
      assert.same({ 10, 10 }, { summary.runs, summary.passed })
    end)
  end
end)
