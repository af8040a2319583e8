-- Where the output goes: which directories may be made or replaced, the directory beside it that a
-- run works in, and the rename that makes everything visible.
local fs = require "perilune.fs"
local perilune = require "perilune"
local workspace = require "perilune.mr_workspace"

local M = {}

local DIRECTORY_PATTERN = "%.perilune%-%x+$"
local NEW_PATTERN = "%.perilune%-%x+%.new$" -- made, perhaps not locked yet
local NEW_MAX_S = 60                        -- after which its maker must be gone
local STEP_PATTERN = "%-s%d+%-"             -- in the name of a file: errors-s1-m00000
local FILE_PATTERN = "^[%a_][%w_]*%-m?%d%d%d%d%d+$" -- part-00000, quarantine-m00017: see plan.lua
local KEPT = "/old"                         -- in a run's directory: the output that it replaces

local function base_name(path)
  return path:match("([^/]+)/*$") or path
end

--- The directory that a path stands in.
---@param path string
---@return string
function M.folder_of(path)
  return path:match("^(.*[^/])/+[^/]+/*$") or (path:sub(1, 1) == "/" and "/" or ".")
end

-- ---- what may be written ----

--- A file in the directory that no job has written, if there is one.
local function foreign_file(path)
  for _, name in ipairs(fs.list(path) or {}) do
    local is_ours = name:gsub(STEP_PATTERN, "-", 1):match(FILE_PATTERN)
    local stat = is_ours and fs.stat(path .. "/" .. name)
    if not stat or stat.type ~= "file" then
      return name
    end
  end
end

local function refuse_replacing(out, stat)
  if stat.type ~= "directory" then
    return { message = ("the output %s is no directory"):format(out), code = "EEXIST",
      hint = "choose another one" }
  end
  local foreign = foreign_file(out)
  return foreign and { code = "EEXIST",
    message = ("the output %s holds %s, which no job has written"):format(out, foreign),
    hint = "--force replaces only the output of a job; choose another directory" } or nil
end

--- Whether the output may be made; --force replaces what a job has written, and nothing else.
---@param out string
---@param is_forced boolean|nil
---@return table|nil failure  { message, code, hint }
function M.check(out, is_forced)
  if out == "" then
    return { message = "the name of the output is empty", code = "EINVAL" }
  end
  local folder = M.folder_of(out)
  local above, err, code = fs.stat(folder)
  if code == "ENOENT" then
    return { message = ("the folder %s of the output does not exist"):format(folder), code = code,
      hint = "create it first" }
  elseif not above then
    return { message = ("the folder of the output: %s"):format(err), code = code }
  elseif above.type ~= "directory" then
    return { message = ("%s, where the output would lie, is no directory"):format(folder),
      code = "ENOTDIR" }
  end
  local stat = fs.stat(out)
  if stat and not is_forced then
    return { message = ("the output %s exists"):format(out), code = "EEXIST",
      hint = "choose another one, or replace it with --force" }
  end
  return stat and refuse_replacing(out, stat) or nil
end

local function identity(path)
  local stat = fs.stat(path)
  return stat and ("%d:%d"):format(stat.device, stat.inode)
end

--- Whether the output stands apart from the input: a run would read its own files, or replace what
--- it reads.
---@param out string
---@param files table[]          { path } of the input
---@param directories string[]   whose files are the input
---@return table|nil failure     { message, code, hint }
function M.check_apart(out, files, directories)
  local above = {}
  local path = M.folder_of(out)
  local id, last = identity(path), nil
  while id and id ~= last do
    above[id] = true
    path, last = path .. "/..", id
    id = identity(path)
  end
  local own = identity(out)
  for _, directory in ipairs(directories) do
    local input = identity(directory)
    if above[input] or (own and input == own) then
      return { message = ("the output %s would lie inside the input %s"):format(out, directory),
        code = "EINVAL", hint = "choose a directory outside of it" }
    end
  end
  for _, file in ipairs(own and files or {}) do
    if identity(M.folder_of(file.path)) == own then
      return { message = ("the output %s would replace the input %s"):format(out, file.path),
        code = "EINVAL", hint = "choose another directory" }
    end
  end
end

-- ---- the directory of a run ----

