--- perilune node: one node of a cluster, until a signal ends it.
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local json = require "perilune.json"
local log = require "perilune.log"
local node_options = require "perilune.cli.node_options"
local output = require "perilune.cli.output"
local process = require "perilune.process"

local M = { summary = "run one node of a cluster" }

local GRACE = 10 -- seconds from a signal to the end
local POLL = 0.01

local HINTS = {
  EADDRINUSE = "is it running already? --listen and --resp choose others",
  EBUSY = "is it running already? --data chooses another directory",
  ECLUSTER = "--id and --data have to be those that this node began with",
}

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune node", "Runs one node of a cluster, which keeps a replica of its "
    .. "key/value store: perilune kv, and with --resp Redis' clients, ask any of them.")
  node_options.add(parser)
  parser:flag("--json", "Print where it serves as one JSON object.")
  parser:epilog [[
Each of these may stand in the file (ready_file = "...") or in a variable (PERILUNE_READY_FILE); the file
comes first, then variables, then flags, and the later wins. perilune config shows what holds.
Without a secret (PERILUNE_SECRET, or secret in the file) a node listens to this machine alone.
SIGTERM and Ctrl-C have it hand leadership over, finish what is on its way to the disk, and end with 0.
Under systemd it may have Type=notify: it says when it is ready, and when it stops.
A whole cluster on this machine: perilune up.

Examples:
  perilune node --data data
  perilune node --config node.lua
  perilune node --id 2 --listen 127.0.0.1:7200 --data data2 --join 127.0.0.1:7100
  perilune node --id 1 --listen 10.0.0.1:7100 --members 10.0.0.1:7100,10.0.0.2:7100,10.0.0.3:7100]]
  return parser
end

local function fail(err, code)
  return output.fail { what = "node", why = err, code = code, hint = HINTS[code] }
end

-- For the service manager, if there is one.
local function notify(text)
  local told, err = process.notify(text)
  if told == nil then
    log.warn("the service manager cannot be told", { err = err })
  end
end

-- Says that the node is ready, by a file and to the service manager, as soon as it is.
local function announce(node, values)
  while not node:is_ready() do
    fiber.sleep(POLL)
  end
  log.info("ready", { address = node:address(), resp = node.resp })
  notify("READY=1\nSTATUS=serves at " .. node:address())
  if values.ready_file then
    local ok, err = fs.write(values.ready_file, json.encode { id = node.id, pid = process.pid(),
      address = node:address(), resp = node.resp } .. "\n", { atomic = true })
    if not ok then
      log.error("the ready file cannot be written", { err = err })
    end
  end
end

local function print_place(args, node)
  local place = { id = node.id, address = node:address(), resp = node.resp, pid = process.pid() }
  if args.json then
    output.json(place)
  else
    io.stdout:write(("node %d serves at %s%s\n"):format(node.id, place.address,
      place.resp and ", Redis' clients at " .. place.resp or ""))
  end
  io.stdout:flush()
end

-- Waits for a signal, or for the cluster's refusal to take the node: message and code.
local function wait_for_end(node)
  local over = fiber.channel()
  process.on_signal(function(signal)
    log.info("ends", { signal = signal })
    over:close()
  end, GRACE)
  local err, code
  if node.joining then
    fiber.spawn({ name = "node joining", detached = true }, function()
      local _, ok
      _, ok, err, code = node.joining:join()
      if not ok and err then
        over:close()
      end
    end)
  end
  over:recv()
  return err, code
end

---@param args table
---@return integer exit_code
function M.run(args)
  local values, sources = node_options.read(args)
  if not values then
    return output.usage_error("node", sources)
  end
  if values.ready_file then
    fs.remove(values.ready_file) -- of one that was killed
  end
  local node, err, code = require("perilune.cluster.node").start(values)
  if not node then
    return fail(err, code)
  end
  print_place(args, node)
  local announcing = fiber.spawn({ name = "node ready", detached = true }, announce, node, values)
  err, code = wait_for_end(node)
  announcing:cancel()
  notify "STOPPING=1"
  if values.ready_file then
    fs.remove(values.ready_file)
  end
  node:close()
  return err and fail(err, code) or output.EXIT_OK
end

return M
