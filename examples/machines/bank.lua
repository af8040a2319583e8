-- A bank: accounts, transfers, and an invariant. Money comes from deposits only, and no account
-- goes below zero. A transfer just does its work and checks the invariant at the end: what fails is undone.
--
--   perilune machine check examples/machines/bank.lua
local function account(state, name)
  local balance = state.accounts[name]
  if not balance then
    error(("there is no account %s"):format(name), 0)
  end
  return balance
end

local function amount_of(command)
  local amount = math.tointeger(command.amount)
  if not amount or amount <= 0 then
    error("an amount is a whole number above 0", 0)
  end
  return amount
end

local commands = {
  open = function(state, command)
    if type(command.account) ~= "string" then
      error("an account has a name", 0)
    end
    state.accounts[command.account] = state.accounts[command.account] or 0
    return true
  end,

  deposit = function(state, command)
    local amount = amount_of(command)
    state.accounts[command.account] = account(state, command.account) + amount
    state.total = state.total + amount
    return state.accounts[command.account]
  end,

  transfer = function(state, command)
    local amount = amount_of(command)
    state.accounts[command.from] = account(state, command.from) - amount
    state.accounts[command.to] = account(state, command.to) + amount
    if state.accounts[command.from] < 0 then
      error(("account %s has not that much"):format(command.from), 0)
    end
    return true
  end,
}

return {
  init = function() return { accounts = {}, total = 0 } end,

  apply = function(state, command)
    local run = type(command) == "table" and commands[command.op]
    if not run then
      error("no such command", 0)
    end
    return run(state, command)
  end,

  -- A name: its balance. Without: all of them, and whether their sum is what was deposited.
  query = function(state, name)
    if name then
      return state.accounts[name]
    end
    local sum = 0
    for _, balance in pairs(state.accounts) do
      sum = sum + balance
    end
    return { accounts = state.accounts, total = state.total, holds = sum == state.total }
  end,

  samples = {
    { op = "open", account = "ann" }, { op = "open", account = "bob" },
    { op = "deposit", account = "ann", amount = 100 },
    { op = "transfer", from = "ann", to = "bob", amount = 30 },
    { op = "transfer", from = "bob", to = "ann", amount = 20 },
  },
}
