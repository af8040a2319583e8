--- Groups of three processes whose disks fail, stall and fill up for real: nothing that was acknowledged is
--- lost, others take over, and the node that failed says why.
local binary = require "support.binary"
local cluster_of = require "tests.live.cluster"
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local new_folder = require "support.folder"
local process = require "perilune.process"

local BAD_DISK = binary.path:match "^(.*)/[^/]*$" .. "/tests/bad_disk.so"
local RELEASE = "build/release/perilune"
local ELECTION_MAX = 1.0 -- seconds: twice the option

-- Nodes start with a library preloaded that the sanitizer's does not stand before.
local ENV = { ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0" }

-- Why a command cannot be used, or nil.
local function lacks(...)
  local result, err = process.run { env = ENV, ... }
  return not result and err or result.status ~= 0 and result.stderr:match "[^\n]*" or nil
end

-- What a program was built from; nil when it is not there.
local function commit_of(program)
  local result = process.run { program, "version" }
  return result and result.stdout:match "%((%x+)"
end

describe("groups on disks", function()
  local cluster, mounted

  after_each(function() -- before the folder goes
    cluster:close()
    if mounted then
      assert.is_nil(lacks("umount", mounted))
      mounted = nil
    end
  end)
  local folder = new_folder(before_each, after_each)

  before_each(function()
    cluster = cluster_of.new(folder.path, {
      binary = binary.path,
      env = {
        ELECTION = ("%dms"):format(500 * ELECTION_MAX), HEARTBEAT = "100ms",
        ASAN_OPTIONS = ENV.ASAN_OPTIONS,
      },
    })
  end)

  local function start_all(prefix_of, env_of)
    for id in ipairs(cluster.replicas) do
      cluster:start(id, prefix_of and prefix_of(id), env_of and env_of(id))
    end
    local leader = cluster:await_leader()
    cluster:start_clients(3)
    assert(cluster_of.wait(function() return cluster.acknowledged_count > 20 end))
    return leader
  end

  -- Clients go on, without the node.
  local function work_on(but)
    assert.are_not.equal(but, cluster:await_leader(but))
    local before = cluster.acknowledged_count
    assert(cluster_of.wait(function() return cluster.acknowledged_count > before + 20 end))
  end

  local function come_back(id)
    cluster:stop_clients()
    cluster:kill(id)
    cluster:start(id)
    cluster:judge()
    assert.are.same({}, cluster.problems)
  end

  local function env_of(id)
    return { LD_PRELOAD = BAD_DISK, BAD_DISK = folder:at("bad" .. id) }
  end

  local function lacks_bad_disk()
    if not fs.exists(BAD_DISK) then
      pending("there is no " .. BAD_DISK .. ": build the tests first")
      return true
    end
  end

  -- The leader's syncs fail from now on.
  local function is_fenced_by_eio(leader)
    local replica = cluster.replicas[leader]
    assert(cluster_of.wait(function() return replica.fenced end))
    assert.are.equal("EIO", replica.fenced)
    local failed = ("the disk of node %d failed %%(Input/output error%%)"):format(leader)
    local result, err, code, certainty = replica.peer:call("write", "a", 1)
    assert.are.same({ nil, "EFENCED", "never" }, { result, code, certainty })
    assert.matches(failed, err)
    assert.matches(failed, table.concat(replica.log, "\n"))
    work_on(leader)
    come_back(leader)
  end

  it("fences a node whose sync fails, and goes on without it", function()
    if lacks_bad_disk() then
      return
    end
    local leader = start_all(nil, env_of)
    folder:write("bad" .. leader, "5")
    is_fenced_by_eio(leader)
  end)

  it("does the same under libfiu", function()
    local why = lacks("fiu-run", "-x", binary.path, "version")
    local is_same = commit_of(RELEASE) == commit_of(binary.path)
    if why and is_same and not lacks("fiu-run", "-x", RELEASE, "version") then
      cluster.binary = RELEASE -- libfiu does not go with sanitizers
    elseif why then
      pending("no libfiu (package fiu-utils), or not with this program's sanitizers: " .. why)
      return
    end
    local control = folder:at "fiu"
    local leader = start_all(function() return { "fiu-run", "-x", "-f", control } end)
    assert.is_nil(lacks("fiu-ctrl", "-f", control, "-c", "enable name=posix/io/sync/fdatasync,failinfo=5",
      tostring(cluster.replicas[leader].child:pid())))
    is_fenced_by_eio(leader)
  end)

  it("moves leadership away from a disk that stalls, within two election timeouts", function()
    if lacks_bad_disk() then
      return
    end
    local leader = start_all(nil, env_of)
    local before = fiber.now()
    folder:write("bad" .. leader, "")
    local other = cluster:await_leader(leader)
    local took = fiber.now() - before
    assert.is_true(took <= 2 * ELECTION_MAX, ("node %d leads after %.2f s"):format(other, took))
    work_on(leader)
    assert(fs.remove(folder:at("bad" .. leader)))
    cluster:stop_clients()
    cluster:judge()
    assert.are.same({}, cluster.problems)
    assert.is_nil(cluster.replicas[leader].fenced)
  end)

  it("goes on without a node whose disk is full, which goes on once there is room", function()
    local id = 2
    local path = folder:at("n" .. id)
    assert(fs.mkdir(path))
    local why = lacks("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path)
    if why then
      pending("no small file system can be mounted: " .. why)
      return
    end
    mounted = path
    start_all()
    local replica, body = cluster.replicas[id], ("x"):rep(50000)
    local filler = fiber.spawn(function()
      for _ = 1, 600 do -- 30 MB
        local leader = cluster:leader()
        if leader then
          cluster.replicas[leader].peer:call("fill", body)
        end
      end
    end)
    assert(filler:join())
    assert.matches("the disk is full", table.concat(replica.log, "\n"))
    work_on(id)
    assert.is_nil(replica.fenced)
    assert.is_nil(lacks("mount", "-o", "remount,size=128m", path))
    local function applied(of)
      local status = cluster.replicas[of].peer:call "status"
      return status and status.applied_index or 0
    end
    local last = applied(cluster:leader())
    assert(cluster_of.wait(function() return applied(id) >= last end))
    assert.is_nil(replica.fenced)
    come_back(id)
  end)
end)
