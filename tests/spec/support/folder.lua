--- A folder of its own for every test.
local fs = require "perilune.fs"

---@class perilune.spec.Folder
---@field path string  new for every test
local Folder = {}
Folder.__index = Folder

--- The path of something in the folder.
---@param name string
---@return string
function Folder:at(name)
  return self.path .. "/" .. name
end

--- Writes a file; its path.
---@param name string
---@param bytes string
---@return string
function Folder:write(name, bytes)
  assert(fs.write(self:at(name), bytes))
  return self:at(name)
end

--- Writes the job file; its path.
---@param source string
---@return string
function Folder:job(source)
  return self:write("job.lua", source)
end

---@param name string
---@return string
function Folder:read(name)
  return (assert(fs.read(self:at(name))))
end

--- Makes and removes the folder around every test of the block that calls this.
---@param before_each function  the block's own: a module does not see busted's
---@param after_each function
---@return perilune.spec.Folder
return function(before_each, after_each)
  local folder = setmetatable({}, Folder)
  before_each(function()
    folder.path = assert(fs.tempdir())
  end)
  after_each(function()
    assert(fs.remove(folder.path, { recursive = true }))
  end)
  return folder
end
