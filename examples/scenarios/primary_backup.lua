-- Primary and backup, and how they split: clients talk to the primary, which passes each write on to the
-- backup. When the primary cannot reach the backup it takes it for dead and goes on alone; when the backup
-- has not heard from the primary for a second it takes that for dead and becomes primary itself. As long
-- as machines only crash, this works. When the network between the two is cut, both are primary, and
-- clients on the two sides see different values: only a third party, a majority, can decide who is dead.
--
-- This scenario is meant to fail: perilune sim ends with 0 because it finds the split, and prints its seed.
--
--   perilune sim examples/scenarios/primary_backup.lua --seeds 1..20
local history = require "perilune.history"
local perilune = require "perilune"
local rpc = require "perilune.rpc"

local PATIENCE = 1

local M = {
  about = "a primary and a backup that both believe to be primary",
  time = "5m",
  network = { latency = { "uniform", "1ms", "10ms" } },
  expect = "not linearizable",
}

M.nodes = {}

function M.nodes.server(node, other_name, is_primary)
  local value
  local other = rpc.connect(other_name, { deadline = 0.2 })
  local is_alone, last_heard = false, perilune.now()

  assert(rpc.serve {
    replicate = function(new)
      value, last_heard = new, perilune.now()
      return true
    end,
    beat = function()
      last_heard = perilune.now()
      return true
    end,
    read = function()
      if not is_primary then
        return nil, "not the primary", "EBUSY"
      end
      return { value = value }
    end,
    write = function(new)
      if not is_primary then
        return nil, "not the primary", "EBUSY"
      end
      if not is_alone then
        is_alone = not other:call("replicate", new)
      end
      value = new
      return true
    end,
  })

  while true do
    perilune.sleep(0.1)
    if is_primary then
      is_alone = not other:call "beat"
    elseif perilune.now() - last_heard > PATIENCE then
      node:log "has not heard from the primary and takes over"
      is_primary, is_alone = true, true
    end
  end
end

-- Tries the server that answered last, then the other one.
function M.nodes.client(node, names, operations)
  local servers = { rpc.connect(names[1], { deadline = 0.3 }), rpc.connect(names[2], { deadline = 0.3 }) }
  local at = 1
  for number = 1, operations do
    perilune.sleep(0.1 + 0.1 * perilune.random())
    local is_read = perilune.random() < 0.5
    local value = node.name .. "-" .. number
    local operation = is_read and history.invoke("read", "x") or history.invoke("write", "x", value)
    local answer, _, code = servers[at]:call(is_read and "read" or "write", value)
    if answer then
      operation:ok(is_read and answer.value or nil)
    elseif is_read or code == "EBUSY" then
      operation:fail()
    else
      operation:unknown()
    end
    at = answer and at or 3 - at
  end
end

function M.run(sim)
  sim:start("a", "server", "b", true)
  sim:start("b", "server", "a", false)
  local clients = { "c1", "c2", "c3" }
  for _, client in ipairs(clients) do
    sim:start(client, "client", { "a", "b" }, 60)
  end
  sim:sleep(1 + 3 * sim:random())
  local sides = sim:shuffle(clients) -- one client on the side of a, one on that of b, one sees both
  sim:partition({ "a", sides[1] }, { "b", sides[2] })
  sim:sleep "5s"
  sim:heal()
  for _, client in ipairs(clients) do
    assert(sim:join(client))
  end
  sim:check "register"
end

return M
