--- Methods that say so when they are called with a dot.
local M = {}

--- Makes every method of a class refuse a first argument that is no object of it: sim.start("n1", "a") is
--- a mistake that would else show as an error inside of the library.
---@generic T: table
---@param class T       whose objects have it as their metatable
---@param object string  what people call the object: "sim"
---@return T class
function M.guard(class, object)
  for name, method in pairs(class) do
    if type(method) == "function" then
      class[name] = function(self, ...)
        if getmetatable(self) ~= class then
          error(("%s.%s is a method: write %s:%s(...), with a colon"):format(object, name, object, name), 2)
        end
        return method(self, ...)
      end
    end
  end
  return class
end

return M
