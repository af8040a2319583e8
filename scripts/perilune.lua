-- perilune.lua - shows Perilune's packets in Wireshark and tshark.
--
--   tshark -X lua_script:scripts/perilune.lua -i lo -Y perilune
--   tshark -X lua_script:scripts/perilune.lua -r FILE -Y 'perilune.kind == "CALL"'
--   wireshark -X lua_script:scripts/perilune.lua
--
-- Works on any TCP port: a frame with a message of a known version and kind is ours. runtime/wire/frame.h and
-- message.h say how the bytes lie; KINDS is runtime/wire/messages.def (tests/spec/scripts/perilune_spec.lua
-- compares them). Every field is a filter: perilune.<kind>.<field>. Answers know the packet of their call and
-- the time since. Wireshark has a Lua of its own (5.2, in newer ones 5.4): this file keeps to what both know.
-- luacheck: globals Proto ProtoField ProtoExpert Field DissectorTable UInt64 base expert dissect_tcp_pdus
local VERSION = 3
local FLAG_LAST = 1
local FRAME_HEADER, MESSAGE_HEADER = 8, 16
local BURST, LENGTH = 0x80000000, 2 -- the highest bit of a size; bytes of a message's length in a burst
local AGAIN = 0x80 -- first byte of a message that is the one before in the burst, but for id and last field
local MESSAGE_MAX = 64 * 1024 * 1024

local KINDS = {
  { 1, "HELLO", {
    { "UINT", "version_min" }, { "UINT", "version_max" }, { "TEXT", "cluster" }, { "TEXT", "node" },
    { "UINT", "incarnation" }, { "UINT", "body_max" }, { "UINT", "ping_ms" }, { "BYTES", "nonce" },
  } },
  { 2, "CHALLENGE", { { "UINT", "version" }, { "BYTES", "nonce" } } },
  { 3, "PROOF", { { "BYTES", "mac" } } },
  { 4, "WELCOME", {
    { "TEXT", "cluster" }, { "TEXT", "node" }, { "UINT", "incarnation" }, { "UINT", "body_max" },
    { "UINT", "inflight_max" }, { "BYTES", "mac" },
  } },
  { 5, "REFUSE", { { "TEXT", "code" }, { "TEXT", "message" } } },
  { 6, "CALL", { { "TEXT", "name" }, { "VALUE", "args" } } },
  { 7, "CAST", { { "TEXT", "name" }, { "VALUE", "args" } } },
  { 8, "REPLY", { { "VALUE", "values" } } },
  { 9, "ERROR", {
    { "TEXT", "code" }, { "TEXT", "message" }, { "BOOL", "retryable" }, { "TEXT", "traceback" },
  } },
  { 10, "CANCEL", { { "TEXT", "reason" } } },
  { 11, "CHUNK", {
    { "UINT", "transfer" }, { "UINT", "total" }, { "UINT", "offset" }, { "BYTES", "bytes" },
  } },
  { 12, "ITEM", { { "UINT", "number" }, { "VALUE", "values" } } },
  { 13, "END", { { "UINT", "items" } } },
  { 14, "CREDIT", { { "UINT", "items" } } },
  { 15, "PING", { { "UINT", "sent_us" } } },
  { 16, "PONG", { { "UINT", "sent_us" } } },
  { 17, "GOODBYE", { { "TEXT", "reason" } } },
}

if not rawget(_G, "Proto") then -- outside of Wireshark: for the test
  return { version = VERSION, kinds = KINDS }
end

-- ---- MessagePack: each function returns what it read and the offset behind it, or raises ----

local DEPTH_MAX, TEXT_MAX, ITEMS_MAX = 20, 200, 20
local NAMED = { [0xc0] = "nil", [0xc2] = "false", [0xc3] = "true" }
local WIDTHS = { -- of the number behind type bytes c4..df; the type's letter
  [0xc4] = { 1, "b" }, [0xc5] = { 2, "b" }, [0xc6] = { 4, "b" }, [0xca] = { 4, "f" }, [0xcb] = { 8, "f" },
  [0xcc] = { 1, "u" }, [0xcd] = { 2, "u" }, [0xce] = { 4, "u" }, [0xcf] = { 8, "u" },
  [0xd0] = { 1, "i" }, [0xd1] = { 2, "i" }, [0xd2] = { 4, "i" }, [0xd3] = { 8, "i" },
  [0xd9] = { 1, "s" }, [0xda] = { 2, "s" }, [0xdb] = { 4, "s" },
  [0xdc] = { 2, "a" }, [0xdd] = { 4, "a" }, [0xde] = { 2, "m" }, [0xdf] = { 4, "m" },
}

local function need(tvb, at, size)
  if size > tvb:len() - at then
    error("the value is longer than the message", 0)
  end
