--- A cluster of real processes on this machine, in a directory: perilune up, down, kill, pause and resume.
--- membership.lua adds nodes to it, and removes them.
local config = require "perilune.cluster.config"
local fiber = require "perilune.fiber"
local folder_of = require "perilune.cluster.folder"
local fs = require "perilune.fs"
local process = require "perilune.process"
local rpc = require "perilune.rpc"

local M = {}

local COUNT, BASE_PORT = 3, 7100
local COUNT_MAX, PORT_MAX = 15, 65535
local POLL = 0.02 -- seconds
local STOP = 11 -- seconds: a little more than perilune node gives itself
local LINES = 8 -- of a log, where a node did not start
local KILL, TERM, CONT, STOP_SIGNAL = 9, 15, 18, 19

-- ---- starting ----

-- What a node inherits is not what it is told: its file says that, and perilune up has no flags for it.
local function environment()
  local env = { PERILUNE_CONFIG = false, NOTIFY_SOCKET = false }
  for _, field in ipairs(config.fields) do
    if not field.is_secret and field.name ~= "cluster" then
      env[config.variable(field)] = false
    end
  end
  return env
end

local function command_of(folder, node)
  local command = {
    process.executable(), "node", "--config", "node.lua", cwd = ("%s/%s"):format(folder.path, node.name),
    env = environment(), output = folder:at(node, "log"), detached = true,
  }
  local library = require("perilune.mr_workspace").library()
  if library then
    table.insert(command, 2, "--lua-path=" .. fs.real(library))
  end
  return command
end

--- Why a node could not listen, before anything of it is made; or nil.
---@param node perilune.cluster.LocalNode
---@return string|nil why
---@return string? code
function M.taken(node)
  for _, address in ipairs { node.listen, node.resp, node.admin } do
    local server, err, code = rpc.serve({}, { listen = address })
    if not server then
      return ("%s cannot %s"):format(node.name, err), code
    end
    server:close()
  end
end

---@class perilune.cluster.Start
---@field node perilune.cluster.LocalNode
---@field pid integer
---@field log_size integer  before it was started

--- Starts the process of a node.
---@param folder perilune.cluster.Folder
---@param node perilune.cluster.LocalNode
---@return perilune.cluster.Start|nil started
---@return string? err
---@return string? code
function M.start(folder, node)
  local stat = fs.stat(folder:at(node, "log"))
  fs.remove(folder:at(node, "ready"))
  local child, err, code = process.spawn(command_of(folder, node))
  if not child then
    return nil, err, code
  end
  local pid = child:pid()
  child:close()
  local ok
  ok, err, code = fs.write(folder:at(node, "run.json"), require("perilune.json").encode(
    folder_of.identify(pid)), { atomic = true })
  if not ok then
    process.signal(pid, KILL)
    return nil, err, code
  end
  return { node = node, pid = pid, log_size = stat and stat.size or 0 }
end

---@class perilune.cluster.Trouble
---@field node string
---@field why string
---@field lines string[]  the last that it said

--- Waits until all are ready: nil, or what is wrong with the first that is not.
---@param folder perilune.cluster.Folder
---@param starts perilune.cluster.Start[]
---@param deadline number  seconds
---@return perilune.cluster.Trouble|nil trouble
function M.await(folder, starts, deadline)
  local due = fiber.now() + deadline
  for _, started in ipairs(starts) do
    local node = started.node
    while not folder:is_ready(node, started.pid) do
      local why
      if folder:state(node) == "dead" then
        why = ("%s ended before it was ready"):format(node.name)
      elseif fiber.now() >= due then
        why = ("%s was not ready after %g s"):format(node.name, deadline)
      end
      if why then
        return { node = node.name, why = why, lines = folder:last_lines(node, LINES, started.log_size) }
      end
      fiber.sleep(POLL)
    end
  end
end

local function check_new(count, base_port)
  if base_port + 10 * count + 2 > PORT_MAX then
    return nil, ("there are no %d ports from %d on"):format(10 * count, base_port), "EINVAL"
  end
  for id = 1, count do
    local why, code = M.taken(folder_of.lay_out(base_port, id))
    if why then
      return nil, why, code
    end
  end
  return true
end