local function is_dead(path, name)
  if name:match(NEW_PATTERN) then
    local stat = fs.stat(path)
    return stat and perilune.wall() - stat.modified > NEW_MAX_S
  end
  return name:match(DIRECTORY_PATTERN) and fs.exists(path .. "/lock")
end

--- Puts back the output that a run was about to replace when it ended.
local function restore(path, note)
  local out = path:gsub(DIRECTORY_PATTERN, "")
  if fs.exists(path .. KEPT) and not fs.exists(out) and fs.rename(path .. KEPT, out) then
    note(("put %s back, which a run that did not end was about to replace"):format(out))
  end
end

--- Removes the directories that runs which are gone left beside ours.
---@param out string
---@param note fun(text: string)
function M.clear_dead_runs(out, note)
  local folder = M.folder_of(out)
  for _, name in ipairs(fs.list(folder) or {}) do
    local path = folder .. "/" .. name
    local lock = is_dead(path, name) and workspace.lock(path .. "/lock")
    if lock then
      restore(path, note)
      local ok, err = workspace.remove(path)
      lock:close()
      note(ok and ("removed %s, left by a run that did not end"):format(path)
        or ("cannot remove %s, left by a run that did not end: %s"):format(path, err))
    end
  end
end

--- Whether nobody else is at work on the output: both would do all of it, and one in vain.
---@param out string
---@return table|nil failure  { message, code, hint }
function M.check_alone(out)
  local folder = M.folder_of(out)
  for _, name in ipairs(fs.list(folder) or {}) do
    local path = folder .. "/" .. name
    local is_run = name:gsub(DIRECTORY_PATTERN, "") == base_name(out) and name:match(DIRECTORY_PATTERN)
    local lock, _, code
    if is_run and fs.exists(path .. "/lock") then
      lock, _, code = workspace.lock(path .. "/lock")
    end
    if lock then
      lock:close() -- it has ended since the dead ones were cleared
    elseif code == "EBUSY" then
      return { message = ("another run is writing %s (it works in %s)"):format(out, path), code = "EBUSY",
        hint = "wait for it, or choose another output" }
    end
  end
end

-- Why a directory cannot be made, as who asked for the output sees it.
local function not_made(out, err)
  return ("the output %s cannot be made in %s: %s"):format(out, M.folder_of(out), err:match "[^: ][^:]*$")
end

--- Makes and locks the directory that everything is written into. It gets its name when it is locked,
--- so that no other run takes it for a dead one's.
---@param out string
---@return string|nil directory
---@return userdata|string lock  or why there is none
---@return string|nil code
function M.make_directory(out)
  local id = ("%08x"):format(math.floor(perilune.random() * 0xffffffff))
  local directory = ("%s/%s.perilune-%s"):format(M.folder_of(out), base_name(out), id)
  local new = directory .. ".new"
  local ok, err, code = fs.mkdir(new)
  if not ok then
    return nil, not_made(out, err), code
  end
  local lock, _
  lock, err, code = workspace.lock(new .. "/lock")
  for _, name in ipairs { "/spill", "/out" } do
    if not code then
      _, err, code = fs.mkdir(new .. name)
    end
  end
  if not code then
    _, err, code = fs.rename(new, directory)
  end
  if code then
    workspace.remove(new)
    return nil, err, code
  end
  return directory, lock
end

--- The one step that makes the output visible.
---@param directory string        of the run
---@param out string
---@param is_forced boolean|nil
---@param on_publish fun()|nil    called before the first step that others can see
---@return table|nil failure  { message, code, hint }
function M.publish(directory, out, is_forced, on_publish)
  local failure = M.check(out, is_forced)
  if failure and failure.code == "EEXIST" and not is_forced then -- it did not when the run began
    failure.message = ("the output %s exists: somebody else has made it meanwhile"):format(out)
  end
  if failure then
    return failure
  end
  if on_publish then
    on_publish()
  end
  local old = fs.exists(out) and directory .. KEPT or nil
  if old then
    local ok, err, code = fs.rename(out, old)
    if not ok then
      return { message = err, code = code }
    end
  end
  local ok, err, code = fs.rename(directory .. "/out", out)
  if not ok then
    if old then
      fs.rename(old, out)
    end
    return { message = err, code = code }
  end
end

return M
