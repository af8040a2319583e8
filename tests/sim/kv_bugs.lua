-- Bugs that tests/sim/kv.lua has to find: --arg bug=NAME plants one into the servers. kv_bugs_spec.lua of
-- tests/spec asks for all of them.
local server = require "perilune.kv.server"

local M = {}

local bugs = {}

-- Now and then.
local function chance(share)
  return require("perilune").random() < share
end

-- Reads are answered by whoever is asked, as it is.
function bugs.stale_read(served)
  local query = served.query
  function served:query(_, kind, ...)
    return query(self, "stale", kind, ...)
  end
end

-- A write of a session is carried out as if it had none, so that it happens again when it is sent again.
function bugs.lost_session(served)
  local propose = served.propose
  function served:propose(session, sequence, ...)
    return propose(self, session and 0 * session, 0 * sequence, ...)
  end
end

-- A write happens twice.
function bugs.double_apply(served)
  local propose = served.propose
  function served:propose(session, sequence, kind, ...)
    if kind == "do" and chance(0.05) then
      propose(self, 0, 0, kind, ...)
    end
    return propose(self, session, sequence, kind, ...)
  end
end

-- A watch leaves something out when it has much to say.
function bugs.watch_gap(served)
  local watch = served.watch
  function served:watch(emit, ...)
    return watch(self, function(events, ...)
      if #events > 3 then
        table.remove(events, 2)
      end
      return emit(events, ...)
    end, ...)
  end
end

-- A watch that begins again somewhere else does so one revision too late.
function bugs.watch_late(served)
  local watch = served.watch
  function served:watch(emit, from, to, revision, number)
    return watch(self, emit, from, to, revision + (revision > 1 and 1 or 0), number)
  end
end

-- Fences are not looked at.
function bugs.unfenced_write(served)
  local propose = served.propose
  function served:propose(session, sequence, kind, compares, ...)
    if kind == "do" then
      local kept = {}
      for _, compare in ipairs(compares) do
        kept[#kept + 1] = compare[1] ~= "created" and compare or nil
      end
      compares = kept
    end
    return propose(self, session, sequence, kind, compares, ...)
  end
end

-- Compares of versions are not looked at.
function bugs.unchecked_write(served)
  local propose = served.propose
  function served:propose(session, sequence, kind, compares, ...)
    if kind == "do" and compares[1] and compares[1][1] == "version" and chance(0.2) then
      compares = {}
    end
    return propose(self, session, sequence, kind, compares, ...)
  end
end

-- A transaction does only the first of what it should do.
function bugs.half_transaction(served)
  local propose = served.propose
  function served:propose(session, sequence, kind, compares, operations, ...)
    if kind == "do" and #operations == 2 and chance(0.1) then
      operations = { operations[1], { "get", "x" } }
    end
    return propose(self, session, sequence, kind, compares, operations, ...)
  end
end

-- Each command comes at twice the log time, which goes on from there: leases end too early.
function bugs.fast_clock(served)
  local now_ms = served.now_ms
  function served:now_ms()
    return 2 * now_ms(self)
  end
end

-- What is due is never ended.
function bugs.no_expiry(served)
  function served.look() end
end

-- Caches are not told of writes.
function bugs.stale_cache(served)
  local command = served.command
  function served:command(...)
    if self.caches then
      self.caches.invalidate = function() end
    end
    return command(self, ...)
  end
end

-- A new leader does not let the leases of caches pass that the one before has given.
function bugs.hasty_leader(served)
  local command = served.command
  function served:command(...)
    if self.caches then
      self.caches:leads()
      self.caches.writes_from = 0
    end
    return command(self, ...)
  end
end

-- A write is answered before it has happened, and is lost when the leader is.
function bugs.early_answer(served)
  local command = served.command
  function served:command(session, sequence, kind, ...)
    if kind == "do" and chance(0.02) then
      local status = self.group:status()
      if status and status.role == "leader" then
        require("perilune").spawn({ detached = true }, command, self, session, sequence, kind, ...)
        return self:id(), true, { 1, self:now_ms(), true, { 1, 1 } }
      end
    end
    return command(self, session, sequence, kind, ...)
  end
end

--- Changes every server of this program, when a bug is asked for.
---@param name? string
function M.plant(name)
  if name then
    local create, bug = server.create, assert(bugs[name], "there is no such bug")
    function server.create(...)
      local served = create(...)
      local planted = setmetatable({}, { __index = getmetatable(served).__index })
      function planted.is_in_c() -- which cannot be planted
        return false
      end
      bug(planted)
      planted.__index = planted
      return setmetatable(served, planted)
    end
  end
end

--- Their names.
M.names = require("perilune.keys").names(bugs)

return M
