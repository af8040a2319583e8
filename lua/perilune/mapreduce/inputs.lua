-- Which files the arguments of a job mean: files, directories, globs, "-".
local fs = require "perilune.fs"
local splits = require "perilune.mr_plan"

local M = {}

local function is_hidden(name)
  return name:match("^[._]") ~= nil
end

local function identity(stat)
  return ("%d:%d"):format(stat.device, stat.inode)
end

--- Adds the files below a directory, sorted; hidden ones and those named _ are left out, as Hadoop
--- does.
local function add_directory(path, id, add, above)
  if above[id] then
    return nil, ("%s leads back to a directory that it stands in"):format(path), "ELOOP"
  end
  local names, err, code = fs.list(path)
  if not names then
    return nil, err, code
  end
  above[id] = true
  for _, name in ipairs(names) do
    if not is_hidden(name) then
      local ok, why, what = M.add(path .. "/" .. name, add, above)
      if not ok then
        return nil, why, what
      end
    end
  end
  above[id] = nil
  return true
end

--- Adds a file, or all files below a directory.
---@param path string
---@param add fun(path: string, stat: table): boolean|nil, string|nil, string|nil
---@param above table<string, boolean>|nil  identities of the directories that path stands in
---@return true|nil ok
---@return string|nil err
---@return string|nil code
function M.add(path, add, above)
  local stat, err, code = fs.stat(path)
  if not stat then
    return nil, err, code
  elseif stat.type == "directory" then
    return add_directory(path:gsub("(.)/+$", "%1"), identity(stat), add, above or {})
  elseif stat.type ~= "file" then -- it could be read once only, or would never end
    return nil, ("%s is no regular file; pipe it into the job, with - as the input"):format(path), "EINVAL"
  end
  return add(path, stat)
end

local function is_directory(path)
  local stat = fs.stat(path)
  return stat and stat.type == "directory"
end

local function is_glob(argument)
  return argument:find "[*?%[]" ~= nil
end

-- The arguments that name nothing, as one text.
local function missing_of(arguments)
  local missing = {}
  for _, argument in ipairs(arguments) do
    local _, _, code = fs.stat(argument)
    missing[#missing + 1] = code == "ENOENT" and argument ~= "-" and not is_glob(argument) and argument or nil
  end
  return #missing > 0 and table.concat(missing, ", ") or nil
end

--- Expands the arguments into files with sizes, in the order given, directories and globs sorted.
---@param arguments string[]
---@param format string           of the input
---@param spool fun(): string|nil, string|nil, string|nil  keeps standard input in a file
---@return table[]|nil files      { path, size, is_stream }
---@return string[]|string|nil directories  among the arguments; or what went wrong
---@return string|nil code
function M.expand(arguments, format, spool)
  local missing = missing_of(arguments)
  if missing then
    return nil, "no such input: " .. missing, "ENOENT"
  end
  local files, directories = {}, {}
  local function add(path, stat)
    local is_stream, err, code = splits.probe(path, format)
    if is_stream == nil then
      return nil, err, code
    end
    files[#files + 1] = { path = path, size = stat.size, is_stream = is_stream }
    return true
  end
  for _, argument in ipairs(arguments) do
    local paths, why, what = { argument }, nil, nil
    if argument == "-" then
      paths[1], why, what = spool()
    elseif not fs.exists(argument) and is_glob(argument) then
      paths, why, what = fs.glob(argument)
      if paths and #paths == 0 then
        return nil, ("no file matches %s"):format(argument), "ENOENT"
      end
    end
    if not paths or not paths[1] then
      return nil, why, what
    end
    for _, path in ipairs(paths) do
      directories[#directories + 1] = is_directory(path) and path or nil
      local ok, err, code = M.add(path, add)
      if not ok then
        return nil, err, code
      end
    end
  end
  if #files == 0 then
    return nil, ("there is no file in %s"):format(table.concat(arguments, " ")), "ENOENT"
  end
  return files, directories
end

return M
