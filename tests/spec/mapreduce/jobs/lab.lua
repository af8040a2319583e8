-- The applications of MIT's MapReduce lab (6.824, "mrapps"), in one file: --arg app=NAME --arg dir=DIR. They
-- leave marker files and sleep, so they run with --trusted. Times are a fifth of the lab's.
local args = ...

local function sleep(seconds)
  os.execute(("sleep %.3f"):format(seconds))
end

local function pid()
  local file = assert(io.open "/proc/self/stat")
  local number = file:read "n"
  file:close()
  return math.tointeger(number)
end

local function is_alive(process)
  local file = io.open(("/proc/%s/stat"):format(process))
  return file ~= nil and file:close()
end

-- A random number that differs between attempts: math.random is seeded by the task.
local function random(below)
  local file = assert(io.open("/dev/urandom", "rb"))
  local number = ("<I4"):unpack(file:read(4))
  file:close()
  return number % below
end

local function touch(path)
  assert(io.open(path, "w")):close()
end

local function markers(pattern)
  local names = {}
  local pipe = assert(io.popen(("ls %s"):format(args.dir)))
  for name in pipe:lines() do
    names[#names + 1] = name:match(pattern)
  end
  pipe:close()
  return names
end

-- How many live processes are at work at this moment, this one included.
local function parallel(phase)
  local marker = ("%s/mr-worker-%s-%d"):format(args.dir, phase, pid())
  touch(marker)
  sleep(0.1)
  local count = 0
  for _, process in ipairs(markers("^mr%-worker%-" .. phase .. "%-(%d+)$")) do
    count = count + (is_alive(process) and 1 or 0)
  end
  sleep(0.2)
  os.remove(marker)
  return count
end

local function name_of(rec)
  return rec:key():match("[^/]*$")
end

local function joined(key, values, out)
  local list = values:array()
  for i, value in ipairs(list) do
    list[i] = tostring(value)
  end
  table.sort(list)
  out(key, table.concat(list, " "))
end

local function maybe_crash()
  if args.app == "nocrash" then
    return
  end
  local dice = random(1000)
  if dice < 330 then
    os.exit(1)
  elseif dice < 660 then
    sleep(random(1000) / 1000)
  end
end

local apps = {
  wc = {
    map = function(rec, out)
      out:words(rec, 1)
    end,
    reduce = "sum",
  },
  indexer = {
    map = function(rec, out)
      local seen = {}
      for word in rec:words() do
        if not seen[word] then
          seen[word] = true
          out(word, name_of(rec))
        end
      end
    end,
    reduce = function(word, values, out)
      local names = values:array()
      table.sort(names)
      out(word, ("%d %s"):format(#names, table.concat(names, ",")))
    end,
  },
  mtiming = {
    map = function(_, out)
      local count = parallel "map"
      out(("times-%d"):format(pid()), os.time())
      out(("parallel-%d"):format(pid()), count)
    end,
    reduce = joined,
  },
  rtiming = {
    map = function(_, out)
      for letter in ("abcdefghij"):gmatch "." do
        out(letter, 1)
      end
    end,
    reduce = function(key, _, out)
      out(key, parallel "reduce")
    end,
  },
  jobcount = {
    map = function(_, out, job)
      touch(("%s/mr-worker-jobcount-%d-%d"):format(args.dir, pid(), job.task))
      sleep(0.4 + random(600) / 1000)
      out("a", "x")
    end,
    reduce = function(key, _, out)
      out(key, #markers "^mr%-worker%-jobcount")
    end,
  },
  early_exit = {
    map = function(rec, out)
      out(name_of(rec), 1)
    end,
    reduce = function(key, values, out)
      if key:find "sherlock" or key:find "tom" then
        sleep(0.6)
      end
      out(key, values:count())
    end,
  },
  crash = {
    map = function(rec, out)
      maybe_crash()
      local name = name_of(rec)
      out("a", name)
      out("b", #name)
      out("c", rec:len())
      out("d", "xyzzy")
    end,
    reduce = function(key, values, out)
      maybe_crash()
      joined(key, values, out)
    end,
  },
}
apps.nocrash = apps.crash

local job = assert(apps[args.app], "--arg app= one of the lab's applications")
job.input, job.partition, job.reduces, job.attempts, job.backup = "files", "fnv1a", 10, 100, false
return job
