-- Which directories a run may make, replace and remove.
local fs = require "perilune.fs"
local process = require "perilune.process"
local target = require "perilune.mapreduce.target"
local use_folder = require "support.folder"

describe("the target", function()
  local folder = use_folder(before_each, after_each)
  local out

  before_each(function()
    out = folder:at "out"
  end)

  local function refused(message, failure)
    assert.is_table(failure)
    assert.matches(message, failure.message, 1, true)
  end

  describe("is refused", function()
    it("without a name", function()
      refused("is empty", target.check("", true))
    end)

    it("in a folder that is none", function()
      refused("does not exist", target.check(folder:at "none/out"))
      folder:write("file", "")
      refused("is no directory", target.check(folder:at "file/out"))
    end)

    it("when it exists, unless it is forced", function()
      assert(fs.mkdir(out))
      refused("exists", target.check(out))
      assert.is_nil(target.check(out, true))
    end)

    it("even forced when it holds what no job wrote", function()
      assert(fs.mkdir(out))
      for _, name in ipairs { "part-00000", "quarantine-m00003", "errors-00012", "errors-s1-m00000" } do
        assert(fs.write(out .. "/" .. name, ""))
      end
      assert.is_nil(target.check(out, true))
      for _, name in ipairs { "letter.txt", ".git", "part-1" } do
        assert(fs.write(out .. "/" .. name, ""))
        refused("holds " .. name, target.check(out, true))
        assert(fs.remove(out .. "/" .. name))
      end
      assert(fs.mkdir(out .. "/photos-20231"))
      refused("holds photos-20231", target.check(out, true))
    end)

    it("even forced when it is a file", function()
      assert(fs.write(out, "precious"))
      refused("is no directory", target.check(out, true))
    end)

    it("inside the input, by any name", function()
      assert(fs.mkdir(folder:at "in/deep", { parents = true }))
      assert(process.run { "ln", "-s", folder:at "in/deep", folder:at "link" })
      local input = folder:at "in"
      refused("would lie inside", target.check_apart(input .. "/out", {}, { input }))
      refused("would lie inside", target.check_apart(input, {}, { input }))
      refused("would lie inside", target.check_apart(folder:at "link/out", {}, { input }))
      assert.is_nil(target.check_apart(out, {}, { input }))
    end)

    it("when it holds the input", function()
      assert(fs.mkdir(out))
      assert(fs.write(out .. "/part-00000", ""))
      refused("would replace the input", target.check_apart(out, { { path = out .. "/part-00000" } }, {}))
      assert.is_nil(target.check_apart(folder:at "out2", { { path = out .. "/part-00000" } }, {}))
    end)
  end)

  describe("of a run that ended between two renames", function()
    local function leave(with_new)
      local dead = out .. ".perilune-0123abcd"
      assert(fs.mkdir(dead .. "/old", { parents = true }))
      assert(fs.write(dead .. "/old/part-00000", "old"))
      assert(fs.write(dead .. "/lock", ""))
      if with_new then
        assert(fs.mkdir(out))
      end
      local notes = {}
      target.clear_dead_runs(out, function(text)
        notes[#notes + 1] = text
      end)
      assert.is_false(fs.exists(dead))
      return notes
    end

    it("is put back", function()
      local notes = leave(false)
      assert.equal("old", fs.read(out .. "/part-00000"))
      assert.matches("^put .*/out back", notes[1])
      assert.matches("^removed ", notes[2])
    end)

    it("stays gone when the new one is there", function()
      assert.equal(1, #leave(true))
      assert.same({}, fs.list(out))
    end)
  end)

  it("is published once, and only over what may be replaced", function()
    local directory, lock = assert(target.make_directory(out))
    assert(fs.mkdir(out))
    refused("exists", target.publish(directory, out))
    assert.is_nil(target.publish(directory, out, true))
    assert.same({ "lock", "old", "spill" }, fs.list(directory))
    lock:close()
  end)
end)
