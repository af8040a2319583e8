local shapes = require "perilune.sim.shapes"

describe("the shape", function()
  -- Who sees whom: by name, the names that a node reaches in both directions, itself among them.
  local function seen(shape, count)
    local names = {}
    for index = 1, count do
      names[index] = "n" .. index
    end
    local reach = {}
    for _, from in ipairs(names) do
      reach[from] = {}
      for _, to in ipairs(names) do
        reach[from][to] = true
      end
    end
    for _, pair in ipairs(shapes.named[shape](names)) do
      reach[pair[1]][pair[2]] = nil
    end
    local views = {}
    for index, from in ipairs(names) do
      local view = {}
      for at, to in ipairs(names) do
        assert.equal(reach[from][to], reach[to][from])
        view[#view + 1] = reach[from][to] and tostring(at) or nil
      end
      views[index] = table.concat(view)
    end
    return views
  end

  local TABLE = {
    { "halves", 4, { "12", "12", "34", "34" } },
    { "halves", 5, { "12", "12", "345", "345", "345" } },
    { "isolated", 3, { "1", "23", "23" } },
    { "minority_third", 3, { "1", "23", "23" } },
    { "minority_third", 7, { "12", "12", "34567", "34567", "34567", "34567", "34567" } },
    { "bridge", 5, { "123", "123", "12345", "345", "345" } },
    { "bridge", 4, { "123", "123", "1234", "34" } },
    { "ring", 3, { "123", "123", "123" } },
    { "ring", 5, { "125", "123", "234", "345", "145" } },
    { "halves", 1, { "1" } },
  }
  for _, case in ipairs(TABLE) do
    it(("%s of %d lets them see"):format(case[1], case[2]), function()
      assert.same(case[3], seen(case[1], case[2]))
    end)
  end

  it("ring gives each node a majority of its own", function()
    for count = 5, 9 do
      local is_known = {}
      for _, view in ipairs(seen("ring", count)) do
        assert.is_true(#view > count / 2)
        assert.is_nil(is_known[view])
        is_known[view] = true
      end
    end
  end)

  it("groups cuts each from each", function()
    assert.same({ { "a", "b" }, { "b", "a" }, { "a", "c" }, { "c", "a" }, { "b", "c" }, { "c", "b" } },
      shapes.groups { { "a" }, { "b" }, { "c" } })
    assert.same({}, shapes.groups { { "a", "b" } })
  end)
end)
