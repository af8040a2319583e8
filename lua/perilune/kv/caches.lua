--- The server's side of client caches: who may answer reads of which key by itself, and that nobody does any
--- more when a write of it takes effect (leases as in Gray and Cheriton, 1989).
---
--- The leader keeps who has read what. Before it proposes a write it tells them, and waits until they have
--- answered or their lease, of TTL seconds, is over; meanwhile nobody else may keep the key. A lease is given
--- only after a linearizable read, which proves that this node still led when the lease began. So a leader of
--- a new term, which knows nobody, only has to let one lease pass before its first write.
---
--- All writes have to come this way: through kv.serve of servers that all have caches = true.
local fiber = require "perilune.fiber"
local keys_of_table = require "perilune.keys"

local M = {}

local TTL = 1 -- seconds
local MARGIN = 1.05 -- for clocks that are not equally fast
local HOLDERS_MAX, KEYS_MAX = 1024, 8192 -- clients with a cache; keys of each
local WRITES = { put = true, delete = true, append = true, increment = true }
local READS = { get = true, range = true }

---@class perilune.kv.Caches
---@field group perilune.raft.Group
---@field term integer  the one in which this node led when it was asked last
---@field writes_from number  when the leases of the leader before are over
---@field writing table<string, integer>  keys that somebody writes: nobody keeps them
---@field all_writing integer  how many writes of who knows which keys there are
---@field holders table<integer, table>
local Caches = {}
Caches.__index = Caches

-- ---- who leads ----

--- Whether this node leads; what another term left is forgotten then.
function Caches:leads()
  local status = self.group:status()
  if not status or status.role ~= "leader" then
    return false
  elseif status.term ~= self.term then
    self.term, self.writes_from = status.term, fiber.now() + TTL * MARGIN
    self.holders, self.writing, self.all_writing = {}, {}, 0
    self:wake()
  end
  return true
end

--- Wakes up all that wait for something here.
function Caches:wake()
  local old = self.changed
  self.changed = fiber.channel()
  old:close()
end

--- Waits for a change, until a time.
function Caches:await(due)
  local left = due - fiber.now()
  if left > 0 then
    fiber.select { { self.changed, "recv" }, timeout = left }
  end
end

-- ---- writes ----

