-- luacheck: read globals stock
--- What the scripts of test_vm_library.c share. `stock` holds the functions before the replacement.
local M = {}

--- Calls fn in a coroutine, resumes it until it ends; how often it yielded, then pcall's results.
function M.drive(fn, ...)
  local co = coroutine.create(fn)
  local results = table.pack(coroutine.resume(co, ...))
  local yields = 0
  while coroutine.status(co) == "suspended" do
    yields = yields + 1
    results = table.pack(coroutine.resume(co))
  end
  return yields, table.unpack(results, 1, results.n)
end

local may_pause = false

--- Yields, unless stock's function is at work: that one could not.
function M.pause()
  if may_pause then
    coroutine.yield()
  end
end

local function quote(value)
  if type(value) == "string" then
    return ("%q"):format(value)
  end
  return type(value) == "table" and "table" or tostring(value)
end

local function outcome(fn, ...)
  local results = table.pack(M.drive(fn, ...))
  local parts = {}
  for i = 2, results.n do
    parts[#parts + 1] = quote(results[i])
  end
  local text = stock.gsub(table.concat(parts, ","), "0x%x+", "")
  text = stock.gsub(text, "[%w_/]+%.lua:%d+: ", "")
  return (stock.gsub(text, "to '[%w_.?]+'", "to ''"))
end

--- All results of a call of the stock function, and of ours, each as one text, without addresses and
--- names that depend on the library table.
function M.outcomes(old, new, ...)
  may_pause = false
  local want = outcome(old, ...)
  may_pause = true
  return want, outcome(new, ...)
end

return M
