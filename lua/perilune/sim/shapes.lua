--- Shapes of partitions: which nodes cannot reach which. Pure.
local M = {}

local function cut_groups(cuts, left, right)
  for _, a in ipairs(left) do
    for _, b in ipairs(right) do
      cuts[#cuts + 1] = { a, b }
      cuts[#cuts + 1] = { b, a }
    end
  end
end

--- Cuts between all of some groups. Nodes in no group keep their links.
---@param groups string[][]
---@return string[][] cuts  pairs { from, to }
function M.groups(groups)
  local cuts = {}
  for i = 1, #groups do
    for j = i + 1, #groups do
      cut_groups(cuts, groups[i], groups[j])
    end
  end
  return cuts
end

local function slice(names, from, to)
  return table.move(names, from, to, 1, {})
end

-- By name. Each takes the nodes in an order that the caller has drawn.
M.named = {
  --- Two halves; with an odd number the second is larger.
  halves = function(names)
    local middle = #names // 2
    return M.groups { slice(names, 1, middle), slice(names, middle + 1, #names) }
  end,

  --- One node against all others.
  isolated = function(names)
    return M.groups { slice(names, 1, 1), slice(names, 2, #names) }
  end,

  --- Fewer than a third of the nodes, and at least one, against the rest.
  minority_third = function(names)
    local count = math.max(1, (#names - 1) // 3)
    return M.groups { slice(names, 1, count), slice(names, count + 1, #names) }
  end,

  --- Two halves that see one node in common, which sees both.
  bridge = function(names)
    local middle = #names // 2 + 1
    return M.groups { slice(names, 1, middle - 1), slice(names, middle + 1, #names) }
  end,

  --- Each node sees the majority centred on it in a ring, and no two see the same one.
  ring = function(names)
    local cuts, reach = {}, (#names // 2 + 1) // 2 -- on each side
    for i = 1, #names do
      for j = 1, #names do
        local apart = math.abs(i - j)
        if math.min(apart, #names - apart) > reach then
          cuts[#cuts + 1] = { names[i], names[j] }
        end
      end
    end
    return cuts
  end,
}

return M