-- The keys that a command may change: nil when that cannot be told.
local function keys_of(operations, otherwise)
  local keys = {}
  for _, list in ipairs { operations, otherwise } do
    for _, operation in ipairs(list) do
      if WRITES[operation[1]] then
        keys[#keys + 1] = operation[2]
      elseif not READS[operation[1]] then
        return nil
      end
    end
  end
  return keys
end

--- Says that keys (nil: who knows which) are being written, with 1, or are no more, with -1.
function Caches:mark(keys, change)
  self.all_writing = self.all_writing + (keys and 0 or change)
  for _, key in ipairs(keys or {}) do
    local count = (self.writing[key] or 0) + change
    self.writing[key] = count > 0 and count or nil
  end
end

-- Tells a holder to forget a key, or all it has (true), if it has it.
local function tell(holder, key)
  if key == true and next(holder.keys) or holder.keys[key] then
    holder.last = holder.last + 1
    holder.queue[#holder.queue + 1] = { holder.last, key }
    if key == true then
      holder.keys = {}
    else
      holder.keys[key] = nil
    end
  end
end

--- Has everybody forget the keys: when it returns nobody has them, or this node's term is over.
function Caches:invalidate(keys)
  local waits = {}
  for _, id in ipairs(keys_of_table.sorted(self.holders)) do
    local holder = self.holders[id]
    for _, key in ipairs(keys or { true }) do
      tell(holder, key)
    end
    waits[#waits + 1] = { id = id, holder = holder, number = holder.last }
  end
  if #waits > 0 then
    self:wake()
  end
  for _, wait in ipairs(waits) do
    local holder = wait.holder
    while self.holders[wait.id] == holder and holder.acked < wait.number do
      if fiber.now() >= holder.expires then
        self.holders[wait.id] = nil
      else
        self:await(holder.expires)
      end
    end
  end
end

--- Waits until a write may be proposed; false when this node does not lead.
function Caches:prepare(keys)
  while self:leads() do
    local term = self.term
    if fiber.now() < self.writes_from then
      fiber.sleep(self.writes_from - fiber.now())
    else
      self:mark(keys, 1)
      self:invalidate(keys)
      if self:leads() and self.term == term then
        return true
      end -- else the marks went with the term
    end
  end
  return false
end

--- Once it is known what became of a write, its keys may be kept again.
function Caches:settle(keys, term, details)
  local token = details and details.certainty == "unknown" and details.token
  while token and self:leads() and self.term == term and self.group:outcome(token) == "unknown" do
    fiber.sleep(0.05)
  end
  if self.term == term then
    self:mark(keys, -1)
  end
end

--- Carries out a write when nobody has its keys: propose(), in a fiber of its own, for its outcome has to be
--- known even when its client has gone.
---@param propose fun(...): any
---@param operations table[]
---@param otherwise table[]
---@return any ...  of propose
function Caches:write(propose, operations, otherwise)
  local keys = keys_of(operations, otherwise)
  local worker = fiber.spawn({ name = "kv write", detached = true, cpu_deadline = false }, function()
    if not self:prepare(keys) then -- a candidate would keep the write until it leads, and not ask then
      return nil, "this node is not the leader", "ENOTLEADER", { certainty = "never" }
    end
    local term = self.term
    local outcome = table.pack(propose())
    fiber.spawn({ name = "kv settle", detached = true }, self.settle, self, keys, term, outcome[4])
    return table.unpack(outcome, 1, outcome.n)
  end)
  local outcome = table.pack(worker:join())
  if not outcome[1] then
    error(outcome[2], 0)
  end
  return table.unpack(outcome, 2, outcome.n)
end

-- ---- holders ----

--- A new holder; nil when there are too many.
function Caches:new_holder()
  local now, count = fiber.now(), 0
  for _, id in ipairs(keys_of_table.sorted(self.holders)) do
    if self.holders[id].expires < now then
      self.holders[id] = nil
    else
      count = count + 1
    end
  end
  if count >= HOLDERS_MAX then
    return nil
  end
  self.last_id = self.last_id + 1
  local holder = { id = self.last_id, expires = now + TTL, keys = {}, queue = {}, last = 0, acked = 0 }
  self.holders[holder.id] = holder
  return holder
end

local function acknowledge(holder, number)
  holder.acked = math.max(holder.acked, number)
  while holder.queue[1] and holder.queue[1][1] <= number do
    table.remove(holder.queue, 1)
  end
end

-- What a holder is told: its id and term, whether it has a lease again, up to which number, which keys.
local function told(self, holder, is_renewed)
  local keys = {}
  for i, item in ipairs(holder.queue) do
    keys[i] = item[2]
  end
  return { holder.id, self.term, is_renewed, holder.last, keys, TTL }
end

local function gone()
  return nil, "the server knows no such cache", "ESESSION"
end

--- A holder of this term.
function Caches:find(id, term)
  return self:leads() and self.term == term and self.holders[id] or nil
end

--- A holder asks for a lease and for what it has to forget; it has forgotten what came up to acked. The
--- answer comes at once when there is something to forget, else when there is or after a while. id 0: a new
--- one.
---@param id integer
---@param term integer
---@param acked integer
---@param confirm fun(): boolean  a linearizable read
---@return table|nil told
---@return string? err
---@return string? code
function Caches:hold(id, term, acked, confirm)
  local received = fiber.now()
  if not self:leads() then
    return nil, "this node is not the leader", "ENOTLEADER"
  end
  local holder = id == 0 and self:new_holder() or self:find(id, term)
  if not holder then
    return gone()
  end
  term = self.term
  acknowledge(holder, acked)
  self:wake()
  local is_renewed = #holder.queue == 0 and confirm()
  if self:find(holder.id, term) ~= holder then
    return gone()
  end
  is_renewed = is_renewed and #holder.queue == 0
  if is_renewed then
    holder.expires = math.max(holder.expires, received + TTL)
    local due = id ~= 0 and received + TTL / 3 or 0
    while #holder.queue == 0 and fiber.now() < due do
      self:await(due)
    end
  end
  return told(self, holder, is_renewed)
end

--- Reads a key for a holder: what read() gives, and whether the holder may keep it.
---@param id integer
---@param term integer
---@param key string
---@param read fun(): any
---@return boolean may_keep
---@return any ...
function Caches:fetch(id, term, key, read)
  local holder, mark = self:find(id, term), {}
  local is_free = holder and self.all_writing == 0 and not self.writing[key]
  if is_free then
    holder.count = (holder.count or 0) + 1
    is_free = holder.count <= KEYS_MAX
  end
  if is_free then
    holder.keys[key] = mark
  end
  local answer = table.pack(read())
  local may_keep = is_free and self:find(id, term) == holder and holder.keys[key] == mark
  return may_keep or false, table.unpack(answer, 1, answer.n)
end

--- The caches of a group's clients.
---@param group perilune.raft.Group
---@return perilune.kv.Caches
function M.create(group)
  return setmetatable({
    group = group, term = -1, writes_from = 0, writing = {}, all_writing = 0, holders = {}, last_id = 0,
    changed = fiber.channel(),
  }, Caches)
end

return M
