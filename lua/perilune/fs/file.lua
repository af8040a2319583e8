--- Open files of perilune.fs: buffers what is read, so that lines come out of large pieces.

local READ_PIECE = 65536

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

local M = {}

--- Makes a file of the core's userdata.
---@param raw userdata
---@return perilune.fs.File
function M.wrap(raw)
  return setmetatable({ core = raw, ahead = "", at = 1 }, File)
end

return M
