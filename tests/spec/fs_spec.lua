local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local process = require "perilune.process"

describe("perilune.fs", function()
  local dir

  before_each(function()
    dir = assert(fs.tempdir())
  end)

  after_each(function()
    assert(fs.remove(dir, { recursive = true }))
  end)

  local function at(name)
    return dir .. "/" .. name
  end

  describe("whole files", function()
    it("come back as they were written, any bytes", function()
      local bytes = ("\0\255\r\n"):rep(100000)
      assert.is_true(fs.write(at "file", bytes))
      assert.are.equal(bytes, fs.read(at "file"))
      assert.are.equal(400000, fs.stat(at "file").size)
    end)

    it("are no pipes, which would keep a thread each", function()
      assert(process.run { "mkfifo", at "fifo" })
      for _ = 1, 8 do
        local ok, err = fs.read(at "fifo")
        assert.is_nil(ok)
        assert.matches("fifo: it is a pipe", err, 1, true)
      end
      assert.is_nil((fs.write(at "fifo", "x")))
      assert.equal("", fs.read "/dev/null")
    end)

    it("are replaced, appended to, or written atomically", function()
      assert(fs.write(at "file", "a long first version"))
      assert(fs.write(at "file", "one"))
      assert(fs.write(at "file", "two", { append = true, sync = true }))
      assert.are.equal("onetwo", fs.read(at "file"))
      assert(fs.write(at "file", "three", { atomic = true }))
      assert.are.equal("three", fs.read(at "file"))
      assert.are.same({ "file" }, fs.list(dir)) -- nothing temporary is left
    end)

    it("leave nothing temporary behind when an atomic write fails", function()
      assert(fs.mkdir(at "taken"))
      assert(fs.write(at "taken/file", ""))
      local ok, err, code = fs.write(at "taken", "x", { atomic = true })
      assert.is_nil(ok)
      assert.truthy(err:find(at "taken", 1, true))
      assert.truthy(code == "EISDIR" or code == "ENOTEMPTY" or code == "EEXIST")
      assert.are.same({ "taken" }, fs.list(dir))
      err = select(2, fs.write(at "no/such/file", "x", { atomic = true }))
      assert.are.equal(("open %s: No such file or directory"):format(at "no/such/file"), err)
    end)

    it("name the path and the reason of a failure", function()
      local bytes, err, code = fs.read(at "missing")
      assert.is_nil(bytes)
      assert.are.equal("ENOENT", code)
      assert.are.equal(("open %s: No such file or directory"):format(at "missing"), err)
    end)

    it("report a full disk", function()
      local ok, err, code = fs.write("/dev/full", "x")
      assert.is_nil(ok)
      assert.are.equal("ENOSPC", code)
      assert.truthy(err:find("/dev/full", 1, true))
    end)

    it("never put a file in the place of a pipe or a device", function()
      assert(require("perilune.process").run { "mkfifo", at "pipe" })
      assert.is_nil((fs.write(at "pipe", "x", { atomic = true })))
      assert.are.equal("other", fs.stat(at "pipe").type)
    end)

    it("refuse options that do not exist, and paths with zero bytes", function()
      assert.has_error(function() fs.write(at "x", "", { atomc = true }) end,
        "fs.write: unknown option atomc; did you mean atomic?")
      assert.has_error(function() fs.read "a\0b" end)
    end)
  end)

  describe("an open file", function()
    it("reads by count, line and to the end", function()
      assert(fs.write(at "file", "first\n\nthird line\nrest\nof it"))
      local file = assert(fs.open(at "file"))
      assert.are.equal("fi", file:read(2))
      assert.are.equal("rst", file:read())
      assert.are.equal("\n", file:read "L")
      assert.are.equal("third line", file:read "l")
      assert.are.equal("rest\nof it", file:read "a")
      assert.is_nil(file:read())
      assert.is_nil(file:read(1))
      assert.are.equal("", file:read "a")
      assert.is_true(file:close())
      assert.has_error(function() file:read(1) end, "the file is closed")
    end)

    it("iterates over lines longer than its pieces", function()
      local lines = {}
      for i = 1, 300 do
        lines[i] = ("x"):rep(i * 7)
      end
      lines[#lines + 1] = ("y"):rep(200000)
      assert(fs.write(at "file", table.concat(lines, "\n")))
      local seen = {}
      for line in assert(fs.open(at "file")):lines() do
        seen[#seen + 1] = line
      end
      assert.are.same(lines, seen)
    end)

    it("writes where it reads, seeks and syncs", function()
      local file = assert(fs.open(at "file", "w+"))
      assert(file:write "one\ntwo\nthree\n")
      assert.are.equal(0, file:seek("set", 0))
      assert.are.equal("one", file:read())
      assert(file:write "TWO") -- behind what was taken, not behind what was read ahead
      assert.are.equal(7, file:seek())
      assert.are.equal(14, file:seek "end")
      assert(file:sync())
      assert(file:close())
      assert.are.equal("one\nTWO\nthree\n", fs.read(at "file"))
    end)

    it("appends, and refuses to replace with wx", function()
      assert(fs.write(at "file", "1"))
      local file = assert(fs.open(at "file", "a"))
      assert(file:write "2")
      assert(file:close())
      assert.are.equal("12", fs.read(at "file"))
      local _, _, code = fs.open(at "file", "wx")
      assert.are.equal("EEXIST", code)
      assert.has_error(function() fs.open(at "file", "q") end, "fs.open: unknown mode q")
    end)

    it("survives a fiber that is cancelled while it reads", function()
      local reader = fiber.spawn(function()
        local file <close> = setmetatable({ file = assert(fs.open "/dev/zero") },
          { __close = function() end })
        while true do
          file.file:read(1 << 20)
        end
      end)
      fiber.sleep(0.02)
      reader:cancel()
      collectgarbage()
      fiber.sleep(0.02)
      collectgarbage()
      assert.are.equal("cancelled", reader:status())
    end)
  end)

  describe("directories", function()
    it("are listed in order, created with parents, removed with contents", function()
      assert(fs.mkdir(at "a/b/c", { parents = true }))
      assert(fs.mkdir(at "a/b/c", { parents = true }))
      for _, name in ipairs { "z", "B", "a" } do
        assert(fs.write(at("a/" .. name), ""))
      end
      assert.are.same({ "B", "a", "b", "z" }, fs.list(at "a"))
      assert.are.equal("ENOTEMPTY", select(3, fs.remove(at "a")))
      assert(fs.remove(at "a", { recursive = true }))
      assert.is_false(fs.exists(at "a"))
      assert.are.equal("ENOENT", select(3, fs.remove(at "a", { recursive = true })))
    end)

    it("do not hide a file in the way", function()
      assert(fs.write(at "file", ""))
      assert.are.equal("EEXIST", select(3, fs.mkdir(at "file", { parents = true })))
      assert.are.equal("ENOTDIR", select(3, fs.mkdir(at "file/below", { parents = true })))
      assert.are.equal("ENOENT", select(3, fs.mkdir(at "no/parent")))
    end)

    it("are renamed, resolved and described", function()
      assert(fs.mkdir(at "old"))
      assert(fs.rename(at "old", at "new"))
      assert.are.equal(fs.real(dir) .. "/new", fs.real(at "new/../new"))
      local stat = assert(fs.stat(at "new"))
      assert.are.equal("directory", stat.type)
      assert.truthy(math.abs(stat.modified - os.time()) < 60)
      assert.truthy(fs.cwd():sub(1, 1) == "/")
    end)

    it("are removed without following links", function()
      assert(fs.mkdir(at "kept"))
      assert(fs.write(at "kept/file", ""))
      assert(fs.mkdir(at "gone"))
      assert.are.equal(0, require "perilune.process".run { "ln", "-s", "../kept", at "gone/link" }.status)
      assert.are.equal("link", fs.stat(at "gone/link", { links = true }).type)
      assert.are.equal("directory", fs.stat(at "gone/link").type)
      assert(fs.remove(at "gone", { recursive = true }))
      assert.is_true(fs.exists(at "kept/file"))
    end)
  end)

  describe("glob", function()
    before_each(function()
      for _, path in ipairs { "x/1.txt", "x/2.txt", "x/3.lua", "x/.hidden.txt", "y/1.txt", "y/a+b", "y/*" } do
        assert(fs.mkdir(at(path:match "^[^/]+"), { parents = true }))
        assert(fs.write(at(path), ""))
      end
    end)

    local function found(pattern)
      local names = fs.glob(at(pattern))
      for index, path in ipairs(names) do
        names[index] = path:sub(#dir + 2)
      end
      return names
    end

    it("matches *, ? and classes, component by component, sorted", function()
      assert.are.same({ "x/1.txt", "x/2.txt", "y/1.txt" }, found "*/*.txt")
      assert.are.same({ "x/1.txt", "x/2.txt" }, found "x/?.txt")
      assert.are.same({ "x/2.txt" }, found "x/[2-9].txt")
      assert.are.same({ "x/2.txt" }, found "x/[!1].txt")
      assert.are.same({}, found "x/*.none")
      assert.are.same({}, found "none/*")
    end)

    it("takes other characters as they are", function()
      assert.are.same({ "y/a+b" }, found "y/a+?")
      assert.are.same({ "y/*" }, found "y/\\*")
      assert.are.same({ "x/3.lua" }, found "x/3.lua")
      assert.are.same({}, found "x/3xlua")
    end)

    it("shows hidden names only when asked", function()
      assert.are.same({ "x/.hidden.txt" }, found "x/.*.txt")
    end)
  end)
end)
