-- Worker processes: keeps as many running as were asked for, carries frames to and from them.
--
-- A fiber for each slot starts a process, passes on what it says as events, and starts the next one
-- when it ends. Every process has a number of its own: events wait in a queue, so what is said about
-- a process that has ended must not be taken for news of its successor.
local msgpack = require "perilune.msgpack"
local perilune = require "perilune"
local process = require "perilune.process"
local workspace = require "perilune.mr_workspace"

local Supervisor = {}
Supervisor.__index = Supervisor

local FRAME_MAX = 256 << 20 -- what one read of a stream may ask for
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

--- The next message; nil at the end, false when it is none.
local function read_message(child)
  local head = child:read_exact(4)
  local size = head and ("<I4"):unpack(head) or 0
  if size > FRAME_MAX then
    return false
  end
  local body = head and child:read_exact(size)
  local message = body and msgpack.decode(body)
  return body and (type(message) == "table" and message)
end

--- Sends on what a worker says. Returns why, when it has said what is no message, and is ended.
local function pass_on(self, worker, child)
  while true do
    local message = read_message(child)
    if message == nil then
      return nil
    elseif not message then
      child:kill(9)
      return { code = "EWORKER", message = "the worker process sent what is no message: "
        .. "the job must not write to standard output" }
    end
    message.worker = worker
    self.events:send(message)
  end
end

-- Huge pages for Lua's memory (read by mimalloc as the process begins, and of no effect where the
-- system has none): counting words of a large vocabulary takes a tenth less time.
local ENVIRONMENT = { MIMALLOC_LARGE_OS_PAGES = "1" }

local function worker_command(executable)
  local command = { executable, "mr-worker", stdin = "pipe", stdout = "pipe", stderr = "inherit",
    env = ENVIRONMENT, dies_with_parent = true }
  local library = workspace.library()
  if library then
    table.insert(command, 2, "--lua-path=" .. library)
  end
  return command
end

local function run_slot(self)
  while not self.stopping do
    local child, err = process.spawn(worker_command(self.executable))
    if not child then
      self.events:send { type = "broken", message = "a worker process cannot be started: " .. err }
      return
    end
    self.started = self.started + 1
    local worker = self.started
    self.children[worker] = child
    self.events:send { type = "worker_ready", worker = worker }
    local why = pass_on(self, worker, child)
    local exit = child:wait()
    self.children[worker] = nil
    self.events:send { type = "worker_lost", worker = worker,
      error = why or how_it_ended(exit or { status = -1 }) }
    if not self.used[worker] and not self.stopping then
      perilune.sleep(RESPAWN_PAUSE_S)
    end
    self.used[worker] = nil
  end
end

--- Starts workers.
---@param count integer
---@return table supervisor
function Supervisor.start(count)
  local self = setmetatable({ children = {}, used = {}, fibers = {}, started = 0, stopping = false,
    events = perilune.channel(QUEUE), executable = assert(process.executable()) }, Supervisor)
  for slot = 1, count do
    self.fibers[slot] = perilune.spawn({ name = "worker " .. slot }, run_slot, self)
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

--- Gives a worker something to do. A worker that has just died says so by its worker_lost; one that
--- has been frozen does not read, and nobody waits for it here.
---@param worker integer
---@param spec table
function Supervisor:assign(worker, spec)
  local child = self.children[worker]
  if child then
    self.used[worker] = true
    perilune.spawn({ name = "assign to worker " .. worker }, child.write, child,
      ("<s4"):pack(msgpack.encode(spec)))
  end
end

--- Ends a worker at once; another takes its slot.
---@param worker integer
function Supervisor:kill(worker)
  local child = self.children[worker]
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
