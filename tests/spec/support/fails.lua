--- What a call gave is a failure with that code and a message that matches the pattern: its details.
local luassert = require "luassert"

---@param code string
---@param pattern string
---@param value any  from here on what the call gave
---@param err? string
---@param got? string
---@param details? table
return function(code, pattern, value, err, got, details)
  luassert.is_nil(value)
  luassert.equal(code, got)
  luassert.matches(pattern, err)
  return details
end
