--- Random histories of a register that is right: N clients, each with one open operation nearly all the time.
---
--- Run by `perilune` as random.lua CLIENTS OPERATIONS SEED UNKNOWN > history.jsonl. An operation takes effect
--- at a random time between its call and its answer; one in UNKNOWN gets no answer (0: none does).
local clients, count, seed, unknown = table.unpack(arg)
clients, count, seed, unknown = tonumber(clients), tonumber(count), tonumber(seed), tonumber(unknown)

local VALUES = 5
local state = seed * 2654435761 + 1

local function random(high)
  state = (state * 6364136223846793005 + 1442695040888963407) & math.maxinteger
  return (state >> 33) % high + 1
end

local function event(process, kind, f, value)
  local shown = type(value) == "table" and ("[%d,%d]"):format(value[1], value[2]) or value
  io.stdout:write(('{"process":%d,"type":"%s","f":"%s"%s}\n'):format(process, kind, f,
    shown and ',"value":' .. shown or ""))
end

local value
local names, open, waiting = {}, {}, count
for client = 1, clients do
  names[client] = client
end

local function begin(client)
  local f = ({ "read", "write", "cas" })[random(3)]
  local op = { f = f, value = f == "write" and random(VALUES) or nil }
  if f == "cas" then
    op.value = { random(VALUES), random(VALUES) }
  end
  open[client], waiting = op, waiting - 1
  event(names[client], "invoke", f, op.value)
end

local function take_effect(op)
  op.is_done, op.kind = true, "ok"
  if op.f == "read" then
    op.result = value
  elseif op.f == "write" then
    op.result, value = op.value, op.value
  elseif value == op.value[1] then
    op.result, value = op.value, op.value[2]
  else
    op.result, op.kind = op.value, "fail"
  end
end

local left = count
while left > 0 do
  local client = random(clients)
  local op = open[client]
  if not op then
    if waiting > 0 then
      begin(client)
    end
  elseif not op.is_done then
    take_effect(op)
  else
    local is_unknown = unknown > 0 and random(unknown) == 1
    event(names[client], is_unknown and "info" or op.kind, op.f, not is_unknown and op.result or nil)
    if is_unknown then
      names[client] = names[client] + clients
    end
    open[client], left = nil, left - 1
  end
end
