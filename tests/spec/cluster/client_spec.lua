-- Who asks the leader of a cluster for a change (lua/perilune/cluster/client.lua): a server of this spec.
local client = require "perilune.cluster.client"
local rpc = require "perilune.rpc"

describe("a change that the leader is asked for", function()
  local server, refusals
  before_each(function()
    refusals = {}
    server = assert(rpc.serve({
      ["cluster.status"] = function()
        return { id = 1, address = server:address(), group = { role = "leader", term = 3, members = {} } }
      end,
      ["cluster.change"] = function(kind)
        local code = table.remove(refusals, 1)
        if code then
          error { code = code, message = "not now" }
        end
        return kind .. "d"
      end,
    }, { listen = "127.0.0.1:0" }))
  end)
  after_each(function() server:close() end)

  local function ask(deadline)
    return client.call_leader({ server:address() }, deadline, "cluster.change", "remove")
  end

  it("is asked for again while another one is under way, or another leads by then", function()
    refusals = { "EBUSY", "ENOTLEADER", "EBUSY" }
    assert.equal("removed", ask(5))
    assert.same({}, refusals)
  end)

  it("fails at once when it never can be", function()
    refusals = { "EINVAL", "EINVAL" }
    local result, err, code = ask(5)
    assert.is_nil(result)
    assert.matches("not now", err)
    assert.equal("EINVAL", code)
    assert.equal(1, #refusals)
  end)

  it("fails at the deadline with the last reason", function()
    for i = 1, 100 do
      refusals[i] = "EBUSY"
    end
    local result, _, code = ask(0.2)
    assert.is_nil(result)
    assert.equal("EBUSY", code)
  end)
end)
