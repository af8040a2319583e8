--- Finds the word that a person probably meant.
local M = {}

--- Counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
---@param a string
---@param b string
---@return integer
function M.distance(a, b)
  local before, previous = {}, {}
  for j = 0, #b do
    previous[j] = j
  end
  for i = 1, #a do
    local current = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      current[j] = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        current[j] = math.min(current[j], before[j - 2] + 1)
      end
    end
    before, previous = previous, current
  end
  return previous[#b]
end

--- Names the candidate nearest to word, or one that word begins, unless all are too far away to be what
--- was meant.
---@param word string
---@param candidates string[]
---@return string|nil
function M.nearest(word, candidates)
  local best, best_distance
  for _, candidate in ipairs(candidates) do
    local is_begun = #word >= 3 and candidate:sub(1, #word) == word
    local distance = is_begun and 0 or M.distance(word:lower(), candidate:lower())
    local is_nearer = not best or distance < best_distance
      or (distance == best_distance and candidate < best)
    if is_nearer then
      best, best_distance = candidate, distance
    end
  end
  return best and best_distance <= math.max(1, #word // 3) and best or nil
end

--- Says what was probably meant, or all that there is: "did you mean loss?", "there are a, b".
---@param word string
---@param candidates string[]
---@return string
function M.hint(word, candidates)
  local near = M.nearest(word, candidates)
  return near and ("did you mean %s?"):format(near) or "there are " .. table.concat(candidates, ", ")
end

return M
