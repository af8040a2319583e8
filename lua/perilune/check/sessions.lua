--- Session guarantees (Terry et al. 1994), each checked in one walk over the history.
---
--- A session is what one client does. A read names the write that it saw by its value, so values are written
--- once for each key; reads of values that were written twice are not judged. A write is older than another
--- when it ended before the other began; of writes at the same time none is older.
---   read your writes: a read does not give something older than what its session wrote before
---   monotonic reads: nor older than what it has read
---   monotonic writes: who has seen a write sees nothing older than the writes of its session before it
---   writes follow reads: nor older than what its session had read last before it
local identity = require("perilune.check.describe").identity

local M = {}

local READS = { read = true, get = true }
local WRITES = { write = true, put = true }
local NOTHING = {} -- what a key holds before any write: older than all

---@class perilune.check.SessionViolation
---@field guarantee string  "read your writes", "monotonic reads", "monotonic writes", "writes follow reads"
---@field first table       the operation that promised
---@field second table      the read that breaks the promise
---@field sentence string

local function cell(map, key)
  local found = map[key]
  if not found then
    found = {}
    map[key] = found
  end
  return found
end

-- The reads that gave something, and the writes that may have happened. Keys and clients may be lists, so
-- `object` and `session` stand for them.
local function events(history)
  local reads, writes = {}, {}
  for index = 1, (history:counts()) do
    local op = history:operation(index)
    op.object, op.session = identity(op.key), identity(op.process)
    if WRITES[op.f] and op.outcome ~= "fail" then
      writes[#writes + 1] = op
    elseif READS[op.f] and op.outcome == "ok" then
      reads[#reads + 1] = op
    elseif not READS[op.f] and not WRITES[op.f] and op.outcome ~= "fail" then
      return nil, ("line %d: sessions are checked of reads and writes, not of %s"):format(op.call_line,
        tostring(op.f)), "EFORMAT"
    end
  end
  return reads, writes
end

-- Finds writes by key and value.
local function index_writes(writes)
  local by_value, repeated = {}, 0
  for _, op in ipairs(writes) do
    local values = cell(by_value, op.object)
    local value = identity(op.value)
    if values[value] ~= nil then
      repeated = repeated + 1
    end
    values[value] = values[value] == nil and op or false
  end
  return by_value, repeated
end

-- True when what a read saw (a write, or NOTHING) is older than a write.
local function is_older(seen, write)
  if seen == NOTHING then
    return write ~= NOTHING
  end
  return write ~= NOTHING and seen.finish ~= nil and seen.finish < write.call
end

local WHY = {
  ["read your writes"] = "although it had itself written %s",
  ["monotonic reads"] = "although it had already read %s",
  ["monotonic writes"] = "although it had seen a later write of the client that wrote %s",
  ["writes follow reads"] = "although it had seen a write that followed a read of %s",
}

local function violation(guarantee, promise, read)
  local describe = require "perilune.check.describe"
  local first = promise.by
  return {
    guarantee = guarantee, first = first, second = read,
    sentence = ("%s: %s %s%s %s %s %s"):format(guarantee, describe.process(read.process), describe.did(read),
      read.key ~= nil and (" (key %s)"):format(describe.value(read.key)) or "", describe.when(read),
      WHY[guarantee]:format(describe.value(promise.write.value)), describe.when(first)),
  }
end

-- A session knows, for each key, the newest write that it must see; `by` is the operation that says so.
local function promise(session, guarantee, object, write, by)
  if write == NOTHING then
    return
  end
  local known = cell(session.promises, object)
  local old = known[guarantee]
  if not old or is_older(old.write, write) then
    known[guarantee] = { write = write, by = by }
  end
end

local GUARANTEES = { "read your writes", "monotonic reads", "monotonic writes", "writes follow reads" }

local function judge_read(session, read, seen, found)
  local known = cell(session.promises, read.object)
  for _, guarantee in ipairs(GUARANTEES) do
    local promised = known[guarantee]
    if promised and is_older(seen, promised.write) then
      found[#found + 1] = violation(guarantee, promised, read)
    end
  end
end

-- What a session learns by reading a write: it must see that, and what stood behind the write.
local function learn(session, read, seen)
  if seen == NOTHING then
    return
  end
  promise(session, "monotonic reads", read.object, seen, read)
  if seen.after_write then
    promise(session, "monotonic writes", seen.after_write.object, seen.after_write, read)
  end
  if seen.after_read and seen.after_read ~= NOTHING then
    promise(session, "writes follow reads", seen.after_read.object, seen.after_read, read)
  end
end

-- Walks one session, in the order of its calls. First notes what each write followed.
local function note_dependencies(session)
  local last_write, last_seen
  for _, op in ipairs(session.operations) do
    if WRITES[op.f] then
      op.after_write, op.after_read = last_write, last_seen
      last_write = op.outcome == "ok" and op or last_write
    else
      last_seen = op.saw or last_seen
    end
  end
end

local function walk(session, found)
  for _, op in ipairs(session.operations) do
    if WRITES[op.f] then
      if op.outcome == "ok" then
        promise(session, "read your writes", op.object, op, op)
      end
    elseif op.saw then
      judge_read(session, op, op.saw, found)
      learn(session, op, op.saw)
    end
  end
end

local function resolve(reads, by_value)
  local unwritten, skipped = {}, 0
  for _, read in ipairs(reads) do
    local write = cell(by_value, read.object)[identity(read.result)]
    if write then
      read.saw = write
    elseif write == nil and (read.result == nil or read.result == "") then
      read.saw = NOTHING
    elseif write == nil then
      unwritten[#unwritten + 1] = read
    else
      skipped = skipped + 1
    end
  end
  return unwritten, skipped
end

local function sessions_of(reads, writes)
  local sessions, by_process, all = {}, {}, table.move(writes, 1, #writes, #reads + 1, reads)
  table.sort(all, function(a, b)
    return a.index < b.index
  end)
  for _, op in ipairs(all) do
    local session = by_process[op.session]
    if not session then
      session = { operations = {}, promises = {} }
      by_process[op.session] = session
      sessions[#sessions + 1] = session
    end
    table.insert(session.operations, op)
  end
  return sessions
end

--- Checks the four guarantees over the reads and writes (get and put) of a history.
---@param history userdata
---@return table|nil result  { ok, violations, operations, skipped = reads whose value was written twice }
---@return string|nil err
---@return string|nil code
function M.check(history)
  local reads, writes, code = events(history)
  if not reads then
    return nil, writes, code
  end
  local describe = require "perilune.check.describe"
  local found = {}
  local by_value = index_writes(writes)
  local unwritten, skipped = resolve(reads, by_value)
  for _, read in ipairs(unwritten) do
    found[#found + 1] = {
      guarantee = "no value out of thin air", second = read,
      sentence = ("no value out of thin air: %s %s %s, which nobody had written"):format(
        describe.process(read.process), describe.did(read), describe.when(read)),
    }
  end
  local sessions = sessions_of(reads, writes)
  for _, session in ipairs(sessions) do
    note_dependencies(session)
  end
  for _, session in ipairs(sessions) do
    walk(session, found)
  end
  table.sort(found, function(a, b)
    if a.second.index ~= b.second.index then
      return a.second.index < b.second.index
    end
    return a.guarantee < b.guarantee
  end)
  return {
    ok = #found == 0, violations = found, operations = (history:counts()), skipped = skipped,
    sessions = #sessions,
  }
end

return M
