-- A leaderboard: the best score of every player, and the players in order. The list is kept sorted, so that a
-- query for the top or for a rank is a look and not a sort; ties are by who was there first.
--
--   perilune machine check examples/machines/leaderboard.lua

-- Where a score belongs: behind all that are as good.
local function place_of(list, score)
  local low, high = 1, #list + 1
  while low < high do
    local middle = (low + high) // 2
    if list[middle].score >= score then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function rank_of(state, player)
  for rank, entry in ipairs(state.list) do
    if entry.player == player then
      return rank
    end
  end
end

return {
  init = function() return { best = {}, list = {} } end,

  apply = function(state, command)
    local player = type(command) == "table" and command.player
    local score = type(command) == "table" and math.tointeger(command.score)
    if type(player) ~= "string" or not score then
      error("a command has a player and a whole number for a score", 0)
    end
    local before = state.best[player]
    if before and before >= score then
      return { rank = rank_of(state, player), best = before }
    end
    if before then
      table.remove(state.list, rank_of(state, player))
    end
    local rank = place_of(state.list, score)
    table.insert(state.list, rank, { player = player, score = score })
    state.best[player] = score
    return { rank = rank, best = score }
  end,

  -- { top = n }: the first n; { player = name }: one.
  query = function(state, query)
    if query.player then
      return { rank = rank_of(state, query.player), best = state.best[query.player] }
    end
    return table.move(state.list, 1, math.min(query.top, #state.list), 1, {})
  end,

  samples = {
    { player = "ann", score = 10 }, { player = "bob", score = 30 }, { player = "cleo", score = 20 },
    { player = "ann", score = 40 },
  },
}
