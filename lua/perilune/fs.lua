--- Files and paths. Every function suspends the fiber while the disk works. A failure is nil, a
--- message that names the path and the reason, and a code such as "ENOENT".
local core = require "perilune.core.fs"
local fiber = require "perilune.fiber"

local M = {}

local READ_PIECE = 65536

local function check_options(options, known, caller)
  for name in pairs(options or {}) do
    if not known[name] then
      error(("%s: unknown option %s"):format(caller, tostring(name)), 3)
    end
  end
  return options or {}
end

-- ---- names ----

local function directory_of(path)
  local directory = path:match "^(.*/)[^/]*/*$"
  return directory == nil and "." or directory == "/" and "/" or (directory:gsub("/+$", ""))
end

local function join(directory, name)
  return directory:sub(-1) == "/" and directory .. name or directory .. "/" .. name
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

-- A name beside path that nobody else uses.
local function beside(path)
  return ("%s.tmp-%016x"):format(path, fiber.random(0, math.maxinteger))
end

local function write_atomic(path, data)
  local temporary = beside(path)
  local ok, err, code = core.write(temporary, data, core.WRITE | core.CREATE | core.EXCLUSIVE, true)
  if ok then
    ok, err, code = core.rename(temporary, path)
  end
  if not ok then
    core.remove(temporary)
    return nil, err, code
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
  options = check_options(options, WRITE_OPTIONS, "fs.write")
  if options.atomic then
    if options.append then
      error("fs.write: append and atomic exclude each other", 2)
    end
    return write_atomic(path, data)
  end
  local how = options.append and core.APPEND or core.TRUNCATE
  return core.write(path, data, core.WRITE | core.CREATE | how, options.sync)
end

-- ---- open files ----

--- An open file. One fiber at a time may use it.
---@class perilune.fs.File
---@field package core userdata
---@field package ahead string  what was read but not yet taken
---@field package at integer  where the rest of it starts
local File = {}
File.__index = File

local function take(file, count)
  local bytes = file.ahead:sub(file.at, file.at + count - 1)
  file.at = file.at + #bytes
  if file.at > #file.ahead then
    file.ahead, file.at = "", 1
  end
  return bytes
end

-- Reads another piece behind what is there; false at the end.
local function read_ahead(file)
  local piece, err, code = file.core:read(READ_PIECE)
  if not piece then
    return nil, err, code
  end
  file.ahead, file.at = file.ahead:sub(file.at) .. piece, 1
  return #piece > 0
end

local function read_line(file, keep_newline)
  local from = file.at
  while true do
    local newline = file.ahead:find("\n", from, true)
    if newline then
      local line = take(file, newline - file.at + 1)
      return keep_newline and line or line:sub(1, -2)
    end
    from = #file.ahead - file.at + 2
    local more, err, code = read_ahead(file)
    if more == nil then
      return nil, err, code
    elseif not more then
      return #file.ahead > 0 and take(file, #file.ahead) or nil
    end
  end
end