-- The cluster of the directory, or a new one.
local function open_or_create(options)
  local folder, err, code = folder_of.open(options.path)
  if folder then
    if options.count and options.count ~= #folder.nodes then
      return nil, ("%s holds a cluster of %d nodes already"):format(options.path, #folder.nodes), "EHELD"
    elseif options.base_port and options.base_port ~= folder.base_port then
      return nil, ("%s holds a cluster with base port %d already"):format(options.path, folder.base_port),
        "EHELD"
    end
    return folder
  elseif code ~= "ENOENT" then
    return nil, err, code
  end
  local count, base_port = options.count or COUNT, options.base_port or BASE_PORT
  folder, err, code = check_new(count, base_port)
  if not folder then
    return nil, err, code
  end
  return folder_of.create(options.path, base_port, count)
end

--- How many nodes a cluster may begin with.
M.COUNT_MAX = COUNT_MAX

--- Starts those nodes of the directory's cluster that do not run, or a new cluster, and waits until they are
--- ready. { folder, started = names, resumed = names }; or nil, message, code, and perhaps the
--- perilune.cluster.Trouble of a node.
---@param options { path: string, count: integer?, base_port: integer?, deadline: number }
---@return table|nil up
---@return string? err
---@return string? code
---@return perilune.cluster.Trouble? trouble
function M.up(options)
  local lock <close>, err, code = folder_of.lock(options.path)
  if not lock then
    return nil, err, code
  end
  local folder
  folder, err, code = open_or_create(options)
  if not folder then
    return nil, err, code
  end
  local down, starts, up = {}, {}, { folder = folder, started = {}, resumed = {} }
  for _, node in ipairs(folder.nodes) do
    local state, pid = folder:state(node)
    if state == "paused" then
      process.signal(pid, CONT)
      up.resumed[#up.resumed + 1] = node.name
    elseif state ~= "running" then
      down[#down + 1] = node
      err, code = M.taken(node)
      if err then
        return nil, err, code
      end
    end
  end
  for _, node in ipairs(down) do
    local started
    started, err, code = M.start(folder, node)
    if not started then
      return nil, err, code
    end
    starts[#starts + 1], up.started[#up.started + 1] = started, node.name
  end
  local trouble = M.await(folder, starts, options.deadline)
  if trouble then
    return nil, trouble.why, "ENOTREADY", trouble
  end
  return up
end

--- The cluster of a directory, for a command that changes it; the caller closes the lock.
---@param path string
---@return perilune.cluster.Folder|nil folder
---@return string? err
---@return string? code
---@return perilune.cluster.Lock? lock
function M.open_locked(path)
  local folder, err, code = folder_of.open(path)
  if not folder then
    return nil, err, code
  end
  local lock
  lock, err, code = folder_of.lock(path)
  if not lock then
    return nil, err, code
  end
  return folder, nil, nil, lock
end

-- ---- stopping ----

local function wait_while(folder, node, wanted, seconds)
  local due = fiber.now() + seconds
  while wanted[folder:state(node)] and fiber.now() < due do
    fiber.sleep(POLL)
  end
  return not wanted[folder:state(node)]
end

local ALIVE = { running = true, paused = true }

local function ask_to_end(pid)
  process.signal(pid, TERM)
  process.signal(pid, CONT) -- one that is paused hears nothing
end

-- Ends a node in good order, or else by force: true when it was forced.
local function await_end(folder, node, pid)
  local is_forced = not wait_while(folder, node, ALIVE, STOP)
  if is_forced then
    process.signal(pid, KILL)
    wait_while(folder, node, ALIVE, STOP)
  end
  fs.remove(folder:at(node, "run.json"))
  fs.remove(folder:at(node, "ready"))
  return is_forced
end

--- Stops a node in good order, if it runs.
---@param folder perilune.cluster.Folder
---@param node perilune.cluster.LocalNode
function M.stop(folder, node)
  local state, pid = folder:state(node)
  if ALIVE[state] then
    ask_to_end(pid)
    await_end(folder, node, pid)
  end
end

--- Stops all nodes in good order: { stopped = names, forced = names of those that did not listen }.
---@param path string
---@return table|nil down
---@return string? err
---@return string? code
function M.down(path)
  local folder, err, code, lock_of = M.open_locked(path)
  if not folder then
    return nil, err, code
  end
  local _ <close> = lock_of
  local down, pids = { stopped = {}, forced = {} }, {}
  for _, node in ipairs(folder.nodes) do
    local state, pid = folder:state(node)
    if ALIVE[state] then
      pids[node] = pid
      ask_to_end(pid)
    else
      fs.remove(folder:at(node, "run.json"))
    end
  end
  for _, node in ipairs(folder.nodes) do
    if pids[node] then
      local list = await_end(folder, node, pids[node]) and down.forced or down.stopped
      list[#list + 1] = node.name
    end
  end
  return down
end

-- ---- signals ----

local SIGNALS = {
  kill = { KILL, leaves = ALIVE, needs = ALIVE },
  pause = { STOP_SIGNAL, leaves = { running = true }, needs = { running = true } },
  resume = { CONT, leaves = { paused = true }, needs = { paused = true } },
}

--- Kills, pauses or resumes the process of a node, and waits until it is so.
---@param folder perilune.cluster.Folder
---@param kind "kill"|"pause"|"resume"
---@param node perilune.cluster.LocalNode
---@return integer|nil pid
---@return string? err
---@return string? code  ESRCH when it is in no state for that
function M.signal(folder, kind, node)
  local action = SIGNALS[kind]
  local state, pid = folder:state(node)
  if not action.needs[state] then
    return nil, ("%s is %s"):format(node.name, state), "ESRCH"
  end
  local ok, err, code = process.signal(pid, action[1])
  if not ok then
    return nil, ("%s (process %d): %s"):format(node.name, pid, err), code
  elseif not wait_while(folder, node, action.leaves, STOP) then
    return nil, ("%s (process %d) does not heed it"):format(node.name, pid), "EDEADLINE"
  end
  return pid
end

return M
