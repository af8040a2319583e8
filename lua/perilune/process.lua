--- Child processes, and the standard streams of our own process.
---
--- Reading, writing and waiting suspend the fiber. A child is killed when its handle is closed or
--- collected, so keep the handle as long as the child is to live.
local core = require "perilune.core.process"
local fiber = require "perilune.fiber"
local keys = require "perilune.keys"
local options_of = require "perilune.options"
local stream = require "perilune.core.stream"

local M = {}

local READ_ALL_MAX = 256 << 20
local READ_PIECE = 65536

---@class perilune.process.Options
---@field [integer] string  the command and its arguments; the command is looked up in PATH
---@field cwd? string  working directory of the child
---@field env? table<string, string|false>  changes to our environment: new values, false removes
---@field stdin? "pipe"|"null"|"inherit"  default "null"
---@field stdout? "pipe"|"null"|"inherit"  default "inherit"
---@field stderr? "pipe"|"null"|"inherit"  default "inherit"
---@field dies_with_parent? boolean  the kernel kills the child when we end, however we end
---@field detached? boolean  the child has a session of its own, and lives on when its handle is closed and
---                          when we end
---@field output? string  a file that the child's output and error output are appended to; made (for its owner
---                       alone) when it is not there

---@class perilune.process.Exit
---@field status? integer  exit status; nil when a signal ended the child
---@field signal? integer  the signal that ended it
---@field cpu_us integer  CPU time that it used
---@field max_rss_bytes integer  the most memory that it had resident

--- A byte stream. Its methods return nil, err, code after a failure.
---@class perilune.process.Stream
---@field package core userdata
local Stream = {}
Stream.__index = Stream

