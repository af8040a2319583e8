--- Servers and peers that a spec opens, and closes after each test: after_each(rpcs.close).
local rpc = require "perilune.rpc"

local M = {}
local open = {}

--- Remembers what has :close(), and returns it.
function M.closing(object)
  open[#open + 1] = object
  return object
end

--- A server on a free port and a peer of it.
---@param functions table<string, function>
---@param options? perilune.rpc.ServeOptions
---@param peer_options? perilune.rpc.PeerOptions
---@return perilune.rpc.Peer peer
---@return perilune.rpc.Server server
function M.serving(functions, options, peer_options)
  options = options or {}
  options.listen = options.listen or "127.0.0.1:0"
  local server = M.closing(assert(rpc.serve(functions, options)))
  return M.closing(rpc.connect(server:address(), peer_options)), server
end

--- Closes all of them, the last one first.
function M.close()
  for index = #open, 1, -1 do
    open[index]:close()
  end
  open = {}
end

return M
