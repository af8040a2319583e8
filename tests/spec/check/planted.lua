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

OBJECTS.counter = {
  ask = function(_, random)
    local is_add = random(1, 2) == 1
    return is_add and "add" or "read", is_add and random(-1, 3) * 2 or nil
  end,
  act = function(world, op)
    local sums = world.written
    local sum = sums[#sums] or 0
    if op.f == "add" then
      table.insert(sums, sum + op.value)
      return
    elseif not world.is_faulty then
      return sum
    end
    world.is_faulty = false
    return ({ stale = sums[#sums - 60], never = sum + 1000, odd = sum + 1 })[world.fault]
  end,
}

-- Lists and strings that grow: of strings the pieces end with a semicolon, and a put starts anew.
local function growing(append, read, piece_of, whole_of)
  return {
    ask = function(world, random)
      world.count = (world.count or 0) + 1
      if random(1, 8) == 1 then
        return read
      elseif read == "get" and random(1, 200) == 1 then
        return "put", piece_of(world.count)
      end
      return append, piece_of(world.count)
    end,
    act = function(world, op)
      local list, is_faulty = world.written, world.is_faulty and #world.written > 12
      if op.f == "put" then
        world.written = { op.value }
      elseif op.f == append and is_faulty and world.fault == "lost" then
        world.is_faulty = false
      elseif op.f == append and is_faulty and world.fault == "twice" then
        world.is_faulty = false
        table.move({ op.value, op.value }, 1, 2, #list + 1, list)
      elseif op.f == append then
        list[#list + 1] = op.value
      elseif is_faulty and world.fault == "stale" then
        world.is_faulty = false
        return whole_of(table.move(list, 1, #list - 12, 1, {}))
      elseif is_faulty and world.fault == "order" then
        world.is_faulty = false
        local other = table.move(list, 1, #list, 1, {})
        other[#list - 9], other[#list - 11] = other[#list - 11], other[#list - 9]
        return whole_of(other)
      else
        return whole_of(table.move(list, 1, #list, 1, {}))
      end
    end,
  }
end

OBJECTS.append = growing("append", "read", function(number)
  return number
end, function(list)
  return list
end)
OBJECTS.string = growing("append", "get", function(number)
  return number .. ";"
end, table.concat)

-- A client waits with acquire until the lock is free; a fault gives it away while its holder sleeps.
OBJECTS.lock = {
  ask = function(world, _, client)
    local holds = world.holds or {}
    world.holds = holds
    return holds[client] and "release" or "acquire"
  end,
  act = function(world, op, client)
    if op.f == "release" then
      world.holder, world.holds[client] = world.holder ~= client and world.holder or nil, nil
      return
    end
    local token = (world.token or 0) + 1
    local is_two = world.fault == "two" and world.is_faulty and world.holder and not world.open[world.holder]
    if world.holder and not is_two then
      return nil, true
    elseif is_two then
      world.is_faulty, world.sleeper = false, world.holder
    elseif world.is_faulty and world.fault == "token" then
      world.is_faulty, token = false, token - 20
    end
    world.holder, world.holds[client], world.token = client, true, math.max(token, world.token or 0)
    return token
  end,
}

local APPENDED = { ["appended stale"] = "stale", ["appended lost"] = "lost", ["appended twice"] = "twice",
  ["appended order"] = "order" }

--- Makes one: register, kv, set, queue, counter, append or lock; the fault is "stale", "never", "odd",
--- "wrong", "lost", "twice", "order", "two" or "token"; "appended stale" and so on for strings that grow.
---@param model string
---@param fault string
---@param size integer
---@param clients integer
---@return table[] events
function M.make(model, fault, size, clients)
  local random = histories.generator(size + clients)
  local object = model == "kv" and APPENDED[fault] and OBJECTS.string
    or model == "register" and OBJECTS.register { "read", "write" }
    or model == "kv" and OBJECTS.register { "get", "put" } or OBJECTS[model]
  local events, open, count, running = {}, {}, 0, 0
  local world = { fault = APPENDED[fault] or fault, written = {}, open = open }
  while count < size or running > 0 and model ~= "lock" do -- who waits for a lock may wait for ever
    local client = random(1, clients)
    local op = open[client]
    local is_asleep = client == world.sleeper -- for ever
    if not op and not is_asleep and count < size then
      local f, value = object.ask(world, random, client)
      op = { f = f, value = value }
      open[client], count, running = op, count + 1, running + 1
      events[#events + 1] = { process = client, type = "invoke", f = f, value = value }
      if count == size * 9 // 10 then
        world.is_faulty = true
      end
    elseif op and not op.is_done then
      local is_waiting
      op.result, is_waiting = object.act(world, op, client)
      op.is_done = not is_waiting
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