--- Reads at most count bytes, at least one; without count everything until the end, at most 256 MiB.
--- At the end it returns nil (the empty string without count).
---@param count? integer
---@return string|nil bytes
---@return string? err
---@return string? code  "ETOOBIG"
function Stream:read(count)
  if count then
    return self.core:read_some(count)
  end
  local pieces, size = {}, 0
  while true do
    local piece, err, code = self.core:read_some(READ_PIECE)
    if piece and size + #piece > READ_ALL_MAX then
      return nil, ("read: there is more than %d MiB, to be read piece by piece"):format(READ_ALL_MAX >> 20),
        "ETOOBIG"
    elseif piece then
      pieces[#pieces + 1], size = piece, size + #piece
    elseif err then
      return nil, err, code
    else
      return table.concat(pieces)
    end
  end
end

--- Reads the next line without its newline; nil at the end.
---@return string|nil line
---@return string? err
---@return string? code
function Stream:read_line()
  return self.core:read_line()
end

--- Reads exactly count bytes; nil at the end, "EFORMAT" when it comes in the middle.
---@param count integer
---@return string|nil bytes
---@return string? err
---@return string? code
function Stream:read_exact(count)
  return self.core:read_exact(count)
end

--- Iterates over the lines that are left. A failure of the stream is raised.
---@return fun(): string|nil
function Stream:lines()
  return function()
    local line, err = self.core:read_line()
    if err then
      error(err, 2)
    end
    return line
  end
end

--- Writes bytes and waits until the system has taken them.
---@param bytes string
---@return true|nil ok
---@return string? err
---@return string? code  "EPIPE" when nobody reads any more, "EBUSY" when too much waits already
function Stream:write(bytes)
  return self.core:write(bytes)
end

--- Ends the writing side once everything has been written: the reader sees the end.
function Stream:shutdown()
  self.core:shutdown()
end

--- Closes the stream; a fiber that waits in it gets "ECLOSED".
function Stream:close()
  self.core:close()
end

local function wrap(raw)
  return raw and setmetatable({ core = raw }, Stream)
end

---@class perilune.process.Child
---@field stdin perilune.process.Stream|false  for stdin = "pipe"
---@field stdout perilune.process.Stream|false  for stdout = "pipe"
---@field stderr perilune.process.Stream|false  for stderr = "pipe"
---@field package core userdata
local Child = {}
Child.__index = Child

local function piped(child, name)
  return child[name] or error(("this child's %s is not a pipe"):format(name), 3)
end

--- The child's process id.
---@return integer pid
function Child:pid()
  return self.core:pid()
end

--- Waits until the child has ended. Several fibers may wait.
---@return perilune.process.Exit|nil exit
---@return string? err
---@return string? code
function Child:wait()
  return self.core:wait()
end

--- Sends a signal.
---@param signal? integer  default 15, SIGTERM
---@return true|nil ok
---@return string? err
---@return string? code  "ESRCH" when the child has ended
function Child:kill(signal)
  return self.core:kill(signal)
end

--- Kills the child if it still runs, and closes its streams.
function Child:close()
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if self[name] then
      self[name]:close()
    end
  end
  self.core:close()
end
Child.__close = Child.close

--- Writes to the child's input; see Stream:write.
---@param bytes string
---@return true|nil ok
---@return string? err
---@return string? code
function Child:write(bytes)
  return piped(self, "stdin"):write(bytes)
end

--- Ends the child's input.
function Child:close_stdin()
  piped(self, "stdin"):shutdown()
end

--- Reads from the child's output; see Stream:read.
---@param count? integer
---@return string|nil bytes
---@return string? err
---@return string? code
function Child:read(count)
  return piped(self, "stdout"):read(count)
end

--- Reads a line of the child's output; see Stream:read_line.
---@return string|nil line
---@return string? err
---@return string? code
function Child:read_line()
  return piped(self, "stdout"):read_line()
end

--- Reads exactly count bytes of the child's output; see Stream:read_exact.
---@param count integer
---@return string|nil bytes
---@return string? err
---@return string? code
function Child:read_exact(count)
  return piped(self, "stdout"):read_exact(count)
end

--- Reads from the child's error output; see Stream:read.
---@param count? integer
---@return string|nil bytes
---@return string? err
---@return string? code
function Child:stderr_read(count)
  return piped(self, "stderr"):read(count)
end

--- Reads a line of the child's error output; see Stream:read_line.
---@return string|nil line
---@return string? err
---@return string? code
function Child:stderr_read_line()
  return piped(self, "stderr"):read_line()
end

-- Our environment with changes, as the list of NAME=value that the core wants.
local function merged_environment(changes)
  if changes == nil then
    return nil
  end
  local list = {}
  for _, variable in ipairs(core.variables()) do
    if changes[variable:match "^[^=]*"] == nil then
      list[#list + 1] = variable
    end
  end
  for _, name in ipairs(keys.sorted(changes)) do
    if changes[name] then
      list[#list + 1] = name .. "=" .. changes[name]
    end
  end
  return list
end

local SPAWN_OPTIONS = {
  cwd = "string", env = "table", stdin = "string", stdout = "string", stderr = "string",
  dies_with_parent = "boolean", detached = "boolean", output = "string",
}
local RUN_OPTIONS = {
  cwd = "string", env = "table", dies_with_parent = "boolean", input = "string",
}

local STREAMS = { pipe = true, null = true, inherit = true }

local function check_options(options, known, caller)
  if type(options) ~= "table" or type(options[1]) ~= "string" then
    error(('%s: a command is missing, as in %s { "ls", "-l" }'):format(caller, caller), 3)
  end
  options_of.check(options, known, caller, 4)
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if options[name] ~= nil and not STREAMS[options[name]] then
      error(('%s: %s is "pipe", "null" or "inherit", not %q'):format(caller, name, options[name]), 3)
    end
  end
  if options.output and (options.stdout or options.stderr) then
    error(("%s: output is the file of stdout and stderr; leave those out"):format(caller), 3)
  elseif options.detached and options.dies_with_parent then
    error(("%s: detached and dies_with_parent exclude each other"):format(caller), 3)
  end
end

local function start(options, stdin, stdout, stderr)
  local process, input, output, errors = core.spawn({ table.unpack(options) },
    merged_environment(options.env), options.cwd, stdin, stdout, stderr,
    options.dies_with_parent, options.detached, options.output)
  if not process then
    return nil, input, output
  end
  return setmetatable({
    core = process, stdin = wrap(input), stdout = wrap(output), stderr = wrap(errors),
  }, Child)
end

--- Starts a child.
---
---     local child = assert(process.spawn { "sort", "-n", stdin = "pipe", stdout = "pipe" })
---@param options perilune.process.Options
---@return perilune.process.Child|nil child
---@return string? err  names the command and why it did not start
---@return string? code  "ENOENT", "EACCES", ...
function M.spawn(options)
  check_options(options, SPAWN_OPTIONS, "process.spawn")
  local otherwise = options.output and "null" or "inherit"
  return start(options, options.stdin or "null", options.stdout or otherwise, options.stderr or otherwise)
end

---@class perilune.process.Result: perilune.process.Exit
---@field stdout string
---@field stderr string

local function feed(child, input)
  child:write(input) -- a child that reads only a part of it is no failure
  child:close_stdin()
end

--- Runs a command to its end and returns all that it wrote. Options are those of spawn without the
--- streams, and input: a string for the child's input. A child that fails is no error: look at
--- status and signal.
---@param options perilune.process.Options|{ input: string? }
---@return perilune.process.Result|nil result
---@return string? err
---@return string? code
function M.run(options)
  check_options(options, RUN_OPTIONS, "process.run")
  local child <close>, err, code = start(options, options.input and "pipe" or "null", "pipe", "pipe")
  if not child then
    return nil, err, code
  end
  if options.input then
    fiber.spawn({ name = "process.run input", inherit = true }, feed, child, options.input)
  end
  local errors = fiber.spawn({ name = "process.run errors", inherit = true }, child.stderr_read, child)
  local stdout, read_err, read_code = child:read()
  if not stdout then
    return nil, read_err, read_code
  end
  local _, stderr, err_code
  _, stderr, read_err, err_code = errors:join()
  if not stderr then
    return nil, read_err, err_code
  end
  local exit = child:wait()
  return {
    stdout = stdout, stderr = stderr, status = exit.status, signal = exit.signal,
    cpu_us = exit.cpu_us, max_rss_bytes = exit.max_rss_bytes,
  }
end

local STANDARD = { stdin = 0, stdout = 1, stderr = 2 }

--- Opens one of our own standard streams, for a fiber that talks a protocol over it. Close it before
--- opening it again.
---@param name "stdin"|"stdout"|"stderr"
---@return perilune.process.Stream|nil stream
---@return string? err
---@return string? code
function M.standard(name)
  local fd = STANDARD[name] or error("process.standard: stdin, stdout or stderr", 2)
  local raw, err, code = stream.standard(fd)
  if not raw then
    return nil, err, code
  end
  return wrap(raw)
end

--- Has the next SIGINT, SIGTERM or SIGHUP call a function with its number, in a fiber of its own, instead of
--- ending the program: to give back what is held elsewhere. A second signal ends the program at once. In
--- simulation none comes.
---@param fn fun(signal: integer)
---@param seconds number  after which the program is ended, if it has not ended by itself
function M.on_signal(fn, seconds)
  core.on_signal(fn, seconds)
end

--- Our own process id.
---@return integer pid
function M.pid()
  return core.pid()
end

--- True while a process with that id exists.
---@param pid integer
---@return boolean
function M.is_alive(pid)
  return core.is_alive(pid)
end

--- Sends a signal to a process that is no child of ours, or not any more.
---@param pid integer
---@param signal integer
---@return true|nil ok
---@return string? err
---@return string? code  "ESRCH" when there is none, "EPERM" when it is somebody else's
function M.signal(pid, signal)
  return core.signal(pid, signal)
end

--- Tells the service manager how this program stands, as sd_notify(3) has it: "READY=1", "STOPPING=1",
--- "STATUS=...", several with newlines between. False when nobody asked to be told (NOTIFY_SOCKET).
---@param text string
---@return boolean|nil told
---@return string? err
---@return string? code
function M.notify(text)
  local socket = os.getenv "NOTIFY_SOCKET"
  if not socket or socket == "" then
    return false
  end
  return core.notify(socket, text)
end

--- How many processors this process may use.
---@return integer count
function M.processors()
  return core.processors()
end

--- The path of the running program.
---@return string|nil path
---@return string? err
---@return string? code
function M.executable()
  return core.executable()
end

return M
