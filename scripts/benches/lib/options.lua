--- The options that all benchmarks share.
local M = {}

local USAGE = [[
Usage: scripts/bench %s [--quick | --full] [--runs N] [--only WORD] [--json]
  --quick      small inputs and one run: does everything still work?
  --full       the 1 GB inputs as well, or more rows
  --runs N     measure each row N times (default 5; 1 with --quick, 3 with --full)
  --only WORD  only the rows whose names contain WORD
  --json       one JSON object instead of tables
PERILUNE names the binary (default: build/release/perilune).]]

local function usage(name, takes)
  return USAGE:format(name) .. (takes and "\n" .. takes or "")
end

local function stop(name, takes, message)
  io.stderr:write(("scripts/bench: %s\n%s\n"):format(message, usage(name, takes)))
  os.exit(2)
end

--- Reads the command line of a benchmark; prints help or complains, and ends, where that is due.
---@param name string
---@param argv string[]
---@param takes? string  how long it takes, for the help
---@return { quick: boolean, full: boolean, json: boolean, runs: integer, only: string|nil }
function M.parse(name, argv, takes)
  local options = { quick = false, full = false, json = false }
  local i = 1
  while i <= #argv do
    local word = argv[i]
    if word == "--help" or word == "-h" then
      print(usage(name, takes))
      os.exit(0)
    elseif word == "--quick" or word == "--full" or word == "--json" then
      options[word:sub(3)] = true
    elseif (word == "--runs" or word == "--only") and argv[i + 1] then
      i = i + 1
      options[word:sub(3)] = argv[i]
    else
      stop(name, takes, ("unknown option '%s'"):format(word))
    end
    i = i + 1
  end
  local runs = math.tointeger(tonumber(options.runs or options.quick and 1 or options.full and 3 or 5))
  if not runs or runs < 1 then
    stop(name, takes, "--runs needs a whole number, 1 or more")
  end
  options.runs = runs
  return options
end

return M
