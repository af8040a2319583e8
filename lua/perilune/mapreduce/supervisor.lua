-- Worker processes: keeps as many running as were asked for, carries frames to and from them.
--
-- A fiber for each slot starts a process, passes on what it says as events, and starts the next one
-- when it ends. Events of one process end with worker_lost, so a slot's number names its process.
local msgpack = require "perilune.msgpack"
local perilune = require "perilune"
local process = require "perilune.process"

local Supervisor = {}
Supervisor.__index = Supervisor

local QUEUE = 64            -- events that wait for the coordinator; then workers wait
local RESPAWN_PAUSE_S = 0.1 -- after a process that ended without having been given a task

local function how_it_ended(exit)
  if exit.signal and exit.signal ~= 0 then
    return { code = "EWORKER", signal = exit.signal,
      message = ("the worker process was ended by signal %d%s"):format(exit.signal,
        exit.signal == 9 and " (SIGKILL: by somebody, or for lack of memory on this machine)"
        or exit.signal == 11 and " (SIGSEGV: it crashed)" or "") }
  end
  return { code = "EWORKER", message = ("the worker process exited with status %d"):format(exit.status) }
end

local function pass_on(self, slot, child)
  while true do
    local head = child:read_exact(4)
    local body = head and child:read_exact((("<I4"):unpack(head)))
    if not body then
      return
    end
    local message = msgpack.decode(body)
    message.worker = slot
    self.events:send(message)
  end
end

local function run_slot(self, slot)
  while not self.stopping do
    local child, err = process.spawn { self.executable, "mr-worker", stdin = "pipe", stdout = "pipe",
      stderr = "inherit", dies_with_parent = true }
    if not child then
      self.events:send { type = "broken", message = "a worker process cannot be started: " .. err }
      return
    end
    self.children[slot], self.used[slot] = child, false
    self.events:send { type = "worker_ready", worker = slot }
    pass_on(self, slot, child)
    local exit = child:wait()
    self.children[slot] = nil
    self.events:send { type = "worker_lost", worker = slot, error = how_it_ended(exit or { status = -1 }) }
    if not self.used[slot] and not self.stopping then
      perilune.sleep(RESPAWN_PAUSE_S)
    end
  end
end

--- Starts workers.
---@param count integer
---@return table supervisor
function Supervisor.start(count)
  local self = setmetatable({ children = {}, used = {}, fibers = {}, stopping = false,
    events = perilune.channel(QUEUE), executable = assert(process.executable()) }, Supervisor)
  for slot = 1, count do
    self.fibers[slot] = perilune.spawn({ name = "worker " .. slot }, run_slot, self, slot)
  end
  return self
end

--- Waits for the next event at most so long.
---@param seconds number
---@return table|nil event
function Supervisor:next(seconds)
  local index, event = perilune.select { { self.events, "recv" }, timeout = seconds }
  return index == 1 and event or nil
end

--- Gives a worker something to do. A worker that has just died says so by its worker_lost.
---@param slot integer
---@param spec table
function Supervisor:assign(slot, spec)
  local child = self.children[slot]
  if child then
    local bytes = msgpack.encode(spec)
    self.used[slot] = true
    child:write(("<s4"):pack(bytes))
  end
end

--- Ends a worker at once; another takes its slot.
---@param slot integer
function Supervisor:kill(slot)
  local child = self.children[slot]
  if child then
    child:kill(9)
  end
end

--- Ends all workers at once and lets none follow. Does not block, so it may run while a fiber is
--- being cancelled.
function Supervisor:stop()
  self.stopping = true
  for _, child in pairs(self.children) do
    child:kill(9)
  end
  for _, fiber in ipairs(self.fibers) do
    fiber:cancel "the job is over"
  end
end

return Supervisor
