--- Waits until check() is true, at most 20 s, and gives that.
local fiber = require "perilune.fiber"

---@generic T
---@param check fun(): T
---@param what? string  what is said when it does not come to that
---@return T
return function(check, what)
  local limit = fiber.now() + 20
  while true do
    local value = check()
    if value then
      return value
    end
    assert(fiber.now() < limit, what or "it does not come to that")
    fiber.sleep(0.01)
  end
end
