--- The port on which nodes of replicated groups hear each other, and what comes there that they never say.
--- Peers that know the secret and mean ill are in tests/unit/test_node_hostile.c.
local fiber = require "perilune.fiber"
local new_folder = require "support.folder"
local process = require "perilune.process"
local raft = require "perilune.raft"
local rpc = require "perilune.rpc"
local rpcs = require "support.rpc"

local SECRET = "a secret of the specs"

describe("the port of a raft node", function()
  after_each(rpcs.close) -- before the folder goes
  local folder = new_folder(before_each, after_each)
  local node, group

  before_each(function()
    node = rpcs.closing(assert(raft.open {
      id = 1, path = folder:at "data", listen = "127.0.0.1:0", cluster = "specs", secret = SECRET,
    }))
    group = assert(raft.group { id = 1, members = { node:address() }, machine = {
      apply = function(state, command)
        state[#state + 1] = command
        return #state
      end,
    } })
    assert.equal(1, group:propose "before")
  end)

  local function goes_on()
    assert.equal(2, group:propose "after")
    assert.equal("leader", group:status().role)
  end

  -- Writes the output of a command of the shell to the port.
  local function send(command)
    local host, port = node:address():match "^(.*):(%d+)$"
    local result = assert(process.run { "bash", "-c",
      ("trap '' PIPE; exec 3<>/dev/tcp/%s/%s || exit 9; %s >&3; cat <&3 >/dev/null; exit 0")
        :format(host, port, command) })
    assert.equal(0, result.status, result.stderr)
  end

  it("is hung up on by the node when bytes are no messages", function()
    for _, size in ipairs { 1, 7, 64, 5000, 3000000 } do
      send(("head -c %d /dev/urandom 2>/dev/null"):format(size))
    end
    send "printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'"
    send "printf '\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377'" -- a frame of 4 GiB
    goes_on()
  end)

  it("is closed to another cluster, to another secret, and to none", function()
    local cases = {
      { code = "ECLUSTER", cluster = "others", secret = SECRET },
      { code = "EAUTH", cluster = "specs", secret = "another secret, as long" },
      { code = "EAUTH", cluster = "specs" },
    }
    for i, case in ipairs(cases) do
      local peer = rpcs.closing(rpc.connect(node:address(), {
        cluster = case.cluster, secret = case.secret, deadline = 1,
      }))
      assert.equal(case.code, (select(3, peer:call("raft.messages", "x"))), i)
    end
    assert.equal(0, node:stats().messages_heard)
    goes_on()
  end)

  it("refuses calls of a member that are no messages, and serves nothing else", function()
    local peer = rpcs.closing(rpc.connect(node:address(), { cluster = "specs", secret = SECRET }))
    for _, method in ipairs { "raft.messages", "raft.snapshot", "raft.chunk", "raft.repair" } do
      for _, argument in ipairs { "", "\0", "\xff", ("\2"):rep(200), ("\xff"):rep(1 << 20), 1, { 1 } } do
        local value, _, code = peer:call(method, argument)
        assert.is_nil(value)
        assert.is_true(code == "EFORMAT" or code == "EVERSION" or code == "ECLUSTER", tostring(code))
      end
    end
    assert.equal("ENOFUNCTION", (select(3, peer:call("raft.propose", "x"))))
    fiber.sleep(0.05)
    assert.equal(0, node:stats().messages_heard)
    goes_on()
  end)
end)
