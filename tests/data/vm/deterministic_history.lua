-- Runs inside the sandbox: one table made by two histories must look the same. Returns functions.
local M = {}

local WORDS = {
  "a", "b", "key", "x1", "longer than forty bytes, so that it is not interned by Lua", "", "\0", "\xff",
}

local function random_key()
  local kind = draw(10)
  if kind <= 5 then return draw(12) end
  if kind <= 7 then return WORDS[draw(#WORDS)] .. (draw(3) == 1 and draw(5) or "") end
  if kind == 8 then return draw(2000) - 1000 end
  return (draw(200) - 100) / 8
end

local function shuffled(list)
  local copy = table.move(list, 1, #list, 1, {})
  for i = #copy, 2, -1 do
    local j = draw(i)
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

--- The same fields as in want, put in by another history.
local function made_by_history(want, order)
  local t = draw(2) == 1 and { 0, 0, 0, 0, nil, 0 } or {}
  for _ = 1, draw(30) do t[random_key()] = 0 end -- grows, and leaves its traces
  for _, key in ipairs(order) do
    if draw(3) == 1 then t[key] = nil end
    t[key] = want[key]
  end
  local extra = {}
  for key in pairs(t) do
    if want[key] == nil then extra[#extra + 1] = key end
  end
  for _, key in ipairs(shuffled(extra)) do t[key] = nil end
  return t
end

local function shown(t)
  local _, joined = pcall(table.concat, t, ",")
  local out = { #t, rawlen(t), tostring(next(t)), select("#", table.unpack(t)), joined }
  for k, v in pairs(t) do out[#out + 1] = tostring(k) .. "=" .. tostring(v) end
  for k in next, t do out[#out + 1] = tostring(k) end
  for i in ipairs(t) do out[#out + 1] = i end
  local list = {}
  for _, v in pairs(t) do list[#list + 1] = v end
  table.sort(list, function(a, b) return a // 10 < b // 10 end)
  return table.concat(out, " ") .. "|" .. table.concat(list, " ")
end

function M.compare()
  local want, order = {}, {}
  for i = 1, draw(16) - 1 do
    local key = random_key()
    if want[key] == nil then order[#order + 1] = key end
    want[key] = i
  end
  local a = made_by_history(want, shuffled(order))
  local b = made_by_history(want, shuffled(order))
  assert(shown(a) == shown(b), shown(a) .. "\n" .. shown(b))
  assert(encode(a) == encode(b))
  table.insert(a, 1000)
  table.insert(b, 1000)
  assert(table.remove(a, 1) == table.remove(b, 1))
  assert(shown(a) == shown(b) and encode(a) == encode(b))
  return stock_length(a) == stock_length(b)
end

--- One command on the state of a machine: a bit of everything whose order could matter.
function M.apply(state)
  local log = {}
  for _ = 1, 5 do
    local what = draw(7)
    if what == 1 then
      state.list[#state.list + 1] = draw(100)
    elseif what == 2 then
      state.list[draw(20)] = nil
    elseif what == 3 then
      state.map[random_key()] = { n = draw(9), draw(9) }
    elseif what == 4 then
      for key, value in pairs(state.map) do
        if value.n == draw(9) then state.map[key] = nil else value.n = value.n + 1 end
        log[#log + 1] = tostring(key) .. tostring(value)
      end
    elseif what == 5 then
      local list = {}
      for _, value in pairs(state.map) do list[#list + 1] = value end
      table.sort(list, function(a, b) return a.n < b.n end)
      log[#log + 1] = ("%s %d"):format(list[1], #list)
      state.sum = state.sum + #list * 1.1 ^ #state.list
    elseif what == 6 then
      local _, joined = pcall(table.concat, { table.unpack(state.list) }, "+")
      log[#log + 1] = joined .. tostring(next(state.map))
    else
      table.insert(state.list, 1, draw(50))
      log[#log + 1] = tostring(table.remove(state.list, (#state.list + 1) // 2))
    end
  end
  return table.concat(log, ";")
end

function M.init()
  return { list = {}, map = {}, sum = 0.5 }
end

return M
