--- perilune run: a Lua script as the main fiber.
local output = require "perilune.cli.output"
local verbs = require "perilune.cli.verbs"
local units = require "perilune.units"

local M = { summary = "run a Lua script as a fiber (also: perilune FILE.lua)" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune run", "Runs a Lua script as the main fiber; it may sleep, spawn fibers, "
    .. "use channels, files and processes through require \"perilune\".")
  parser:usage "Usage: perilune run [options] SCRIPT [argument...]\n       perilune SCRIPT.lua [argument...]"
  parser:option "--cpu-deadline":argname "TIME":convert(units.parse_duration)
    :description "Stop a script that computes so long without waiting, such as 30s."
  parser:flag "--trace-rpc"
    :description "Print every call to and from other nodes on standard error when it ends."
  parser:epilog [[
SCRIPT is a file, or - for standard input. Arguments reach it as ... and in the table arg.
The program ends when the script and the fibers that it spawned have ended; detached fibers do not count.
It exits with 1 when the script raised an error, or one of its fibers did and nobody joined that.

Examples:
  perilune run backup.lua /var/data
  perilune run --cpu-deadline 5s untrusted.lua
  perilune run --trace-rpc node.lua
  echo 'print(require("perilune").now())' | perilune run -]]
  return parser
end

--- The options in front of the script are ours, everything from its name on is the script's.
---@param argv string[]
---@return string[] own
---@return string[] rest
function M.split(argv)
  local index = 1
  while argv[index] and argv[index]:sub(1, 1) == "-" and argv[index] ~= "-" do
    local is_pair = argv[index]:match "^%-%-[^=]+$"
    local takes_value = false
    for _, option in ipairs(verbs.global_options) do
      takes_value = takes_value or option.flag == argv[index]
    end
    index = index + (is_pair and takes_value and 2 or 1)
  end
  local count = math.min(index - 1, #argv)
  return table.move(argv, 1, count, 1, {}), table.move(argv, count + 1, #argv, 1, {})
end

local function read_script(path)
  if path == "-" then
    return load(io.stdin:read "a", "=stdin")
  end
  local file, why = io.open(path)
  if not file then
    return nil, why:gsub("^.-: ", "", 1), "ENOENT"
  end
  local source, read_error = file:read "a"
  file:close()
  if not source then
    return nil, read_error, "EISDIR"
  end
  return load(source:gsub("^#[^\n]*", "", 1), "@" .. path)
end

-- The script's own lines of a traceback: without C functions and without ours below it.
local function script_traceback(message, level)
  local lines = {}
  for line in debug.traceback("", level):gmatch "\n(\t[^\n]+)" do
    if line:find("perilune/cli/", 1, true) then
      break
    elseif not line:find("\t[C]:", 1, true) then
      lines[#lines + 1] = line
    end
  end
  return message, #lines > 0 and "stack traceback:\n" .. table.concat(lines, "\n") or nil
end

local function describe(err)
  local meta = getmetatable(err)
  if type(err) == "string" or type(err) == "number" or (type(meta) == "table" and meta.__tostring) then
    return tostring(err)
  end
  return ("(error object is a %s value)"):format(type(err))
end

local function report(message, trace)
  output.note(output.paint("stderr", "red", "perilune:") .. " " .. message)
  if trace then
    output.note(trace)
  end
  return output.EXIT_FAILURE
end

-- Runs the chunk in this fiber, or in one of its own when it has a CPU deadline.
local function execute(chunk, arguments, cpu_deadline)
  local message, trace
  local function body()
    return xpcall(chunk, function(err)
      message, trace = script_traceback(describe(err), 3)
      return message
    end, table.unpack(arguments))
  end
  if not cpu_deadline then
    return body() or report(message, trace)
  end
  local fiber = require("perilune").spawn({ name = "main", cpu_deadline = cpu_deadline }, body)
  local finished, why = fiber:join()
  if not finished then
    return report(why)
  end
  return message == nil or report(message, trace)
end

---@param args { cpu_deadline?: number, trace_rpc?: boolean, rest: string[] }
---@return integer exit_code
function M.run(args)
  local path = args.rest[1]
  if not path then
    return output.usage_error("run", "no script given", "write: perilune run SCRIPT.lua [argument...]")
  end
  local chunk, why, code = read_script(path)
  if not chunk and code then
    return output.fail { what = "run " .. path, why = why, code = code }
  elseif not chunk then
    return report(why)
  end
  local arguments = table.move(args.rest, 2, #args.rest, 1, {})
  _G.arg = table.move(arguments, 1, #arguments, 1, { [0] = path, [-1] = "perilune" })
  local folder = path:match "^(.*)/[^/]*$"
  if folder then
    package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
  end
  if args.trace_rpc then
    require("perilune.rpc").trace(true)
  end
  local result = execute(chunk, arguments, args.cpu_deadline or verbs.settings.cpu_deadline)
  if result ~= true then
    return result
  end
  local perilune = require "perilune"
  perilune.settle()
  return perilune.lost() == 0 and output.EXIT_OK or output.EXIT_FAILURE
end

return M
