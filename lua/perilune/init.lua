--- Perilune: what every script uses. require "perilune" gives everything of perilune.fiber; the modules
--- named below are loaded when they are first used, as in perilune.fs.read(path).
local fiber = require "perilune.fiber"

local MODULES = { fs = true, json = true, log = true, mapreduce = true, msgpack = true, process = true }

---@class perilune: perilune.fiber
local M = {}
for name, value in pairs(fiber) do
  M[name] = value
end

return setmetatable(M, {
  __index = function(self, name)
    if MODULES[name] then
      rawset(self, name, require("perilune." .. name))
    end
    return rawget(self, name)
  end,
})
