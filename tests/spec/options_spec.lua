-- Mistakes in calls: the message names the option and the line of the caller, not one of ours.
local fs = require "perilune.fs"
local perilune = require "perilune"
local process = require "perilune.process"

local HERE = "tests/spec/options_spec.lua:"

local function nothing() end

describe("a wrong call", function()
  local channel = perilune.channel(1)
  for _, case in ipairs {
    { "spawn: unknown option nmae; did you mean name?",
      function() perilune.spawn({ nmae = "x" }, nothing) end },
    { "spawn: option deadline must be a number, not a string",
      function() perilune.spawn({ deadline = "5s" }, nothing) end },
    { "spawn: a function to run is missing, there is a string", function() perilune.spawn "x" end },
    { "spawn: a function to run is missing, there is a nil", function() perilune.spawn({}) end },
    { "deadline: seconds and a function, as in deadline(5, fn)", function() perilune.deadline(nothing) end },
    { "select: unknown option timout; did you mean timeout?",
      function() perilune.select { { channel, "recv" }, timout = 1 } end },
    { 'select: case 1: "recv" or "send", not rcv', function() perilune.select { { channel, "rcv" } } end,
      is_elsewhere = true },
    { "fiber.sleep: a number of seconds, not negative", function() perilune.sleep(-1) end },
    { "bad argument #1 to 'channel'", function() local ch = perilune.channel(-1) return ch end,
      is_elsewhere = true },
    { "fs.write: options must be a table, not a string", function() fs.write("x", "y", "append") end },
    { 'process.spawn: a command is missing, as in process.spawn { "ls", "-l" }',
      function() process.spawn "ls" end },
    { "process.spawn: unknown option sdtin; did you mean stdin?",
      function() process.spawn { "ls", sdtin = "pipe" } end },
    { 'process.spawn: stdin is "pipe", "null" or "inherit", not "pip"',
      function() process.spawn { "ls", stdin = "pip" } end },
  } do
    it("is told: " .. case[1], function()
      local ok, message = pcall(case[2])
      assert.is_false(ok)
      assert.matches(case[1], message, 1, true)
      assert.is_true(case.is_elsewhere or message:sub(1, #HERE) == HERE, message)
    end)
  end
end)
