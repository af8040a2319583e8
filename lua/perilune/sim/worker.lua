--- The process that runs seeds, one after the other, each in a copy of itself: perilune sim-worker.
---
--- Frames of MessagePack, each behind its length: the first says what all runs have in common, each of
--- the others asks for one run and is answered by its result.
local msgpack = require "perilune.msgpack"
local sim_run = require "perilune.sim_run"

local M = {}

local FRAME_MAX = 64 << 20

local function read_frame()
  local head = io.stdin:read(4)
  local size = head and #head == 4 and ("<I4"):unpack(head)
  if not size or size > FRAME_MAX then
    return nil
  end
  local body = io.stdin:read(size)
  return body and #body == size and msgpack.decode(body) or nil
end

local function write_frame(value)
  io.stdout:write(("<s4"):pack(assert(msgpack.encode(value))))
  io.stdout:flush()
end

-- Runs in the copy; what it gives goes through a pipe.
local function run_one(options)
  local result, err, code = sim_run.run(options)
  return assert(msgpack.encode(result or { error = err, code = code }))
end

local SIGNALS = { [6] = " (SIGABRT: the runtime gave up)", [11] = " (SIGSEGV: it crashed)" }

local function describe_end(signal, seconds)
  if signal == 9 then
    return ("the process of the run was killed: it took more than %g s, or more memory than there is")
      :format(seconds)
  end
  return ("the process of the run was ended by signal %d%s"):format(signal, SIGNALS[signal] or "")
end

local function answer(common, request)
  local options = {}
  for _, from in ipairs { common, request } do
    for name, value in pairs(from) do
      options[name] = value
    end
  end
  local bytes, signal, cpu, rss = sim_run.copy(function()
    return run_one(options)
  end, options.real_seconds)
  if not bytes then
    return { seed = options.seed, error = signal, code = cpu }
  end
  local result = bytes ~= "" and not signal and msgpack.decode(bytes)
  result = result or { ok = false, seed = options.seed, time = 0, stats = {},
    failure = { kind = "died", message = signal and describe_end(signal, options.real_seconds)
      or "the process of the run ended without a result" } }
  result.cpu, result.rss = cpu, rss
  return result
end

--- Serves until standard input ends.
---@return integer exit_code
function M.serve()
  require("perilune.log").level "error" -- it waits for its copies, and so does nothing else for long
  local common = read_frame()
  while common do
    local request = read_frame()
    if not request then
      break
    end
    write_frame(answer(common, request))
  end
  return 0
end

return M
