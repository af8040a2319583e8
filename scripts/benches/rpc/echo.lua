-- The Lua handler that scripts/bench rpc measures: perilune run echo.lua
local rpc = require "perilune.rpc"

local handlers = { echo = function(text) return text end }
local server = assert(rpc.serve(handlers, { listen = "127.0.0.1:0", cluster = "bench" }))
print("listening at " .. server:address())
io.stdout:flush()
