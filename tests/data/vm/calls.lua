-- Functions that call back: everything may yield. Finalizers: stock's order and resurrection.
local support = ...
local drive = support.drive

local function same(want, ...)
  local got = table.pack(...)
  for i = 1, #want do
    assert(got[i] == want[i], ("result %d: %s is not %s"):format(i, got[i], want[i]))
  end
end

local parts = { "return", " 1", "+2" }
local at = 0
local _, ok, chunk = drive(load, function()
  coroutine.yield()
  at = at + 1
  return parts[at]
end)
assert(ok and chunk() == 3)
same({ nil, "mine" }, load(function() error("mine", 0) end))
same({ nil, "reader function must return a string" }, load(function() return {} end))
same({ nil, "attempt to load a text chunk (mode is 'b')" }, load(function() end, "=n", "b"))

local object = setmetatable({}, {
  __tostring = function()
    coroutine.yield()
    return "object"
  end,
})
same({ 1, true, "object" }, drive(tostring, object))
same({ 1, true, "object|3|%" }, drive(string.format, "%s|%d|%%", object, 3))
assert(not pcall(tostring, setmetatable({}, { __tostring = function() return 1 < 2 end })))

package.preload["a.module"] = function(...)
  coroutine.yield()
  return { ... }
end
local _, _, module, extra = drive(require, "a.module")
same({ "a.module", ":preload:" }, module[1], module[2])
assert(extra == ":preload:" and require("a.module") == module)

local log = {}
local meta = {}
meta.__gc = function(dead)
  log[#log + 1] = dead.number
  if dead.again then
    dead.again = nil
    setmetatable(dead, meta)
  end
end
local finalizer = meta.__gc
for i = 1, 5 do
  setmetatable({ number = i }, meta)
end
setmetatable({ number = 6, again = true }, meta)
assert(meta.__gc == finalizer, "the metatable looks untouched")
collectgarbage()
assert(table.concat(log) == "654321", table.concat(log))
collectgarbage()
collectgarbage()
assert(table.concat(log) == "6543216", table.concat(log))

-- A finalizer that is abandoned in the middle does not stop the others.
local function sleep_for_ever()
  while true do
    coroutine.yield()
  end
end
local co = coroutine.create(function()
  setmetatable({}, { __gc = sleep_for_ever })
  collectgarbage()
end)
assert(coroutine.resume(co))
assert(coroutine.close(co))
local ran = false
setmetatable({}, { __gc = function() ran = true end })
collectgarbage()
assert(ran)
