--- Files and paths. Every function suspends the fiber while the disk works. A failure is nil, a
--- message that names the path and the reason, and a code such as "ENOENT".
local core = require "perilune.core.fs"
local fiber = require "perilune.fiber"
local file = require "perilune.fs.file"
local glob = require "perilune.fs.glob"
local options_of = require "perilune.options"

local M = {}

-- ---- names ----

local function directory_of(path)
  local directory = path:match "^(.*/)[^/]*/*$"
  return directory == nil and "." or directory == "/" and "/" or (directory:gsub("/+$", ""))
end

-- ---- whole files ----

--- Reads a whole file of at most 1 GiB.
---@param path string
---@return string|nil bytes
---@return string? err
---@return string? code
function M.read(path)
  return core.read(path)
end

---@class perilune.fs.WriteOptions
---@field append? boolean  adds to the file instead of replacing it
---@field sync? boolean  returns only when the bytes are durable
---@field atomic? boolean  readers see the old file or the new one, never a part; implies sync

local WRITE_OPTIONS = { append = true, sync = true, atomic = true }

-- What a message says of the file that the caller knows, instead of the one beside it.
local function without(suffix, message)
  return (message:gsub(suffix:gsub("%W", "%%%0"), ""))
end

local function write_atomic(path, data)
  local stat = core.stat(path)
  if stat and stat.type == "other" then -- a device is written to, not replaced
    return core.write(path, data, core.WRITE, false)
  end
  local suffix = (".tmp-%016x"):format(fiber.random(0, math.maxinteger)) -- nobody else uses it
  local temporary = path .. suffix
  local ok, err, code = core.write(temporary, data, core.WRITE | core.CREATE | core.EXCLUSIVE, true)
  if ok then
    ok, err, code = core.rename(temporary, path)
  end
  if not ok then
    core.remove(temporary)
    return nil, without(suffix, err), code
  end
  return core.sync(directory_of(path))
end

--- Writes a whole file, which is created when it does not exist.
---@param path string
---@param data string
---@param options? perilune.fs.WriteOptions
---@return true|nil ok
---@return string? err
---@return string? code
function M.write(path, data, options)
  options = options_of.check(options, WRITE_OPTIONS, "fs.write")
  if options.atomic then
    if options.append then
      error("fs.write: append and atomic exclude each other", 2)
    end
    return write_atomic(path, data)
  end
  local how = options.append and core.APPEND or core.TRUNCATE
  local ok, err, code = core.write(path, data, core.WRITE | core.CREATE | how, options.sync)
  if ok and options.sync then -- of a new file the name must last as well
    return core.sync(directory_of(path))
  end
  return ok, err, code
end

-- ---- open files ----

local MODES = {
  r = core.READ,
  ["r+"] = core.READ | core.WRITE,
  w = core.WRITE | core.CREATE | core.TRUNCATE,
  ["w+"] = core.READ | core.WRITE | core.CREATE | core.TRUNCATE,
  a = core.APPEND | core.CREATE,
  ["a+"] = core.READ | core.APPEND | core.CREATE,
  wx = core.WRITE | core.CREATE | core.EXCLUSIVE,
}

--- Opens a file. The modes are io.open's, and "wx": write a file that does not exist yet.
---@param path string
---@param mode? "r"|"r+"|"w"|"w+"|"a"|"a+"|"wx"  default "r"
---@return perilune.fs.File|nil file
---@return string? err
---@return string? code
function M.open(path, mode)
  local flags = MODES[mode or "r"] or error("fs.open: unknown mode " .. tostring(mode), 2)
  local raw, err, code = core.open(path, flags)
  if not raw then
    return nil, err, code
  end
  return file.wrap(raw)
end

-- ---- directories and names ----

---@class perilune.fs.Stat
---@field type "file"|"directory"|"link"|"other"
---@field size integer  bytes
---@field modified number  seconds since 1970, wall clock
---@field mode integer  permission bits
---@field inode integer
---@field device integer

--- What a path names. A symbolic link is followed unless options.links is set.
---@param path string
---@param options? { links: boolean? }
---@return perilune.fs.Stat|nil stat
---@return string? err
---@return string? code
function M.stat(path, options)
  if options and options.links then
    return core.lstat(path)
  end
  return core.stat(path)
end

--- True when the path names something that can be reached.
---@param path string
---@return boolean
function M.exists(path)
  return core.stat(path) ~= nil
end

--- The names in a directory, sorted by bytes.
---@param path string
---@return string[]|nil names
---@return string? err
---@return string? code
function M.list(path)
  local names, err, code = core.list(path)
  if not names then
    return nil, err, code
  end
  table.sort(names)
  return names
end

--- Creates a directory; with parents = true also those above it, and one that exists is no error.
---@param path string
---@param options? { parents: boolean? }
---@return true|nil ok
---@return string? err
---@return string? code
function M.mkdir(path, options)
  options = options_of.check(options, { parents = true }, "fs.mkdir")
  local ok, err, code = core.mkdir(path)
  if ok or not options.parents then
    return ok, err, code
  end
  if code == "EEXIST" then
    local stat = core.stat(path)
    if stat and stat.type == "directory" then
      return true
    end
  elseif code == "ENOENT" and directory_of(path) ~= path then
    ok, err, code = M.mkdir(directory_of(path), options)
    if ok then
      return core.mkdir(path)
    end
  end
  return nil, err, code
end

local function remove_tree(path)
  local names, err, code = core.list(path)
  if not names then
    return nil, err, code
  end
  local types = err
  for index, name in ipairs(names) do
    local remove = types[index] == "directory" and remove_tree or core.remove
    local ok, why, what = remove(glob.join(path, name))
    if not ok and what ~= "ENOENT" then
      return nil, why, what
    end
  end
  return core.remove(path)
end

--- Removes a file, a link or an empty directory; with recursive = true a directory with all that is
--- in it. Links are removed, not followed.
---@param path string
---@param options? { recursive: boolean? }
---@return true|nil ok
---@return string? err
---@return string? code
function M.remove(path, options)
  options = options_of.check(options, { recursive = true }, "fs.remove")
  if not options.recursive then
    return core.remove(path)
  end
  local stat, err, code = core.lstat(path)
  if not stat then
    return nil, err, code
  end
  if stat.type == "directory" then
    return remove_tree(path)
  end
  return core.remove(path)
end

--- Renames; what the new name stood for is replaced.
---@param from string
---@param to string
---@return true|nil ok
---@return string? err
---@return string? code
function M.rename(from, to)
  return core.rename(from, to)
end

--- The absolute path without links.
---@param path string
---@return string|nil real
---@return string? err
---@return string? code
function M.real(path)
  return core.real(path)
end

--- The working directory of the process.
---@return string|nil path
---@return string? err
---@return string? code
function M.cwd()
  return core.cwd()
end

--- Creates a fresh directory that only this user may enter, in TMPDIR or /tmp. The caller removes it.
---@param prefix? string  of its name; default "perilune-"
---@return string|nil path
---@return string? err
---@return string? code
function M.tempdir(prefix)
  local parent = core.variable "TMPDIR"
  return core.tempdir(glob.join(parent and parent ~= "" and parent or "/tmp", prefix or "perilune-"))
end

--- The paths that match a pattern, sorted by bytes: * and ? stand for any characters but "/", [a-z]
--- and [!a-z] for one, \ takes the next character as it is. Names that start with "." must be asked
--- for. Directories that cannot be read match nothing.
---@param pattern string
---@return string[] paths
function M.glob(pattern)
  return glob.expand(pattern)
end

return M
