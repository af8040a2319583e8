local keys = require "perilune.keys"

describe("keys", function()
  it("are sorted as what they are", function()
    assert.same({ 2, 9, 10 }, keys.sorted { [10] = "a", [9] = "b", [2] = "c" })
    assert.same({ "a", "b" }, keys.sorted { b = 1, a = 2 })
    assert.same({}, keys.sorted {})
  end)

  it("are sorted as texts", function()
    assert.same({ "10", "9", "a", "true" }, keys.names { [10] = 1, [9] = 2, a = 3, [true] = 4 })
  end)
end)
