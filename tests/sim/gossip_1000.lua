-- The gossip of examples/scenarios, with a thousand nodes: memory and time of many Lua states.
local here = package.path:match "^(.-)/%?%.lua"
package.path = here .. "/../../examples/scenarios/?.lua;" .. package.path
args.nodes = args.nodes or 1000
return require "gossip"
