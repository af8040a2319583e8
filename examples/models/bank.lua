-- A model for perilune check: accounts, between which money is moved.
--
--   perilune check --model examples/models/bank.lua examples/data/bank.jsonl
--
-- The object is the whole bank: a transfer touches two accounts, so no account can be judged alone. A state
-- is a table of balances. step says whether an operation fits a state, and gives the state after it; it must
-- not change the one it was given.

local function copy(balances)
  local result = {}
  for account, balance in pairs(balances) do
    result[account] = balance
  end
  return result
end

local function same(balances, seen)
  for account, balance in pairs(balances) do
    if seen[account] ~= balance then
      return false
    end
  end
  return true
end

local M = { name = "bank", init = { a = 10, b = 10, c = 10 }, pure = { "read" } }

function M.step(balances, op)
  if op.f == "read" then
    return same(balances, op.result), balances
  end
  local from, to, amount = op.value.from, op.value.to, op.value.amount
  if balances[from] < amount then
    return op.is_unknown, balances -- it was refused, and that answer got lost
  end
  local after = copy(balances)
  after[from], after[to] = after[from] - amount, after[to] + amount
  return true, after
end

return M
