local cli = require "support.binary"
local fs = require "perilune.fs"
local new_folder = require "support.folder"
local scenario = require "support.scenario"

describe("seeds", function()
  local folder = new_folder(before_each, after_each)
  local sim = require "perilune.sim"

  it("that are none are refused", function()
    for _, case in ipairs {
      { { from = 3, to = 2 }, "sim.seeds: from 3 to 2 is no range: the smaller comes first" },
      { { from = 1 }, "sim.seeds: to must be an integer below 2^63, not nil" },
      { { from = 1.5, to = 2 }, "sim.seeds: from must be an integer below 2^63, not 1.5" },
      { { from = 1, to = 2 ^ 63 }, "sim.seeds: to must be an integer below 2^63, not 9.2233720368548e+18" },
    } do
      local options, message = table.unpack(case)
      options.scenario = "none.lua"
      assert.has_error(function() sim.seeds(options) end, message)
    end
    assert.has_error(function() sim.run { scenario = "none.lua", seed = 2 ^ 63 } end)
  end)

  it("go up to the largest integer", function()
    local path = folder:write("scenario.lua", "return { run = function() end }")
    local summary = assert(sim.seeds { scenario = path, from = math.maxinteger - 2, to = math.maxinteger })
    assert.equal(3, summary.passed)
  end)
end)

describe("a seed", function()
  local folder = new_folder(before_each, after_each)

  -- Much that differs from process to process in stock Lua: addresses, orders of pairs, clocks, sorts.
  local BUSY = [[
    local perilune = require "perilune"
    local function churn(node)
      local keys = {}
      for _ = 1, 50 do
        keys[{}] = perilune.random()
        keys[function() end] = math.random(1000)
        keys["k" .. perilune.random(100000)] = os.clock()
        local list = {}
        for i = 1, 40 do list[i] = perilune.random(5) end
        table.sort(list, function(a, b) return a < b end)
        local sum = ""
        for key, value in pairs(keys) do sum = sum .. tostring(key) .. tostring(value) end
        node:tell(#sum, sum:sub(-20), tostring(list), os.time(), perilune.wall(), collectgarbage "count")
        perilune.sleep(perilune.random())
      end
    end
    return { nodes = { a = churn }, run = function(sim)
      for i = 1, 4 do sim:start("n" .. i, "a") end
      for i = 1, 4 do sim:join("n" .. i) end
    end }]]

  it("gives the same trace byte by byte, and another seed another", function()
    local traces = {}
    for index, seed in ipairs { 1, 1, 2 } do
      traces[index] = folder:at("trace" .. index)
      scenario.pass(folder, BUSY, { seed = seed, trace = traces[index] })
      traces[index] = assert(fs.read(traces[index]))
    end
    assert.is_true(#traces[1] > 10000)
    assert.is_true(traces[1] == traces[2])
    assert.is_false(traces[1] == traces[3])
    assert.matches("\n +%d+ +%d+%.%d+ n3 +letter +to controller, %d+ bytes at .-scenario.lua:%d+\n",
      traces[1])
  end)

  it("does the same in another process, folder, environment, locale and heap", function()
    scenario.pass(folder, BUSY, { verify = true })
  end)

  it("that does not is caught, with its first event, its node and its line", function()
    -- A file of code is an input of the run; a relative path finds it in one of the two folders only.
    local result = scenario.run(folder, [[
      local perilune = require "perilune"
      local function leak(node)
        perilune.sleep(1)
        local found = package.searchpath("README.md", "?", "") ~= nil
        perilune.sleep(1)
        node:tell(found)
        perilune.sleep(1)
      end
      return { nodes = { a = leak }, run = function(sim)
        sim:start("n1", "a")
        sim:join "n1"
      end }]], { verify = true })
    assert.is_false(result.ok)
    assert.equal("difference", result.failure.kind)
    assert.matches("here: +%d+ +2.000000 n1 +letter +to controller", result.failure.message)
    assert.matches("elsewhere: +%d+ +2.000000 n1 +letter", result.failure.message)
    assert.matches("at .*scenario.lua:6", result.failure.message)
  end)

  it("gives the same events in a process that is no copy, which leaks nothing", function()
    local forked = scenario.pass(folder, BUSY)
    folder:write("here.lua", [[
      local fs = require "perilune.fs"
      local path = ...
      local result = require("perilune.sim_run").run { path = path, chunk = path, source = fs.read(path),
        args = require("perilune.msgpack").encode {}, seed = 1 }
      print(result.hash)]])
    local result = cli.run { "run", "--cpu-deadline", "60s", folder:at "here.lua", folder:at "scenario.lua" }
    assert.equal(0, result.status, result.stderr) -- a leak checker that was built in has the last word
    assert.equal(forked.hash .. "\n", result.stdout)
  end)

  it("that fails fails the same way twice", function()
    local result = scenario.run(folder, [[
      return { run = function(sim) sim:sleep(1) error("no " .. tostring({})) end }]], { verify = true })
    assert.equal("controller", result.failure.kind)
  end)
end)
