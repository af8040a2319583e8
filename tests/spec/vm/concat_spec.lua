--- Concatenation with __concat, whose metamethods make Lua's stack move (runtime/lua_concat.cmake).
local perilune = require "perilune"

local DEPTH = 190 -- of C calls; Lua allows some 200

-- An object whose __concat uses much of the stack: through C, so that each level has a call of its own.
local function colour(levels)
  local mt = { __tostring = function(self) return self.text end }
  local function descend(n)
    if n == 0 then
      return ""
    end
    return (string.gsub("x", "x", function() return descend(n - 1) end)) and ""
  end
  function mt.__concat(a, b)
    descend(levels)
    return tostring(a) .. tostring(b)
  end
  return setmetatable({ text = "<c>" }, mt)
end

-- Runs fn in coroutines whose stacks are fresh, and differ in how much room they have left.
local function in_fresh_stacks(fn)
  for room = 0, 60 do
    local run = coroutine.wrap(function(...) return (fn(...)) end)
    assert.equal(fn(table.unpack({}, 1, room)), run(table.unpack({}, 1, room)))
  end
end

describe("__concat", function()
  for _, levels in ipairs { 0, 1, 10, DEPTH // 4 } do
    local c = colour(levels)

    it(("may move the stack, %d levels deep"):format(levels), function()
      in_fresh_stacks(function() return c .. "a" .. c end)
      assert.equal("<c>a<c>", c .. "a" .. c)
      assert.equal("12<c>ab<c>3.5", 1 .. 2 .. c .. "a" .. "b" .. c .. 3.5)
    end)

    it(("is right in the middle of an expression, %d levels deep"):format(levels), function()
      in_fresh_stacks(function()
        local before, list = "x", { c .. "" .. c, "b" .. c .. "b" }
        return before .. list[1] .. #list .. list[2] .. c .. before
      end)
    end)
  end

  it("may raise, and wait", function()
    local mt = {}
    function mt.__concat(_, b)
      if b == "raise" then
        error("no", 0)
      end
      perilune.sleep(0.001)
      return "w"
    end
    local c = setmetatable({}, mt)
    assert.equal("awb", "a" .. (c .. "x") .. "b")
    for _ = 1, 10 do
      local ok, err = pcall(function() return "a" .. (c .. "raise") .. "b" end)
      assert.is_false(ok)
      assert.equal("no", err)
    end
    assert.equal("aw", "a" .. c .. "b")
  end)
end)
