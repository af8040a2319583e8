-- Mailboxes on disk: ctx.store has a key for each message, so there may be more of them than memory has room
-- for. Who reads has the newest first, who takes them has the oldest.
--
--   perilune machine check examples/machines/mailboxes.lua

-- How many messages there were and are.
local function head_of(store, box)
  return store:get("head/" .. box) or { last = 0, count = 0 }
end

local function message_key(box, number)
  return ("mail/%s/%012d"):format(box, number)
end

local function post(store, box, command, now)
  if type(command.text) ~= "string" then
    error("a message has a text", 0)
  end
  local head = head_of(store, box)
  head.last, head.count = head.last + 1, head.count + 1
  store:put(message_key(box, head.last), { from = command.from, text = command.text, time = now })
  store:put("head/" .. box, head)
  return head.last
end

local function take(store, box, limit)
  local head, taken = head_of(store, box), {}
  for key, message in store:range { prefix = "mail/" .. box .. "/", limit = math.max(0, limit) } do
    taken[#taken + 1] = message
    store:delete(key)
  end
  head.count = head.count - #taken
  store:put("head/" .. box, head)
  return taken
end

-- What is in the boxes is what their heads say.
local function holds(store)
  local counts = {}
  for key, head in store:range { prefix = "head/" } do
    counts[key:sub(6)] = head.count
  end
  for key in store:range { prefix = "mail/" } do
    local box = key:match "^mail/(.*)/%d+$"
    counts[box] = counts[box] - 1
  end
  for box, count in pairs(counts) do
    counts[box] = count ~= 0 and count or nil
  end
  return next(counts) == nil
end

return {
  store = true,

  apply = function(_, command, ctx)
    local box = type(command) == "table" and (command.post or command.take)
    if type(box) ~= "string" or box == "" or box:find "/" then
      error("a command is { post = box, text, from } or { take = box, limit }", 0)
    end
    return command.post and post(ctx.store, box, command, ctx.now)
      or take(ctx.store, box, math.tointeger(command.limit) or 10)
  end,

  -- { box, limit }: its newest messages.
  query = function(_, query, ctx)
    if not query then
      return { holds = holds(ctx.store) }
    end
    local found, prefix = {}, "mail/" .. query.box .. "/"
    for _, message in ctx.store:range { prefix = prefix, reverse = true, limit = query.limit or 10 } do
      found[#found + 1] = message
    end
    return found
  end,

  samples = { { post = "ann", text = "hello", from = "bob" }, { take = "ann", limit = 2 } },
}
