--- Runs seeds of a scenario in worker processes.
local fs = require "perilune.fs"
local msgpack = require "perilune.msgpack"
local perilune = require "perilune"
local process = require "perilune.process"

local M = {}

local FRAME_MAX = 256 << 20

-- Where the second run of a verification differs from the first: nothing of it may be seen inside.
local ELSEWHERE = {
  cwd = "/",
  env = {
    MALLOC_PERTURB_ = "165", LC_ALL = "C.UTF-8", TZ = "Pacific/Chatham", HOME = "/nonexistent",
    GLIBC_TUNABLES = "glibc.malloc.tcache_count=0:glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable",
    PERILUNE_SIM_PAD = ("pad"):rep(3001),
  },
}

---@class perilune.sim.Worker
---@field package child perilune.process.Child
---@field package common table
local Worker = {}
Worker.__index = Worker

--- Starts a worker.
---@param common table  what all its runs have in common: path, chunk, source, ...
---@param place? "here"|"elsewhere"  of a verification: elsewhere folder, environment and heap are others
---@return perilune.sim.Worker
function M.start(common, place)
  return setmetatable({ common = common, place = place }, Worker)
end

local HERE = { env = { MALLOC_PERTURB_ = "1" } }

local function command(place)
  local where = place == "elsewhere" and ELSEWHERE or place == "here" and HERE or {}
  local words = { process.executable(), "sim-worker", stdin = "pipe", stdout = "pipe", stderr = "inherit",
    dies_with_parent = true, cwd = where.cwd, env = where.env }
  local library = require("perilune.mr_workspace").library()
  if library then -- found from elsewhere, too: else the library in the binary is read there, on other lines
    table.insert(words, 2, "--lua-path=" .. (place and fs.real(library) or library))
  end
  return words
end

local function send(child, value)
  return child:write(("<s4"):pack(assert(msgpack.encode(value))))
end

local function ensure_child(self)
  if not self.child then
    self.child = assert(process.spawn(command(self.place)))
    send(self.child, self.common)
  end
  return self.child
end

local function read_frame(child)
  local head = child:read_exact(4)
  local size = head and ("<I4"):unpack(head)
  local body = size and size <= FRAME_MAX and child:read_exact(size)
  return body and msgpack.decode(body)
end

--- Runs one seed and waits for its result. A worker that dies is replaced at the next run.
---@param request table  seed, and what else is this run's own
---@return table result
function Worker:run(request)
  local child = ensure_child(self)
  send(child, request)
  local result = read_frame(child)
  if not result then
    self:close()
    return { ok = false, seed = request.seed, time = 0, stats = {},
      failure = { kind = "died", message = "the worker process ended" } }
  end
  return result
end

--- Ends the worker.
function Worker:close()
  if self.child then
    self.child:close()
    self.child = nil
  end
end
Worker.__close = Worker.close

--- Calls body(worker_number, seed) for each seed, with so many at work at the same time, in fibers.
---@param from integer
---@param to integer
---@param jobs integer
---@param body fun(slot: integer, seed: integer): boolean?  true: start no further seed
function M.each(from, to, jobs, body)
  local next_seed, is_over, fibers = from, false, {}
  for slot = 1, math.max(1, math.min(jobs, to - from < jobs and to - from + 1 or jobs)) do
    fibers[slot] = perilune.spawn({ name = "seeds " .. slot }, function()
      while next_seed and not is_over do
        local seed = next_seed
        next_seed = seed < to and seed + 1 or nil
        is_over = body(slot, seed) or is_over
      end
    end)
  end
  for _, fiber in ipairs(fibers) do
    local ok, err = fiber:join()
    if not ok then
      error(err, 0)
    end
  end
end

return M
