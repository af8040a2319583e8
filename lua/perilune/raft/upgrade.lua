--- An upgrade of a machine in a file, in two entries of the log:
---
---   prepare   every replica loads the new file, runs its migrate and undoes all that, but keeps its hash. No
---             command runs until the decision, so that the state stays the one with which it was tried
---   decide    the leader has compared the hashes of all voters that answer it. They are equal, and migrate
---             runs for good; or they are not, and all replicas forget the upgrade at this entry
---
--- A voter that does not answer the leader is not waited for, as long as those who do are a majority. It
--- applies both entries when it comes back; if it comes to something else it differs from the others and is
--- rebuilt from them. When the leader is lost in between, nobody decides: the upgrade lapses with the first
--- entry that is later than the deadline, by the time of the log, and until then commands end with EBUSY.
local entry = require "perilune.machine.entry"
local fiber = require "perilune.fiber"

local M = {}

local PAUSE = 0.02

-- Whether the voters that answer have the leader's hash at index: true, or nil while that is not known; or
-- false, and why not.
local function agreement(status, index)
  local voters, equal, waits = 0, 0, nil
  for id, member in pairs(status.members) do
    local is_voter = member.is == "voter" or member.is == "incoming"
    voters = voters + (is_voter and 1 or 0)
    if is_voter and id ~= status.id then
      if member.differs_index and member.differs_index >= (member.equal_index or 0) then
        return false, ("node %d came to another state"):format(id)
      elseif (member.equal_index or 0) >= index then
        equal = equal + 1
      elseif member.answers then
        waits = id
      end
    elseif is_voter then
      equal = equal + 1
    end
  end
  return not waits and equal * 2 > voters or nil, waits
end

-- Waits for that. nil, message, code when it cannot be.
local function await(group, index, due)
  local who
  repeat
    local status, err, code = group:status()
    if not status then
      return nil, err, code
    elseif status.role ~= "leader" then
      return nil, "another node leads by now: the upgrade lapses", "ENOTLEADER"
    elseif status.diverged then
      return false, "this node came to another state"
    end
    local is_equal, why = agreement(status, index)
    if is_equal ~= nil then
      return is_equal, why
    end
    who = why
    group:compare()
    fiber.sleep(PAUSE)
  until fiber.now() > due
  return false, who and ("node %d answers, but did not say in time to which state it came"):format(who)
    or "no majority said in time to which state it came"
end

--- Upgrades the group, on its leader.
---@param group perilune.raft.Group
---@param propose fun(kind: integer, body: string, seconds: number): any, string?, string?, table?
---@param program perilune.machine.Program
---@param deadline number  seconds
---@return integer|nil version
---@return string? err
---@return string? code
---@return perilune.raft.Details? details
function M.run(group, propose, program, deadline)
  local due = fiber.now() + deadline
  local prepared, err, code, details = propose(entry.PREPARE, entry.program(program, deadline), deadline)
  if not prepared then
    return nil, err, code, details
  end
  local index = prepared[2]
  local is_equal, why, failure = await(group, index, due - deadline / 3)
  if is_equal == nil then
    return nil, why, failure
  end
  local version
  version, err, code, details = propose(entry.DECIDE, entry.decision(index, is_equal),
    math.max(due - fiber.now(), 0.001))
  if is_equal or err then
    return version, err, code, details
  end
  return nil, ("the upgrade did not happen: %s"):format(why), "EDIVERGED"
end

return M
