-- Those who look on in tests/sim/kv.lua: watchers hear of all changes; the last one says what is there.
local kv = require "perilune.kv"
local lock = require "perilune.lock"
local perilune = require "perilune"

local M = {}

local FROM, TO = "a", "l" -- the range that is watched as well

-- ---- watches ----

-- All keys from one up to another as they are, page by page, and the revision of that.
local function read_all(store, first, to)
  local found, from, revision = {}, first or "", nil
  repeat
    local items, next_key, at = store:range { from = from, to = to, revision = revision, limit = 7 }
    assert(items or at == "ECOMPACTED" or at == "EDEADLINE", next_key)
    if not items then -- begins again
      found, from, revision = {}, first or "", nil
      perilune.sleep(0.1)
    else
      for _, item in ipairs(items) do
        found[item.key] = item
      end
      from, revision = next_key, revision or at
    end
  until not from
  return found, revision
end

local function lines_of(found)
  local lines = {}
  for key, item in pairs(found) do
    lines[#lines + 1] = ("%s=%s@%d.%d"):format(key, item.value, item.revision, item.version)
  end
  table.sort(lines)
  return lines
end

--- Of such lines, those of the keys that the second watch is about.
---@param lines string[]
function M.within(lines)
  local some = {}
  for _, line in ipairs(lines) do
    some[#some + 1] = line >= FROM and line < TO and line or nil
  end
  return some
end

-- Every revision is heard of, in order, and every change of a key says that it is the next one.
local function follow(found, last, event, is_of_all)
  local old = found[event.key]
  assert(event.revision == last or event.revision == last + 1 or not is_of_all and event.revision > last,
    "a watch left out a revision")
  if event.type == "delete" then
    assert(old, "a watch left out that a key was made")
    found[event.key] = nil
  else
    assert(event.version == (old and old.version or 0) + 1, "a watch left out a change")
    found[event.key] = event
  end
  return event.revision
end

-- Hears of all changes up to the one of the key "end", and gives what these make of the keys.
local function hear(addresses, options, from, to)
  local given = { deadline = 2, attempt = 0.5, session = options.session }
  local store, found, last = kv.connect(addresses, given), {}, 0
  while true do
    local watch <close> = assert(store:watch { from = from, to = to, revision = last + 1 })
    local event, err, code
    repeat
      event, err, code = watch:recv()
      last = event and follow(found, last, event, not from) or last
    until not event or event.key == "end"
    if not event then
      assert(code == "ECOMPACTED" and options.history > 0, err)
      found, last = read_all(store, from, to)
    end
    if found["end"] then
      return lines_of(found)
    end
  end
end

--- Watches everything, and a range of it: what is there in the end, and what of the range.
function M.watch(_, addresses, options)
  local some = perilune.spawn(hear, addresses, options, FROM, TO)
  return hear(addresses, options), select(2, assert(some:join()))
end

-- ---- the end ----

--- When nothing goes wrong any more: leases end, the queue is emptied, and there is a last write.
function M.finish(_, addresses, options)
  local store = kv.connect(addresses, { deadline = 20, session = options.session })
  local queue, rest = lock.queue(store, "q"), {}
  repeat
    local value = queue:pop { wait = 0 }
    rest[#rest + 1] = value
  until not value
  local limit = perilune.now() + 20
  while assert(store:count { prefix = "lease/" }) + assert(store:count { prefix = "lock/" }) > 0 do
    assert(perilune.now() < limit, "leases do not end")
    perilune.sleep(0.2)
  end
  local balance = store:get "balance"
  assert(store:put("end", "end"))
  return lines_of((read_all(store))), tonumber(balance or 0), rest
end

return M
