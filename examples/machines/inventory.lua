-- An inventory: orders reserve several articles at once or none, and reservations that nobody confirms end
-- after a while. An order that lacks one article raises in the middle of its work, which is then undone.
--
--   perilune machine check examples/machines/inventory.lua
local HOLD = 60 -- seconds

local function give_back(state, order)
  for article, count in pairs(order.articles) do
    state.stock[article] = (state.stock[article] or 0) + count
  end
end

local function end_late(state, now)
  for id, order in pairs(state.orders) do
    if order.until_time <= now then
      give_back(state, order)
      state.orders[id] = nil
    end
  end
end

local function order_of(state, command)
  return state.orders[command.order] or error("there is no such order, or it has ended", 0)
end

local commands = {
  receive = function(state, command)
    local count = math.tointeger(command.count) or 0
    if type(command.article) ~= "string" or count < 1 then
      error("what is received has an article and a count", 0)
    end
    state.stock[command.article] = (state.stock[command.article] or 0) + count
    return state.stock[command.article]
  end,

  reserve = function(state, command, ctx)
    for article, count in pairs(command.articles) do
      local left = (state.stock[article] or 0) - count
      if count < 1 or left < 0 then
        error(("of %s there are not %s"):format(article, count), 0)
      end
      state.stock[article] = left
    end
    state.orders[ctx.index] = { articles = command.articles, until_time = ctx.now + HOLD }
    return ctx.index
  end,

  confirm = function(state, command)
    order_of(state, command)
    state.orders[command.order] = nil
    return true
  end,

  cancel = function(state, command)
    give_back(state, order_of(state, command))
    state.orders[command.order] = nil
    return true
  end,
}

return {
  init = function() return { stock = {}, orders = {} } end,

  apply = function(state, command, ctx)
    local run = type(command) == "table" and commands[command.op] or error("no such command", 0)
    end_late(state, ctx.now)
    return run(state, command, ctx)
  end,

  query = function(state) return state end,

  samples = {
    { op = "receive", article = "nut", count = 9 }, { op = "receive", article = "bolt", count = 3 },
    { op = "reserve", articles = { nut = 2, bolt = 1 } }, { op = "confirm", order = 3 },
    { op = "cancel", order = 4 },
  },
}