end

local function read_number(tvb, at, width, letter)
  local range = tvb(at, width)
  if letter == "f" then
    return range:float()
  elseif letter == "i" then
    return width == 8 and range:int64() or range:int()
  end
  return width == 8 and range:uint64() or range:uint()
end

-- Letter, number, offset behind both.
local function read_head(tvb, at)
  need(tvb, at, 1)
  local byte = tvb(at, 1):uint()
  at = at + 1
  if byte < 0x80 then
    return "u", byte, at
  elseif byte < 0x90 then
    return "m", byte - 0x80, at
  elseif byte < 0xa0 then
    return "a", byte - 0x90, at
  elseif byte < 0xc0 then
    return "s", byte - 0xa0, at
  elseif byte >= 0xe0 then
    return "i", byte - 0x100, at
  elseif NAMED[byte] then
    return "n", NAMED[byte], at
  elseif not WIDTHS[byte] then
    error(("type byte %02x"):format(byte), 0)
  end
  local width, letter = WIDTHS[byte][1], WIDTHS[byte][2]
  need(tvb, at, width)
  return letter, read_number(tvb, at, width, letter), at + width
end

local function printable(tvb, at, size)
  if size == 0 then
    return ""
  end
  local text = tvb(at, math.min(size, TEXT_MAX)):raw()
  text = text:gsub("[%c\\\"\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return size > TEXT_MAX and text .. "..." or text
end

local read_value

local function read_items(tvb, at, count, is_map, depth)
  local parts = {}
  for i = 1, count do
    local key, value
    if is_map then
      key, at = read_value(tvb, at, depth + 1)
    end
    value, at = read_value(tvb, at, depth + 1)
    if i <= ITEMS_MAX then
      parts[i] = is_map and ("[%s]=%s"):format(key, value) or value
    elseif i == ITEMS_MAX + 1 then
      parts[i] = "..."
    end
  end
  return "{" .. table.concat(parts, ", ") .. "}", at
end

-- A value as Lua would write it, cut where it is long.
function read_value(tvb, at, depth)
  if depth > DEPTH_MAX then
    error("nested too deep", 0)
  end
  local letter, number, behind = read_head(tvb, at)
  if letter == "s" or letter == "b" then
    need(tvb, behind, number)
    return '"' .. printable(tvb, behind, number) .. '"', behind + number
  elseif letter == "a" or letter == "m" then
    need(tvb, behind, number) -- an item has a byte at least
    return read_items(tvb, behind, number, letter == "m", depth)
  end
  return tostring(number), behind
end

-- ---- the protocol ----

local perilune = Proto("perilune", "Perilune")
local fields = {
  size = ProtoField.uint32("perilune.size", "Size"),
  burst = ProtoField.bool("perilune.burst", "Several messages"),
  length = ProtoField.uint16("perilune.length", "Length"),
  checksum = ProtoField.uint32("perilune.checksum", "Checksum (XXH3-64, low half)", base.HEX),
  version = ProtoField.uint8("perilune.version", "Version"),
  kind = ProtoField.string("perilune.kind", "Kind"),
  flags = ProtoField.uint16("perilune.flags", "Flags", base.HEX),
  last = ProtoField.bool("perilune.flags.last", "Last"),
  budget_ms = ProtoField.uint32("perilune.budget_ms", "Time left, ms"),
  id = ProtoField.uint64("perilune.id", "Id"),
  call_frame = ProtoField.framenum("perilune.call_frame", "Call in"),
  took = ProtoField.double("perilune.took_ms", "Time since the call, ms"),
}
local malformed = ProtoExpert.new("perilune.malformed", "Malformed message", expert.group.MALFORMED,
  expert.severity.ERROR)
local by_number, all = {}, {}

for _, kind in ipairs(KINDS) do
  local entry = { name = kind[2], fields = {} }
  for i, field in ipairs(kind[3]) do
    local name = ("perilune.%s.%s"):format(kind[2]:lower(), field[2])
    local make = field[1] == "UINT" and ProtoField.uint64 or field[1] == "BOOL" and ProtoField.bool
      or field[1] == "BYTES" and ProtoField.bytes or ProtoField.string
    entry.fields[i] = { type = field[1], name = field[2], field = make(name, field[2]) }
    all[#all + 1] = entry.fields[i].field
  end
  by_number[kind[1]] = entry
end
for _, field in pairs(fields) do
  all[#all + 1] = field
end
perilune.fields = all
perilune.experts = { malformed }

local function integer(number)
  return type(number) == "number" and UInt64(number % 4294967296, math.floor(number / 4294967296)) or number
end

-- Adds a field to the tree; returns how the line shows it and the offset behind.
local function add_field(tvb, at, field, tree)
  if field.type == "VALUE" then
    local text, behind = read_value(tvb, at, 0)
    tree:add(field.field, tvb(at, behind - at), text)
    return text, behind
  end
  local letter, number, behind = read_head(tvb, at)
  if field.type == "UINT" and letter == "u" then
    tree:add(field.field, tvb(at, behind - at), integer(number))
    return tostring(number), behind
  elseif field.type == "BOOL" and (number == "true" or number == "false") then
    tree:add(field.field, tvb(at, behind - at), number == "true")
    return number, behind
  elseif (letter == "s" or letter == "b") and field.type ~= "UINT" and field.type ~= "BOOL" then
    need(tvb, behind, number)
    if field.type == "BYTES" then
      if number > 0 then
        tree:add(field.field, tvb(behind, number))
      end
      return ("%dB"):format(number), behind + number
    end
    local text = printable(tvb, behind, number)
    tree:add(field.field, tvb(at, behind + number - at), text)
    return text, behind + number
  end
  error(("%s is no %s"):format(field.name, field.type), 0)
end

-- The fields from number first on.
local function add_fields(tvb, behind, kind, first, tree, shown)
  for i = first, #kind.fields do
    local text, next_field = add_field(tvb, behind, kind.fields[i], tree)
    shown[#shown + 1] = kind.fields[i].name .. "=" .. text
    behind = next_field
  end
  if behind ~= tvb:len() then
    error("bytes behind the fields", 0)
  end
end

local function add_body(tvb, kind, tree, shown)
  local letter, count, behind = read_head(tvb, MESSAGE_HEADER)
  if letter ~= "a" or count ~= #kind.fields then
    error(("the body is no array of %d fields"):format(#kind.fields), 0)
  end
  add_fields(tvb, behind, kind, 1, tree, shown)
end

-- ---- which answer belongs to which call ----

local stream_of = Field.new "tcp.stream"
local CAN_BE_AGAIN = { CALL = true, CAST = true, REPLY = true }
local IS_QUESTION = { CALL = true, PING = true }
local IS_ANSWER = { REPLY = true, ERROR = true, PONG = true, ITEM = true, END = true }
local calls = {} -- "stream/id" -> { frame, time }
local answers = {} -- "frame/id" -> the call

function perilune.init()
  calls, answers = {}, {}
end

local function relate(pinfo, kind, id, tree)
  local stream = stream_of()
  local key = ("%s/%s"):format(stream and stream.value or 0, id)
  local own = ("%d/%s"):format(pinfo.number, id)
  if not pinfo.visited and IS_QUESTION[kind.name] then
    calls[key] = { pinfo.number, pinfo.abs_ts }
  elseif not pinfo.visited and IS_ANSWER[kind.name] then
    answers[own] = calls[key]
  end
  local call = IS_ANSWER[kind.name] and answers[own]
  if call then
    tree:add(fields.call_frame, call[1]):set_generated()
    tree:add(fields.took, math.floor((pinfo.abs_ts - call[2]) * 1e6 + 0.5) / 1e3):set_generated()
  end
end

-- ---- frames ----

local function add_header(tvb, kind, tree)
  tree:add(fields.version, tvb(0, 1))
  tree:add(fields.kind, tvb(1, 1), kind and kind.name or "?")
  local flags = tree:add_le(fields.flags, tvb(2, 2))
  flags:add(fields.last, tvb(2, 1), tvb(2, 1):uint() % 2 == FLAG_LAST)
  tree:add_le(fields.budget_ms, tvb(4, 4))
  tree:add_le(fields.id, tvb(8, 8))
end

local function show_line(pinfo, shown)
  local line = table.concat(shown, " ")
  if tostring(pinfo.cols.info):find("^PERILUNE ") or pinfo.private.perilune == tostring(pinfo.number) then
    pinfo.cols.info:append("; " .. line)
  else
    pinfo.cols.info:set(line)
    pinfo.private.perilune = tostring(pinfo.number)
  end
end

-- shown is what the line begins with; add adds the fields to it and to the tree.
local function finish_message(tree, pinfo, kind, id, shown, add)
  if tostring(id) ~= "0" then
    table.insert(shown, 2, "id=" .. tostring(id))
  end
  local ok, why = pcall(add)
  if not ok then
    tree:add_proto_expert_info(malformed, tostring(why))
    shown[#shown + 1] = "[malformed: " .. tostring(why) .. "]"
  end
  tree:append_text(": " .. table.concat(shown, " "))
  relate(pinfo, kind, tostring(id), tree)
  show_line(pinfo, shown)
end

-- Returns what a message that follows in the burst has to know of this one.
local function dissect_full(tvb, pinfo, tree)
  if tvb:len() < MESSAGE_HEADER then
    tree:add_proto_expert_info(malformed, "shorter than a header")
    return nil
  end
  local kind, id = by_number[tvb(1, 1):uint()], tvb(8, 8):le_uint64()
  add_header(tvb, kind, tree)
  if tvb(0, 1):uint() ~= VERSION or not kind then
    tree:add_proto_expert_info(malformed, "another version, or no kind of ours")
    return nil
  end
  local budget, shown = tvb(4, 4):le_uint(), { kind.name }
  if budget > 0 then
    shown[2] = "budget=" .. budget
  end
  finish_message(tree, pinfo, kind, id, shown, function()
    add_body(tvb, kind, tree, shown)
  end)
  return { kind = kind, id = id, shown = shown, head = #shown - 1 }
end

-- The message before, with another id and another last field.
local function dissect_again(tvb, pinfo, tree, before)
  if not before or not CAN_BE_AGAIN[before.kind.name] then
    tree:add_proto_expert_info(malformed, "the message before cannot be said again")
    return nil
  end
  local kind, id = before.kind, before.id + UInt64(1)
  local shown = { kind.name }
  for i = 2, before.head do -- without its last field, and its id, which comes second
    if not before.shown[i]:find "^id=" then
      shown[#shown + 1] = before.shown[i]
    end
  end
  tree:add(fields.kind, tvb(0, 1), kind.name):set_generated()
  tree:add(fields.id, tvb(0, 1), id):set_generated()
  finish_message(tree, pinfo, kind, id, shown, function()
    add_fields(tvb, 1, kind, #kind.fields, tree, shown)
  end)
  return { kind = kind, id = id, shown = shown, head = #shown - 1 }
end

local function dissect_message(tvb, pinfo, tree, before)
  if tvb(0, 1):uint() == AGAIN then
    return dissect_again(tvb, pinfo, tree, before)
  end
  return dissect_full(tvb, pinfo, tree)
end

-- Each message of a burst is a tree of its own.
local function dissect_burst(tvb, pinfo, tree)
  local at, before = FRAME_HEADER, nil
  while at < tvb:len() do
    local left = tvb:len() - at - LENGTH
    local size = left > 0 and tvb(at, LENGTH):le_uint() or 0
    if size == 0 or size > left then
      tree:add_proto_expert_info(malformed, "a length that the burst does not have")
      return
    end
    local message = tree:add(perilune, tvb(at, LENGTH + size), "Message")
    message:add_le(fields.length, tvb(at, LENGTH))
    before = dissect_message(tvb(at + LENGTH, size):tvb(), pinfo, message, before)
    at = at + LENGTH + size
  end
end

-- What size says without its highest bit, and whether that is set.
local function split_size(tvb, at)
  local size = tvb(at, 4):le_uint()
  return size % BURST, size >= BURST
end

local function dissect_frame(tvb, pinfo, root)
  local tree = root:add(perilune, tvb())
  pinfo.cols.protocol:set "Perilune"
  if tvb:len() <= FRAME_HEADER then
    tree:add_proto_expert_info(malformed, "shorter than a header")
    return tvb:len()
  end
  local size, is_burst = split_size(tvb, 0)
  tree:add(fields.size, tvb(0, 4), size)
  tree:add(fields.burst, tvb(3, 1), is_burst)
  tree:add_le(fields.checksum, tvb(4, 4))
  if is_burst then
    dissect_burst(tvb, pinfo, tree)
  else
    dissect_message(tvb(FRAME_HEADER):tvb(), pinfo, tree)
  end
  return tvb:len()
end

-- A size beyond all limits is not waited for.
local function frame_size(tvb, _, offset)
  local size = split_size(tvb, offset)
  return size <= MESSAGE_MAX and FRAME_HEADER + size or tvb:len() - offset
end

function perilune.dissector(tvb, _, root)
  dissect_tcp_pdus(tvb, root, 4, frame_size, dissect_frame)
  return tvb:len()
end

local function is_ours(tvb)
  if tvb:len() < FRAME_HEADER + LENGTH + MESSAGE_HEADER then
    return false
  end
  local size, is_burst = split_size(tvb, 0)
  local at = is_burst and FRAME_HEADER + LENGTH or FRAME_HEADER
  return size > MESSAGE_HEADER and size <= MESSAGE_MAX and tvb(at, 1):uint() == VERSION
    and by_number[tvb(at + 1, 1):uint()] ~= nil
end

perilune:register_heuristic("tcp", function(tvb, pinfo, root)
  if not is_ours(tvb) then
    return false
  end
  pinfo.conversation = perilune
  perilune.dissector(tvb, pinfo, root)
  return true
end)
DissectorTable.get("tcp.port"):add(7100, perilune)
