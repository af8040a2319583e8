--- Three processes on real disks, killed with kill -9 while clients work: a short form of
--- scripts/soak raft --kill 200.
local binary = require "support.binary"

describe("nodes of a group that are killed", function()
  it("lose nothing that was acknowledged, forget no vote, and become equal again", function()
    local result = binary.run { "run", "tests/live/raft_kill.lua", "6", "4" }
    assert.are.equal(0, result.status, result.stdout .. result.stderr)
    assert.matches("\nkills=%d+ failures=0\n$", result.stdout)
    assert.is_true(tonumber(result.stdout:match "acknowledged=(%d+)") > 20)
  end)
end)