local function read_count(file, count)
  local head = take(file, count)
  if #head == count then
    return head
  end
  local rest, err, code = file.core:read(count - #head)
  if not rest then
    return nil, err, code
  end
  local bytes = head .. rest
  return (#bytes > 0 or count == 0) and bytes or nil
end

local function read_all(file)
  local head = take(file, #file.ahead)
  local rest, err, code = file.core:read(math.maxinteger)
  if not rest then
    return nil, err, code
  end
  return head .. rest
end

--- Reads: a number of bytes (fewer only at the end), "l" a line, "L" a line with its newline, "a"
--- everything that is left. nil at the end.
---@param what? integer|"l"|"L"|"a"  default "l"
---@return string|nil bytes
---@return string? err
---@return string? code
function File:read(what)
  if math.type(what) == "integer" and what >= 0 then
    return read_count(self, what)
  elseif what == nil or what == "l" or what == "L" then
    return read_line(self, what == "L")
  elseif what == "a" then
    return read_all(self)
  end
  error("file:read: a number of bytes, \"l\", \"L\" or \"a\"", 2)
end

--- Iterates over the lines that are left. A failure of the disk is raised.
---@return fun(): string|nil
function File:lines()
  return function()
    local line, err = read_line(self)
    if err then
      error(err, 2)
    end
    return line
  end
end

-- What was read ahead has moved the file's own position.
local function drop_ahead(file)
  local rest = #file.ahead - file.at + 1
  file.ahead, file.at = "", 1
  if rest == 0 then
    return true
  end
  return file.core:seek("cur", -rest)
end

--- Writes all of the bytes at the file's position.
---@param data string
---@return true|nil ok
---@return string? err
---@return string? code  "ENOSPC" when the disk is full
function File:write(data)
  local ok, err, code = drop_ahead(self)
  if not ok then
    return nil, err, code
  end
  return self.core:write(data)
end

--- Moves the position: from the start, from where it is, or from the end.
---@param whence? "set"|"cur"|"end"  default "cur"
---@param offset? integer  default 0
---@return integer|nil position
---@return string? err
---@return string? code
function File:seek(whence, offset)
  local ok, err, code = drop_ahead(self)
  if not ok then
    return nil, err, code
  end
  return self.core:seek(whence, offset)
end

--- Makes what was written durable.
---@return true|nil ok
---@return string? err
---@return string? code
function File:sync()
  return self.core:sync()
end

--- Closes the file.
---@return true|nil ok
---@return string? err
---@return string? code
function File:close()
  return self.core:close()
end

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
  return setmetatable({ core = raw, ahead = "", at = 1 }, File)
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
  options = check_options(options, { parents = true }, "fs.mkdir")
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
    local ok, why, what = remove(join(path, name))
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
  options = check_options(options, { recursive = true }, "fs.remove")
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
  return core.tempdir(join(parent and parent ~= "" and parent or "/tmp", prefix or "perilune-"))
end

-- ---- glob ----

-- A Lua pattern for one component of a glob. A class that does not end stands for itself.
local function component_pattern(glob)
  local pattern, at = { "^" }, 1
  while at <= #glob do
    local char = glob:sub(at, at)
    local negation, class, after = glob:match("^%[([!^]?)(%]?[^%]]*)%]()", at)
    if char == "*" then
      pattern[#pattern + 1] = ".*"
    elseif char == "?" then
      pattern[#pattern + 1] = "."
    elseif class then
      pattern[#pattern + 1] = "[" .. (negation ~= "" and "^" or "") .. class:gsub("[%%%]%^]", "%%%0") .. "]"
      at = after - 1
    elseif char == "\\" and at < #glob then
      at = at + 1
      pattern[#pattern + 1] = glob:sub(at, at):gsub("%W", "%%%0")
    else
      pattern[#pattern + 1] = char:gsub("%W", "%%%0")
    end
    at = at + 1
  end
  return table.concat(pattern) .. "$"
end

-- The entries of directory ("" is here) that match; "." at the front must be asked for.
local function matching(directory, component)
  local names = M.list(directory == "" and "." or directory)
  local pattern = component_pattern(component)
  local found = {}
  for _, name in ipairs(names or {}) do
    if name:find(pattern) and (name:sub(1, 1) ~= "." or component:sub(1, 1) == ".") then
      found[#found + 1] = directory == "" and name or join(directory, name)
    end
  end
  return found
end

local function descend(directory, components, index, found)
  local component = components[index]
  if component == nil then
    found[#found + 1] = directory
    return
  end
  local paths
  if component:find "[*?%[\\]" then
    paths = matching(directory, component)
  else
    local path = directory == "" and component or join(directory, component)
    paths = core.lstat(path) and { path } or {}
  end
  for _, path in ipairs(paths) do
    descend(path, components, index + 1, found)
  end
end

--- The paths that match a pattern, sorted by bytes: * and ? stand for any characters but "/", [a-z]
--- and [!a-z] for one, \ takes the next character as it is. Names that start with "." must be asked
--- for. Directories that cannot be read match nothing.
---@param pattern string
---@return string[] paths
function M.glob(pattern)
  local components, found = {}, {}
  for component in pattern:gmatch "[^/]+" do
    components[#components + 1] = component
  end
  if #components > 0 then
    descend(pattern:sub(1, 1) == "/" and "/" or "", components, 1, found)
  end
  table.sort(found)
  return found
end

return M
