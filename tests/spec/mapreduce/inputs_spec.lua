-- Which files the arguments of a job mean.
local cli = require "support.binary"
local fs = require "perilune.fs"
local inputs = require "perilune.mapreduce.inputs"
local process = require "perilune.process"
local use_folder = require "support.folder"

describe("inputs", function()
  local folder = use_folder(before_each, after_each)

  before_each(function()
    assert(fs.mkdir(folder:at "in/b", { parents = true }))
    for _, name in ipairs { "z", "a b\nc", "-x", ".hidden", "_SUCCESS", "b/y" } do
      assert(fs.write(folder:at "in/" .. name, "text"))
    end
  end)

  local function shell(text)
    assert.equal(0, assert(process.run { "sh", "-c", text, env = { D = folder.path } }).status)
  end

  local function names(...)
    local files, err = inputs.expand({ ... }, "lines", error)
    local list = {}
    for i, file in ipairs(files or {}) do
      list[i] = file.path:sub(#folder.path + 2)
    end
    return files and list, err
  end

  it("are files, and those below directories in order", function()
    local list = names(folder:at "in/z", folder:at "in/")
    assert.same({ "in/z", "in/-x", "in/a b\nc", "in/b/y", "in/z" }, list)
  end)

  it("may be reached by many ways, but not without end", function()
    shell 'ln -s b "$D/in/link"'
    assert.same({ "in/-x", "in/a b\nc", "in/b/y", "in/link/y", "in/z" }, names(folder:at "in"))
    shell 'ln -s .. "$D/in/b/loop"; ln -s .. "$D/in/b/loop2"'
    local none, err = names(folder:at "in")
    assert.is_nil(none)
    assert.matches("in/b/loop leads back to a directory that it stands in", err, 1, true)
  end)

  it("are no pipes and devices", function()
    shell 'mkfifo "$D/in/fifo"'
    local none, err = names(folder:at "in")
    assert.is_nil(none)
    assert.matches("in/fifo is no regular file", err, 1, true)
    assert.is_nil((names "/dev/zero"))
  end)

  for _, case in ipairs {
    { "--workers", "1000000", "the most is 1024" }, { "--reduces", "1000000", "the most is 65535" },
    { "--split", "0", "at least 1 byte" },
  } do
    it(("are not cut by %s %s"):format(case[1], case[2]), function()
      local result = cli.run { "mr", "none.lua", "none", "-o", folder:at "out", case[1], case[2] }
      assert.equal(2, result.status)
      assert.matches(case[3], result.stderr, 1, true)
    end)
  end
end)
