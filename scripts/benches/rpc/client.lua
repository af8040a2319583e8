-- Perilune's own client (drive.lua). Usage: perilune run client.lua PORT CONNECTIONS DEPTH SECONDS
local fiber = require "perilune.fiber"
local rpc = require "perilune.rpc"
local drive = dofile(arg[0]:match "^.*/" .. "drive.lua")

drive({
  now = fiber.now,
  sleep = fiber.sleep,
  spawn = fiber.spawn,
  connect = function(port, number) -- as so many nodes, because peers of one node share a connection
    return rpc.connect("127.0.0.1:" .. port, { cluster = "bench", node = "load" .. number })
  end,
  call = function(peer, payload) return peer:call("echo", payload) end,
}, arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]))
