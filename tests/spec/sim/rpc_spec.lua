local new_folder = require "support.folder"
local scenario = require "support.scenario"

describe("rpc in a simulation", function()
  local folder = new_folder(before_each, after_each)

  it("keeps one connection between two nodes, each of a state's own", function()
    scenario.pass(folder, [[
      local rpc = require "perilune.rpc"
      local nodes, probes = {}, {}

      function nodes.server(node)
        node.server = assert(rpc.serve { echo = function(x) return x end })
      end

      function probes.connections(node)
        return node.server:stats().connections
      end

      function nodes.client(node)
        local peers = {}
        for i = 1, 5 do
          peers[i] = rpc.connect("server", { deadline = "500ms" })
          assert(peers[i]:call("echo", i) == i)
        end
        node:tell "are up"
        node:receive()
        for i = 1, 4 do
          peers[i]:close()
          assert(peers[5]:call("echo", i) == i)
        end
        node:tell "are closed but one"
        node:receive()
        peers[5]:close()
        node:tell "are closed"
        node:receive()
      end

      local function run(sim)
        sim:start("server", "server")
        sim:start("a", "client")
        sim:start("b", "client")
        for _, expected in ipairs { 2, 2, 0 } do
          assert(sim:receive() and sim:receive())
          sim:sleep(1)
          local found = sim:probe("server", "connections")
          assert(found == expected, found)
          for _, name in ipairs { "a", "b" } do
            sim:tell(name)
          end
        end
      end

      return { nodes = nodes, probes = probes, run = run }]])
  end)
end)
