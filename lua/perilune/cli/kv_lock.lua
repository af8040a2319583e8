--- perilune kv lock, elect and leader: a lock that is held while a command runs, and who leads.
local fiber = require "perilune.fiber"
local lock = require "perilune.lock"
local output = require "perilune.cli.output"
local process = require "perilune.process"

local M = {}

local WAIT = 1e9 -- seconds: as long as it takes
local GRACE = 60 -- seconds that a command, or the store, may take after a signal
local TERM, SIGNAL_BASE = 15, 128

-- What a signal ends, by turns: the wait, the command, or the lock that is held.
---@class perilune.cli.kv_lock.Holder
---@field signal? integer  that has come
---@field stop fun(signal: integer)

-- Runs the command while the lock is held; ends it when the lock is lost. A signal is the command's.
local function run_command(args, holder, held)
  local child, err, code = process.spawn {
    stdin = "inherit", env = { PERILUNE_FENCE = held.fence }, dies_with_parent = true,
    table.unpack(args.rest),
  }
  if not child then
    held:release()
    return nil, ("%s: %s"):format(args.rest[1], err), code
  end
  function holder.stop(signal)
    child:kill(signal)
  end
  local has_ended, why, lost
  fiber.spawn({ name = "kv lock", detached = true }, function()
    local released
    released, why, lost = held:join()
    if not released and not has_ended then
      child:kill(TERM)
    end
  end)
  local result = child:wait()
  has_ended = true
  local released
  released, err, code = held:release()
  if lost or not released then
    return nil, why or err, lost or code
  end
  return result.status or SIGNAL_BASE + result.signal
end

-- Holds it for a command, or until it is lost or a signal comes.
local function hold(args, holder, held)
  if #args.rest > 0 then
    return run_command(args, holder, held)
  end
  if args.json then
    output.json { token = held.token, fence = held.fence }
  else
    io.stdout:write(held.fence, "\n")
  end
  io.stdout:flush()
  local over = fiber.channel()
  function holder.stop()
    over:close()
  end
  fiber.spawn({ name = "kv lock", detached = true }, function()
    held:join()
    over:close()
  end)
  over:recv()
  if not holder.signal then
    return held:join()
  end
  held:release()
  return SIGNAL_BASE + holder.signal
end

-- Waits for what acquire waits for, and holds it; what a signal ends is given back.
local function acquire_and_hold(args, acquire)
  local waiting = fiber.spawn({ name = "kv lock" }, acquire)
  local holder = { stop = function() waiting:cancel() end }
  process.on_signal(function(signal)
    holder.signal = signal
    holder.stop(signal)
  end, GRACE)
  local ok, held, err, code = waiting:join()
  if holder.signal and not (ok and held) then
    lock.settle()
    return SIGNAL_BASE + holder.signal
  elseif not ok then
    return nil, held, err
  elseif not held then
    return nil, err, code
  elseif holder.signal then
    held:release()
    return SIGNAL_BASE + holder.signal
  end
  return hold(args, holder, held)
end

--- Waits for a lock, and holds it.
---@param store perilune.kv.Store
---@param args table
---@return integer|nil exit_code
---@return string? err
---@return string? code
function M.lock(store, args)
  local mutex = lock.mutex(store, args.arguments[1], { ttl = args.ttl })
  return acquire_and_hold(args, function() return mutex:acquire { wait = args.wait or WAIT } end)
end

--- Waits until it leads, and goes on to.
---@param store perilune.kv.Store
---@param args table
---@return integer|nil exit_code
---@return string? err
---@return string? code
function M.elect(store, args)
  local election = lock.election(store, args.arguments[1], { ttl = args.ttl })
  return acquire_and_hold(args, function()
    return election:campaign(args.arguments[2], { wait = args.wait or WAIT })
  end)
end

--- Prints who leads.
---@param store perilune.kv.Store
---@param args table
---@return integer|nil exit_code
---@return string? err
---@return string? code
function M.leader(store, args)
  local leader, err, code = lock.election(store, args.arguments[1]):leader()
  if not leader then
    return nil, err or "nobody leads", code or "ENOENT"
  elseif args.json then
    output.json(leader)
  else
    io.stdout:write(leader.value, "\n")
  end
  return output.EXIT_OK
end

return M
