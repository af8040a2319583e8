--- Runs a seed twice, in processes that have nothing in common, and finds the first event that differs.
local M = {}

local DIGITS = 16 -- of a checkpoint's hash
local CHECKPOINT_EVENTS = 1000

-- The first checkpoint that differs, or the one behind the last that both have.
local function first_checkpoint(a, b)
  local low, high = 1, math.min(#a, #b) // DIGITS + 1
  while low < high do -- the hash rolls: once different, it stays different
    local middle = (low + high) // 2
    local at = middle * DIGITS
    if a:sub(at - DIGITS + 1, at) == b:sub(at - DIGITS + 1, at) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local function lines_of(text)
  local lines = {}
  for line in (text or ""):gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return lines
end

-- A line without its mark and its hash: what it says for people.
local function readable(line)
  return line and (line:gsub("^.", ""):gsub(" #%x+$", "")) or "(nothing: the run has ended)"
end

-- A note's line tells of what has just happened. An event's is written before the event runs, so when its
-- hash alone differs, the event before did something else.
local function first_difference(a, b)
  for at = 1, math.max(#a, #b) do
    if a[at] ~= b[at] then
      local is_event = a[at] and b[at] and a[at]:sub(1, 1) == "e"
      local is_before = is_event and at > 1 and readable(a[at]) == readable(b[at])
      local shown = is_before and at - 1 or at
      return { readable(a[shown]), readable(b[shown]), is_before = is_before }
    end
  end
end

local function summary(result)
  if result.error then
    return result.error
  end
  return result.ok and "passed" or ("%s: %s"):format(result.failure.kind, result.failure.message or "")
end

-- The events around the first checkpoint that differs.
local function window_of(a, b)
  local checkpoint = first_checkpoint(a.checkpoints or "", b.checkpoints or "")
  return math.max(1, (checkpoint - 1) * CHECKPOINT_EVENTS - 1), checkpoint * CHECKPOINT_EVENTS + 1
end

local ATTEMPTS = 20

-- Runs the seed again, with a trace of where it differed, until it differs there again: what leaks into a
-- run need not be different every time.
local function trace_difference(here, elsewhere, seed, a, b)
  for _ = 1, ATTEMPTS do
    local from, to = window_of(a, b)
    local request = { seed = seed, echo = false, checkpoints = true, trace_from = from, trace_to = to }
    local traced_a, traced_b = here:run(request), elsewhere:run(request)
    local difference = first_difference(lines_of(traced_a.trace), lines_of(traced_b.trace))
    if difference then
      return difference
    elseif traced_a.hash ~= traced_b.hash then
      a, b = traced_a, traced_b
    end
  end
end

--- Compares two runs of a seed.
---@param here perilune.sim.Worker
---@param elsewhere perilune.sim.Worker
---@param seed integer
---@return table result  of the run here; failure.kind is "difference" when the other one differs
function M.run(here, elsewhere, seed)
  local a = here:run { seed = seed, checkpoints = true }
  local b = elsewhere:run { seed = seed, checkpoints = true, echo = false }
  if a.error or a.hash == b.hash and summary(a) == summary(b) then
    a.checkpoints = nil
    return a
  end
  local difference = trace_difference(here, elsewhere, seed, a, b)
  local message
  if difference then
    message = ("two runs of this seed differ. The first event that %s:\n  here:      %s\n  elsewhere: %s")
      :format(difference.is_before and "did something else" or "differs", difference[1], difference[2])
  else
    message = ("two runs of this seed differ, behind event %d, and did not when they were traced:%s%s")
      :format((window_of(a, b)), "\n  " .. summary(a), "\n  " .. summary(b))
  end
  a.checkpoints, a.ok, a.failure = nil, false, { kind = "difference", message = message }
  return a
end

return M
