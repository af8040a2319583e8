-- Tarantool's own client (drive.lua). Usage: tarantool netbox.lua PORT CONNECTIONS DEPTH SECONDS
local clock, fiber, netbox = require "clock", require "fiber", require "net.box"
local drive = dofile(arg[0]:match "^.*/" .. "drive.lua")

drive({
  now = clock.monotonic,
  sleep = fiber.sleep,
  spawn = fiber.create,
  connect = function(port) return netbox.connect("127.0.0.1:" .. port) end,
  call = function(connection, payload) return connection:call("echo", { payload }) end,
}, arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]))
