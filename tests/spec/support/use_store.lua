--- A store in the process for every test of the block that calls this, in a folder, which it gives.
local kv = require "perilune.kv"
local use_folder = require "tests.spec.support.folder"

---@param before_each function  the block's own: a module does not see busted's
---@param after_each function
---@param current fun(opened?: perilune.kv.Store): perilune.kv.Store  keeps the store, or says which it is now
---@return perilune.spec.Folder
return function(before_each, after_each, current)
  after_each(function() -- before the folder goes
    current():close()
  end)
  local folder = use_folder(before_each, after_each)
  before_each(function()
    current(assert(kv.open(folder:at "kv")))
  end)
  return folder
end
