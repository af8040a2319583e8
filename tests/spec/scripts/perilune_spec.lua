-- The dissector for Wireshark: its table is messages.def, and tshark reads packets with it.
local fs = require "perilune.fs"
local msgpack = require "perilune.msgpack"
local process = require "perilune.process"
local new_folder = require "support.folder"

-- "6 CALL TEXT name, VALUE args" for each kind of the dissector's.
local function lines_of(kinds)
  local lines = {}
  for i, kind in ipairs(kinds) do
    local fields = {}
    for j, field in ipairs(kind[3]) do
      fields[j] = table.concat(field, " ")
    end
    lines[i] = ("%d %s %s"):format(kind[1], kind[2], table.concat(fields, ", "))
  end
  return lines
end

-- The kinds that a .def file defines, in the shape of the dissector's KINDS.
local function kinds_of(def)
  local kinds, kind = {}, nil
  for line in def:gmatch "[^\n]+" do
    local name, number = line:match "^MESSAGE%((%u+), (%d+),"
    local type, field = line:match "^FIELD%((%u+), [%w_]+, ([%w_]+)%)"
    if name then
      kind = { tonumber(number), name, {} }
      kinds[#kinds + 1] = kind
    elseif type then
      kind[3][#kind[3] + 1] = { type, field }
    end
  end
  return kinds
end

-- ---- packets: a pcap file of IPv4 and TCP without a link layer ----

local function pcap(packets)
  local LINK_RAW = 101
  local parts = { ("<I4I2I2i4I4I4I4"):pack(0xa1b2c3d4, 2, 4, 0, 0, 65535, LINK_RAW) }
  for i, packet in ipairs(packets) do
    parts[#parts + 1] = ("<I4I4I4I4"):pack(1700000000, i * 1000, #packet, #packet) .. packet
  end
  return table.concat(parts)
end

local function tcp(from, to, sequence, payload)
  local PSH_ACK, LOOPBACK = 0x18, 0x7f000001
  local segment = (">I2I2I4I4I1I1I2I2I2"):pack(from, to, sequence, 1, 0x50, PSH_ACK, 65535, 0, 0) .. payload
  return (">I1I1I2I2I2I1I1I2I4I4"):pack(0x45, 0, 20 + #segment, 0, 0, 64, 6, 0, LOOPBACK, LOOPBACK) .. segment
end

-- The checksum is shown, not checked.
local function frame(message)
  return ("<s4"):pack(message):gsub("^....", "%0\1\2\3\4")
end

local function message(kind, flags, budget, id, body)
  return frame(("<I1I1I2I4I8"):pack(3, kind, flags, budget, id) .. body)
end

-- The messages of single frames, in one.
local function burst(...)
  local parts = {}
  for i, single in ipairs { ... } do
    parts[i] = ("<s2"):pack(single:sub(9))
  end
  local body = table.concat(parts)
  return ("<I4"):pack(#body | 0x80000000) .. "\1\2\3\4" .. body
end

local HELLO, CALL, REPLY, ERROR, PING = 1, 6, 8, 9, 15

describe("scripts/perilune.lua", function()
  local dissector

  setup(function()
    dissector = dofile "scripts/perilune.lua"
  end)

  it("knows exactly the messages of messages.def", function()
    local kinds = kinds_of(assert(fs.read "runtime/wire/messages.def"))
    assert.is_true(#kinds >= 17)
    assert.are.same(lines_of(kinds), lines_of(dissector.kinds))
  end)

  describe("in tshark", function()
    local folder = new_folder(before_each, after_each)

    -- What tshark prints of a file of packets, a line each.
    local function read(path, ...)
      local script = "lua_script:scripts/perilune.lua"
      local result, err = process.run { "tshark", "-X", script, "-r", path, ... }
      if not result then
        pending(err)
        return nil
      end
      assert.are.equal("", (result.stderr:gsub("Running as user[^\n]*\n", "")))
      local lines = {}
      for line in result.stdout:gmatch "[^\n]*" do
        lines[#lines + 1] = line ~= "" and line or nil
      end
      return lines
    end

    local function shown(packets, ...)
      return read(folder:write("packets.pcap", pcap(packets)), ...)
    end

    -- tests/data/rpc/session.lua, recorded.
    it("reads what our nodes said to each other", function()
      local recorded = "tests/data/rpc/session.pcap.gz"
      local lines = read(recorded, "-Y", "perilune", "-T", "fields", "-e", "perilune.kind")
      if not lines then
        return
      end
      local pings = {}
      for i = #lines, 1, -1 do
        if lines[i] == "PING" or lines[i] == "PONG" then
          table.insert(pings, 1, table.remove(lines, i))
        end
      end
      assert.are.same({ "PING", "PONG", "PING", "PONG" }, pings)
      assert.are.same({
        "HELLO", "CHALLENGE", "PROOF", "WELCOME",
        "CALL", "REPLY", "CALL", "ERROR", "CALL", "ERROR",
        "CAST,CALL", "ITEM,ITEM,ITEM,END",
        "CHUNK", "CHUNK", "CHUNK", "CHUNK", "CHUNK", "CHUNK", "CHUNK", "GOODBYE", "GOODBYE",
      }, lines)
      assert.are.same({}, read(recorded, "-Y", "perilune.malformed"))
      assert.are.same({ "no_such_function" }, read(recorded,
        "-Y", "perilune.id == 3 && perilune.call.name", "-T", "fields", "-e", "perilune.call.name"))
    end)

    local function session()
      local call = message(CALL, 0, 1000, 7, msgpack.encode { "echo", { 1, "two", { x = 2.5 } } })
      local nonce = ("n"):rep(32)
      local hello = message(HELLO, 0, 0, 0, msgpack.encode { 2, 2, "c", "n1", 3, 16777216, 1000, nonce })
      local reply = message(REPLY, 0, 0, 7, msgpack.encode { { "ok", -1, math.mininteger } })
      local late = message(ERROR, 0, 0, 8, msgpack.encode { "EDEADLINE", "too\nlate", true, "" })
      return {
        tcp(40000, 7100, 1, hello .. call:sub(1, 10)),
        tcp(40000, 7100, 1 + #hello + 10, call:sub(11)),
        tcp(7100, 40000, 1, reply .. late),
        tcp(40000, 7100, 1 + #hello + #call, message(PING, 1, 0, 0, "\x91\xff")),
      }
    end

    it("prints a line for each message", function()
      local lines = shown(session(), "-T", "fields", "-e", "_ws.col.Info")
      if lines then
        assert.are.same({
          "HELLO version_min=2 version_max=2 cluster=c node=n1 incarnation=3 body_max=16777216 ping_ms=1000 "
            .. "nonce=32B",
          'CALL id=7 budget=1000 name=echo args={1, "two", {["x"]=2.5}}',
          'REPLY id=7 values={"ok", -1, -9223372036854775808}; '
            .. "ERROR id=8 code=EDEADLINE message=too\\x0alate retryable=true traceback=",
          "PING [malformed: sent_us is no UINT]",
        }, lines)
      end
    end)

    it("reads bursts of messages", function()
      local call = message(CALL, 0, 1000, 7, msgpack.encode { "echo", { 1 } })
      local reply = message(REPLY, 0, 0, 7, msgpack.encode { { "ok" } })
      local ping = message(PING, 0, 0, 0, "\x91\x01")
      local broken = burst(ping, ping):gsub("^(....)....(.).", "%1\1\2\3\4%2\1")
      local packets = {
        tcp(40000, 7100, 1, burst(call, ping)),
        tcp(7100, 40000, 1, burst(reply, ping) .. reply),
        tcp(40000, 7100, 1 + #burst(call, ping), broken),
      }
      local lines = shown(packets, "-T", "fields", "-e", "_ws.col.Info", "-e", "perilune.took_ms")
      if lines then
        assert.are.same({
          "CALL id=7 budget=1000 name=echo args={1}; PING sent_us=1\t",
          'REPLY id=7 values={"ok"}; PING sent_us=1; REPLY id=7 values={"ok"}\t1,1',
        }, { lines[1], lines[2] })
        assert.are.same({ "3" }, shown(packets, "-Y", "perilune.malformed", "-T", "fields", "-e",
          "frame.number"))
      end
    end)

    it("reads messages that are said again", function()
      local call = message(CALL, 0, 1000, 7, msgpack.encode { "echo", { 1 } })
      local reply = message(REPLY, 0, 0, 7, msgpack.encode { { 1 } })
      local function again(value)
        return (frame("\x80" .. msgpack.encode(value)))
      end
      local calls = burst(call, again { 2 }, again { "three" })
      local packets = {
        tcp(40000, 7100, 1, calls),
        tcp(7100, 40000, 1, burst(reply, again { 2 }, again { "three" })),
        tcp(40000, 7100, 1 + #calls, burst(again { 1 }, call)),
      }
      local lines = shown(packets, "-T", "fields", "-e", "_ws.col.Info", "-e", "perilune.id", "-e",
        "perilune.call_frame")
      if lines then
        assert.are.same({
          "CALL id=7 budget=1000 name=echo args={1}; CALL id=8 budget=1000 name=echo args={2}; "
            .. 'CALL id=9 budget=1000 name=echo args={"three"}\t7,8,9\t',
          'REPLY id=7 values={1}; REPLY id=8 values={2}; REPLY id=9 values={"three"}\t7,8,9\t1,1,1',
        }, { lines[1], lines[2] })
        assert.are.same({ "3" }, shown(packets, "-Y", "perilune.malformed", "-T", "fields", "-e",
          "frame.number"))
      end
    end)

    it("makes filters of the fields, and knows the call of an answer", function()
      local lines = shown(session(), "-Y", 'perilune.kind == "REPLY"', "-T", "fields", "-e", "perilune.id",
        "-e", "perilune.call_frame", "-e", "perilune.took_ms", "-e", "perilune.error.retryable")
      if lines then
        assert.are.same({ "7,8\t2\t1\t1" }, lines)
      end
    end)

    it("finds connections on other ports by what they say", function()
      local ping = message(PING, 0, 0, 0, "\x91\x01")
      local others = tcp(43211, 43210, 1, "GET / HTTP/1.1\r\n\r\n")
      local lines = shown({ tcp(43210, 43211, 1, ping), others }, "-Y", "perilune", "-T", "fields",
        "-e", "perilune.ping.sent_us")
      if lines then
        assert.are.same({ "1" }, lines)
      end
    end)

    it("survives bytes that no Perilune sent", function()
      local packets, sequence = {}, 1
      for i = 1, 200 do
        local noise = {}
        for j = 1, i % 60 do
          noise[j] = string.char((i * 7919 + j * j * 104729) >> 3 & 0xff)
        end
        local bytes = message(i % 20, 0, 0, i, table.concat(noise))
        packets[i] = tcp(40000, 7100, sequence, bytes)
        sequence = sequence + #bytes
      end
      local lines = shown(packets, "-T", "fields", "-e", "perilune.id")
      if lines then
        assert.are.equal(200, #lines)
      end
    end)
  end)
end)
