-- A queue with a visibility timeout: who receives a message has some seconds to delete it, else the next one
-- gets it. The receipt tells a late delete from one in time. Time is ctx.now, the log's.
--
--   perilune machine check examples/machines/queue.lua
local VISIBILITY = 30

-- Messages whose time is up go back, the oldest first.
local function return_late(state, now)
  local late = {}
  for id, message in pairs(state.taken) do
    if message.until_time <= now then
      late[#late + 1] = id
    end
  end
  for i = #late, 1, -1 do
    local message = state.taken[late[i]]
    state.taken[late[i]] = nil
    table.insert(state.waiting, 1, message)
  end
end

local commands = {
  send = function(state, command)
    state.last_id = state.last_id + 1
    state.waiting[#state.waiting + 1] = { id = state.last_id, body = command.body, tries = 0 }
    return state.last_id
  end,

  receive = function(state, command, ctx)
    return_late(state, ctx.now)
    local message = table.remove(state.waiting, 1)
    if not message then
      return nil
    end
    message.tries, message.receipt = message.tries + 1, ctx.index
    message.until_time = ctx.now + (tonumber(command.visibility) or VISIBILITY)
    state.taken[message.id] = message
    return message
  end,

  delete = function(state, command, ctx)
    return_late(state, ctx.now)
    local message = state.taken[command.id]
    if not message or message.receipt ~= command.receipt then
      error("the message is not yours any more", 0)
    end
    state.taken[command.id] = nil
    return true
  end,
}

return {
  init = function() return { waiting = {}, taken = {}, last_id = 0 } end,

  apply = function(state, command, ctx)
    local run = type(command) == "table" and commands[command.op]
    if not run then
      error("no such command", 0)
    end
    return run(state, command, ctx)
  end,

  query = function(state)
    local taken = 0
    for _ in pairs(state.taken) do
      taken = taken + 1
    end
    return { waiting = #state.waiting, taken = taken, sent = state.last_id }
  end,

  samples = {
    { op = "send", body = "hello" }, { op = "send", body = "world" }, { op = "receive", visibility = 1 },
    { op = "receive" }, { op = "delete", id = 1, receipt = 3 },
  },
}
