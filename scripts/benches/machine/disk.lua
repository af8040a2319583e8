-- Run by perilune: commands a second of one node with a disk, 64 fibers that each wait for their own.
-- Each line is a row: name, commands a second.
local fiber = require "perilune.fiber"
local machine = require "perilune.machine"
local raft = require "perilune.raft"

local path, seconds = (...), tonumber((select(2, ...)))
local FIBERS, KEYS = 64, 100000

local ROWS = {
  { "tables: a field", "apply = function(s, k) s[k] = (s[k] or 0) + 1 end" },
  { "ctx.store: put", "store = true, apply = function(_, k, ctx) ctx.store:put(k, ctx.index) end" },
  { "ctx.store: get and put", [[store = true, apply = function(_, k, ctx)
      ctx.store:put(k, (ctx.store:get(k) or 0) + 1) end]] },
  { "ctx.store: range of ten, and put", [[store = true, apply = function(_, k, ctx)
      local sum = 0
      for _, n in ctx.store:range(k, nil, { limit = 10 }) do sum = sum + n end
      ctx.store:put(k, sum % 1000) end]] },
}

for i, row in ipairs(ROWS) do
  local node = assert(raft.open { id = 1, path = ("%s/%d"):format(path, i), listen = "127.0.0.1:0" })
  local program = assert(machine.source("return { " .. row[2] .. " }"))
  local group = assert(raft.group { id = 1, node = node, members = { node:address() }, machine = program })
  local done, finish, fibers = 0, fiber.now() + seconds, {}
  for f = 1, FIBERS do
    fibers[f] = fiber.spawn(function()
      while fiber.now() < finish do
        local _, err = group:propose(("key%06d"):format(fiber.random(KEYS)))
        assert(not err, err)
        done = done + 1
      end
    end)
  end
  for _, one in ipairs(fibers) do
    one:join()
  end
  print(("on disk, 64 clients, %s\t%.0f"):format(row[1], done / seconds))
  node:close()
end
