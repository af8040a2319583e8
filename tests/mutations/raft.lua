-- Plants one bug at a time into a copy of runtime/raft and asks whether the net notices: random schedules
-- (tests/soak/raft.c), hostile events (tests/unit/test_raft_hostile.c), traces. A bug that nobody notices is
-- a hole in the net. Not planted: what two guards hold off, such as a lease that both sides keep.
-- Usage: lua5.4 tests/mutations/raft.lua [--search N] [NAME...]     (prints TAP)
-- Each bug must be found as tests/mutations/raft.found says. With --search the schedules of seeds 1..N look
-- for it, then the others, and raft.found is written anew for the bugs named.

local BUGS = dofile "tests/mutations/raft_bugs.lua"
local FOUND = "tests/mutations/raft.found"
local OUT = "build/mutations"
local FLAGS = "-std=c11 -D_GNU_SOURCE -O1 -g -w -Iruntime -Itests/unit/support"
local REST = "runtime/base/error.c runtime/base/assert.c runtime/base/buffer.c"
local MAINS = { seed = "tests/soak/raft.c", hostile = "tests/unit/test_raft_hostile.c",
  trace = "tests/unit/test_raft_trace.c" }
local SECONDS = 60 -- of virtual time, as scripts/soak raft
local HOSTILE = "2000" -- seeds of hostile events

local function run(command)
  return os.execute(command) == true
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function lines_of(command)
  local lines = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  pipe:close()
  return lines
end

--- Compiles what stays as it is; returns the objects by file, those of main programs apart.
local function compile_all()
  local objects, mains = {}, {}
  assert(run("mkdir -p " .. OUT))
  local function compile(path)
    local object = ("%s/%s.o"):format(OUT, path:gsub("[/.]", "_"))
    assert(run(("cc %s -c %s -o %s"):format(FLAGS, path, object)), "cannot compile " .. path)
    return object
  end
  for _, path in ipairs(lines_of "ls runtime/raft/*.c tests/unit/support/raft_*.c") do
    objects[path:match "([^/]+)$"] = compile(path)
  end
  for path in REST:gmatch "%S+" do
    objects[path:match "([^/]+)$"] = compile(path)
  end
  for name, path in pairs(MAINS) do
    mains[name] = compile(path)
  end
  return objects, mains
end

--- The text of a file with the bug in it, or nil and why not.
local function plant(bug)
  local text, what = read("runtime/raft/" .. bug[2]), bug[3]
  local from, to = text:find(what, 1, true)
  if not from then
    return nil, "the text to change is not there"
  elseif text:find(what, to + 1, true) then
    return nil, "the text to change is there twice"
  end
  return text:sub(1, from - 1) .. bug[4] .. text:sub(to + 1)
end

--- Links a program of this kind with the bug in it: its path, or nil and why not.
local function build(bug, kind, objects, mains)
  local text, why = plant(bug)
  if not text then
    return nil, why
  end
  write(OUT .. "/planted.c", text)
  local parts = {}
  for name, object in pairs(objects) do
    parts[#parts + 1] = name == bug[2] and OUT .. "/planted.c" or object
  end
  table.sort(parts)
  local program = ("%s/planted_%s"):format(OUT, kind)
  parts[#parts + 1] = mains[kind]
  if not run(("cc %s %s -lcmocka -o %s"):format(FLAGS, table.concat(parts, " "), program)) then
    return nil, "does not compile"
  end
  return program
end

--- What a program that failed says of where it did: the seed, or the trace.
local function place_of(kind, lines)
  for _, line in ipairs(lines) do
    if kind == "seed" and line:find "^seed %d+:" then
      return line:match "^seed (%d+)", line:match ": (.*)"
    elseif kind == "hostile" and (line:find "seed %d+, event" or line:find "assert") then
      return line:match "seed (%d+)" or HOSTILE, line:match "type %d+: (.*)" or line
    elseif kind == "trace" and line:find "^tests/data/raft/" then
      return line:match "raft/([%w_]+)%.trace", "differs"
    end
  end
end

--- Runs a planted program where it is known (hostile events: up to there), or over seeds 1..last: the place
--- and why, or nil.
local function try(program, kind, place, last)
  local arguments = ""
  if kind == "seed" then
    arguments = ("%d %d %d stop"):format(place or 1, place or last, SECONDS)
  elseif kind == "hostile" then
    arguments = "1 " .. (place or HOSTILE)
  end
  local at, why = place_of(kind, lines_of(("timeout 300 %s %s 2>&1"):format(program, arguments)))
  if at and (kind ~= "trace" or place == nil or place == at) then
    return at, why
  end
end

local function load_found()
  local found = {}
  for line in io.lines(FOUND) do
    local kind, place, name = line:match "^(%l+) (%S+) (.+)$"
    if kind then
      found[name] = { kind, place }
    end
  end
  return found
end

local function save_found(found)
  local lines = { "# How each bug of raft_bugs.lua is found, as --search wrote it.\n" }
  for _, bug in ipairs(BUGS) do
    local how = found[bug[1]]
    if how then
      lines[#lines + 1] = ("%s %s %s\n"):format(how[1], how[2], bug[1])
    end
  end
  write(FOUND, table.concat(lines))
end

local function check(bug, found, objects, mains)
  local how = found[bug[1]]
  if not how then
    return nil, "is not in raft.found: run with --search"
  end
  local program, why = build(bug, how[1], objects, mains)
  if not program then
    return nil, why
  end
  local place, said = try(program, how[1], how[2])
  if not place then
    return nil, ("%s %s finds it no longer: run with --search"):format(how[1], how[2])
  end
  return how[1] .. " " .. place, said
end

local function search(bug, found, last, objects, mains)
  for _, kind in ipairs { "seed", "hostile", "trace" } do
    local program, why = build(bug, kind, objects, mains)
    if not program then
      return nil, why
    end
    local place, said = try(program, kind, nil, last)
    if place then
      found[bug[1]] = { kind, place }
      return kind .. " " .. place, said
    end
  end
  found[bug[1]] = nil
  return nil, "nobody noticed"
end

local wanted, last = {}, nil
local at = 1
while arg[at] do
  if arg[at] == "--search" then
    last = math.tointeger(tonumber(arg[at + 1])) or error "--search wants a number of seeds"
    at = at + 1
  else
    wanted[arg[at]] = true
  end
  at = at + 1
end

local is_all = next(wanted) == nil
local objects, mains = compile_all()
local found, count, failures = load_found(), 0, 0
for _, bug in ipairs(BUGS) do
  if is_all or wanted[bug[1]] then
    local how, why
    if last then
      how, why = search(bug, found, last, objects, mains)
    else
      how, why = check(bug, found, objects, mains)
    end
    count = count + 1
    wanted[bug[1]] = nil
    print(("%s %d - %s"):format(how and "ok" or "not ok", count, bug[1]))
    print(("#   %s: %s"):format(how or "not found", why))
    io.stdout:flush()
    failures = failures + (how and 0 or 1)
  end
end
for name in pairs(wanted) do
  error("no bug is called '" .. name .. "'")
end
if last then
  save_found(found)
end
print("1.." .. count)
os.exit(failures == 0)
