-- Jobs that misuse what they are given: an error in words, never damage.
local jobs = require "support.jobs"
local new_folder = require "support.folder"
local text = require "support.text"

describe("a job that misuses what it is given", function()
  local folder = new_folder(before_each, after_each)

  -- The lines of the job's output, or nil, err.
  local function run(source, input, options)
    local result, err = jobs.run(folder, source, input, options)
    if not result then
      return nil, err
    end
    return text.lines(folder:read "out/part-00000")
  end

  local function many_lines(count)
    local lines = {}
    for i = 1, count do
      lines[i] = ("line %d of a text that has many of them"):format(i)
    end
    return table.concat(lines, "\n")
  end

  it("takes out for a table, or another function for out", function()
    local errors = {
      ["print.name"] = "a function has no field 'name'",
      ["out:put(1, 1)"] = "a function has no field 'put'; out has words",
      ["out.words(print, rec, 1)"] = "out expected",
    }
    for statement, message in pairs(errors) do
      local source = "return { map = function(rec, out) return %s end, reduce = 'sum' }"
      local lines, err = run(source:format(statement), "a line\n")
      assert.is_nil(lines)
      assert.truthy(tostring(err):find(message, 1, true), err)
    end
  end)

  it("emits from its partition function", function()
    assert.same({ "a 1", ("b"):rep(5000) .. " 2" }, run([[
      local emit
      return {
        setup = function(job, out) emit = out end,
        map = function(rec, out) out("a", 1) end,
        partition = function(key, n)
          if key == "a" then emit(("b"):rep(5000), 2) end
          return 1
        end,
        reduce = "identity" }]], "one\n"))
  end)

  it("emits into the map's out from combine", function()
    local lines, err = run([[
      local emit
      return {
        setup = function(job, out) emit = emit or out end,
        map = function(rec, out) out(rec:str(), 1) end,
        combine = function(key, values, out)
          emit(key, 1)
          out(key, values:count())
        end,
        reduce = function(key, values, out) out(key, values:count()) end }]], many_lines(100))
    assert.is_nil(lines)
    assert.matches("combine", err)
  end)

  it("hides what combine raises", function()
    local lines, err = run([[
      return {
        map = function(rec, out) pcall(out, rec:str():rep(100), 1) end,
        combine = function(key, values, out) error("no combining today") end,
        reduce = function(key, values, out) out(key, values:count()) end }]], many_lines(2000),
      { memory_bytes = 16 << 20, skip_records = 1000000 })
    assert.is_nil(lines)
    assert.matches("no combining today", err)
  end)

  it("replaces table.sort under compare", function()
    local lines, err = run([[
      table.sort = function(list) list[1] = 1 << 40 end
      return {
        map = function(rec, out) out(rec:str(), 1) end,
        compare = function(a, b) return a < b end,
        reduce = function(key, values, out) out(key, values:count()) end }]], "b\na\n")
    assert.is_nil(lines)
    assert.matches("table.sort was replaced", err)
  end)

  it("emits when its attempt is over", function()
    assert.same({ "x 1" }, run([[
      local emit
      _G.keep = setmetatable({}, { __gc = function()
        emit("late", 1)
        emit:count("late")
        emit:to("late", "k", "v")
      end })
      return { setup = function(job, out) emit = out end,
        map = function(rec, out) out(rec, 1) end, reduce = "sum" }]], "x\n"))
  end)

  it("reads values as if they were a table", function()
    for _, use in ipairs { "ipairs(values)", "pairs(values)", "#values", "values.n", "values[1]" } do
      local lines, err = run(([[return {
        map = function(rec, out) out(rec, 1) end,
        reduce = function(key, values, out) local _ = %s
          for _, value in ipairs(values) do out(key, value) end
        end }]]):format(use), "x\n")
      assert.is_nil(lines, use)
      assert.matches("job.lua:%d: values are read with for value in values do", err)
    end
  end)

  it("calls what out and rec do not have", function()
    local _, err = run("return { map = function(rec, out) out:wrods(rec, 1) end }", "x\n")
    local misspelt = "job.lua:1: a function has no field 'wrods'; out has words, sub, to and count"
    assert.matches(misspelt, err, 1, true)
    _, err = run("return { map = function(rec, out) out(rec:gmatch 'x', 1) end }", "x\n")
    assert.matches("job.lua:1: records have no method 'gmatch', strings have: rec:str():gmatch", err, 1, true)
    _, err = run("return { map = function(rec, out) out(rec:lne(), 1) end }", "x\n")
    assert.matches("records have no method 'lne'; they have bytes field fields file find json key len lines "
      .. "lower num offset slices split str sub value words", err, 1, true)
    _, err = run("return { map = function(rec, out) out(rec:fields(), 1) end }", "x\n")
    assert.matches("no column given, as in rec:fields(nil, 1, 3)", err, 1, true)
  end)

  it("returns a table that contains itself, many times", function()
    local lines, err = run([[
      local t = {} t.a, t.b, t.c = t, t, t
      return { map = function(rec, out) out(rec, 1) end, args = t }]], "one\n")
    assert.is_nil(lines)
    assert.matches("contains itself", err)
  end)
end)
