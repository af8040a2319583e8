local M = {}

function M.twice(n)
  return 2 * n
end

return M
