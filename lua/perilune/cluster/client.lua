--- Asks the nodes of a cluster how it stands, and its leader for changes.
local fiber = require "perilune.fiber"
local rpc = require "perilune.rpc"

local M = {}

local ANSWER = 1 -- seconds that a node has for its answer
local PAUSE = 0.05

-- What may be over soon: another leads by then, or a change before this one has ended.
local PASSING = { ENOTLEADER = true, EUNREACHABLE = true, EBUSY = true }

---@class perilune.cluster.Answer
---@field address string
---@field status? table  as Node:status
---@field err? string  why there is none
---@field code? string

--- Asks all addresses at once: an answer for each, in their order. Whoever is known to be gone need not be
--- asked.
---@param addresses string[]
---@param deadline? number  seconds; default 1
---@return perilune.cluster.Answer[]
function M.ask(addresses, deadline)
  local peers = {}
  for i, address in ipairs(addresses) do
    peers[i] = rpc.connect(address, { deadline = deadline or ANSWER })
  end
  local answers = {}
  for i, outcome in ipairs(rpc.multicall(peers, "cluster.status")) do
    answers[i] = { address = addresses[i], status = outcome.ok and outcome[1] or nil, err = outcome.err,
      code = outcome.code }
    peers[i]:close()
  end
  return answers
end

--- A node's address, and those of the other members that it names: what a client of the whole cluster needs.
--- Where no node of a cluster answers, just the address.
---@param address string
---@param deadline? number
---@return string[] addresses
function M.known(address, deadline)
  local list, others = { address }, {}
  local status = M.ask(list, deadline)[1].status
  for id, member in pairs(status and status.group.members or {}) do
    if id ~= status.id then
      others[#others + 1] = member.address
    end
  end
  table.sort(others)
  return table.move(others, 1, #others, 2, list)
end

--- As ask, and then those that the answers name as well.
---@param addresses string[]
---@param deadline? number
---@return perilune.cluster.Answer[]
function M.ask_all(addresses, deadline)
  local answers, seen, more = M.ask(addresses, deadline), {}, {}
  for _, answer in ipairs(answers) do
    seen[answer.address] = true
    if answer.status then
      seen[answer.status.address] = true
    end
  end
  for _, answer in ipairs(answers) do
    for _, member in pairs(answer.status and answer.status.group.members or {}) do
      if member.address and not seen[member.address] then
        seen[member.address] = true
        more[#more + 1] = member.address
      end
    end
  end
  table.sort(more)
  return table.move(M.ask(more, deadline), 1, #more, #answers + 1, answers)
end

--- The status of the node that leads, as the answers have it: of several that say so, that of the newest
--- term.
---@param answers perilune.cluster.Answer[]
---@return table|nil status
function M.leader_of(answers)
  local leader
  for _, answer in ipairs(answers) do
    local group = answer.status and answer.status.group
    if group and group.role == "leader" and (not leader or group.term > leader.group.term) then
      leader = answer.status
    end
  end
  return leader
end

-- Why nobody leads: what one of them says, else why none answered.
local function no_leader(answers)
  for _, answer in ipairs(answers) do
    if answer.status then
      return "nobody leads the group: perilune status says who is missing", "ENOTLEADER"
    end
  end
  local first = answers[1]
  return first and ("no node answers; %s"):format(first.err) or "no node runs", "EUNREACHABLE"
end

--- The status of whoever leads, or nil, message, code.
---@param addresses string[]
---@return table|nil status
---@return string? err
---@return string? code  ENOTLEADER, EUNREACHABLE
function M.leader(addresses)
  local answers = M.ask_all(addresses)
  local status = M.leader_of(answers)
  if not status then
    return nil, no_leader(answers)
  end
  return status
end

--- Calls a function of whoever leads, again until the deadline while another leads by then or something else
--- is under way. What the function returns, or nil, message, code.
---@param addresses string[]
---@param deadline number  seconds
---@param name string  "cluster.change"
---@param ... any
---@return any
function M.call_leader(addresses, deadline, name, ...)
  local due = fiber.now() + deadline
  local err, code
  repeat
    local leader
    leader, err, code = M.leader(addresses)
    if leader then
      local peer <close> = rpc.connect(leader.address, { deadline = math.max(due - fiber.now(), PAUSE) })
      local result
      result, err, code = peer:call(name, ...)
      if result ~= nil then
        return result
      elseif not PASSING[code] then
        return nil, err, code
      end
    end
    fiber.sleep(PAUSE)
  until fiber.now() >= due
  return nil, err, code
end

return M
