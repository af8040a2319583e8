--- perilune kv lock, elect and leader: a lock that is held while a command runs, and who leads.
local fiber = require "perilune.fiber"
local lock = require "perilune.lock"
local output = require "perilune.cli.output"
local process = require "perilune.process"

local M = {}

local WAIT = 1e9 -- seconds: as long as it takes

-- Runs the command while the lock is held; ends it when the lock is lost.
local function run_command(args, held)
  local child, err, code = process.spawn {
    stdin = "inherit", env = { PERILUNE_FENCE = held.fence }, dies_with_parent = true,
    table.unpack(args.rest),
  }
  if not child then
    held:release()
    return nil, ("%s: %s"):format(args.rest[1], err), code
  end
  local has_ended, why, lost
  fiber.spawn({ name = "kv lock", detached = true }, function()
    local released
    released, why, lost = held:join()
    if not released and not has_ended then
      child:kill "TERM"
    end
  end)
  local result = child:wait()
  has_ended = true
  local released
  released, err, code = held:release()
  if lost or not released then
    return nil, why or err, lost or code
  end
  return result.status or 128 + result.signal
end

-- Holds it for a command, or until it is lost.
local function hold(args, held)
  if #args.rest > 0 then
    return run_command(args, held)
  end
  if args.json then
    output.json { token = held.token, fence = held.fence }
  else
    io.stdout:write(held.fence, "\n")
  end
  return held:join()
end

--- Waits for a lock, and holds it.
---@param store perilune.kv.Store
---@param args table
---@return integer|nil exit_code
---@return string? err
---@return string? code
function M.lock(store, args)
  local mutex = lock.mutex(store, args.arguments[1], { ttl = args.ttl })
  local held, err, code = mutex:acquire { wait = args.wait or WAIT }
  if not held then
    return nil, err, code
  end
  return hold(args, held)
end

--- Waits until it leads, and goes on to.
---@param store perilune.kv.Store
---@param args table
---@return integer|nil exit_code
---@return string? err
---@return string? code
function M.elect(store, args)
  local election = lock.election(store, args.arguments[1], { ttl = args.ttl })
  local held, err, code = election:campaign(args.arguments[2], { wait = args.wait or WAIT })
  if not held then
    return nil, err, code
  end
  return hold(args, held)
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
