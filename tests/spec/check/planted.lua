--- Long histories of objects that are right, but for one fault near the end.
local histories = require "tests.spec.check.histories"

local M = {}

local READS = { read = true, get = true, dequeue = true, contains = true, acquire = true }

-- Each asks for an operation (f, argument) and lets it happen (the result); world.is_faulty: now is the time,
-- and is_faulty is cleared when the fault was made. fail: the operation came to nothing.
local OBJECTS = {}

function OBJECTS.register(names)
  return {
    ask = function(world, random)
      world.count = (world.count or 0) + 1
      local is_write = random(1, 2) == 1
      return names[is_write and 2 or 1], is_write and "v" .. world.count or nil
    end,
    act = function(world, op)
      if op.f == names[2] then
        table.insert(world.written, op.value)
        return
      end
      local at = #world.written
      if world.fault == "never" and world.is_faulty then
        world.is_faulty = false
        return "nobody wrote this"
      elseif world.fault == "stale" and world.is_faulty then
        world.is_faulty = false
        return world.written[at - 40]
      end
      return world.written[at]
    end,
  }
end

OBJECTS.set = {
  ask = function(_, random)
    return ({ "add", "remove", "contains", "contains" })[random(1, 4)], random(1, 40)
  end,
  act = function(world, op)
    if op.f == "contains" then
      local has = world[op.value] or false
      if world.is_faulty then
        world.is_faulty = false
        return not has
      end
      return has
    end
    world[op.value] = op.f == "add"
  end,
}

OBJECTS.queue = {
  ask = function(world, random)
    world.count = (world.count or 0) + 1
    local is_enqueue = random(1, 20) > 9 + (#world.written - (world.taken or 0)) // 10
    return is_enqueue and "enqueue" or "dequeue", is_enqueue and world.count or nil
  end,
  act = function(world, op)
    local is_faulty, taken = world.is_faulty, world.taken or 0
    if op.f == "enqueue" then
      if is_faulty and world.fault == "lost" then
        world.is_faulty = false
      else
        table.insert(world.written, op.value)
      end
      return
    end
    local first = world.written[taken + 1]
    if is_faulty and first and world.fault == "twice" then
      world.is_faulty = false
    elseif first then
      world.taken = taken + 1
    end
    return first
  end,
}

--- Makes one: register, kv, set or queue; the fault is "stale", "never", "wrong", "lost" or "twice".
---@param model string
---@param fault string
---@param size integer
---@param clients integer
---@return table[] events
function M.make(model, fault, size, clients)
  local random = histories.generator(size + clients)
  local object = model == "register" and OBJECTS.register { "read", "write" }
    or model == "kv" and OBJECTS.register { "get", "put" } or OBJECTS[model]
  local world, events, open, count, running = { fault = fault, written = {} }, {}, {}, 0, 0
  while count < size or running > 0 do
    local client = random(1, clients)
    local op = open[client]
    if not op and count < size then
      local f, value = object.ask(world, random)
      op = { f = f, value = value }
      open[client], count, running = op, count + 1, running + 1
      events[#events + 1] = { process = client, type = "invoke", f = f, value = value }
      if count == size * 9 // 10 then
        world.is_faulty = true
      end
    elseif op and not op.is_done then
      op.result, op.is_done = object.act(world, op), true
    elseif op and random(1, 2) == 1 then
      local value = op.value
      if READS[op.f] then
        value = op.result
      end
      events[#events + 1] = { process = client, type = "ok", f = op.f, value = value }
      open[client], running = nil, running - 1
    end
  end
  assert(not world.is_faulty, "no fault was made")
  return events
end

return M
