--- What stands behind `perilune test` and is busted's: read ahead of it, so that a mistake is answered as
--- everywhere on the command line, and before any test has run.
local fs = require "perilune.fs"
local output = require "perilune.cli.output"
local suggest = require "perilune.suggest"

local M = {}

local OWN_FLAGS = { "--timeout", "--color", "--log-level", "--log-format", "--help" }

-- Has busted read its arguments. Also gives the names of the flags that it has declared meanwhile.
local function parse(rest)
  local new_core = require "cliargs.core"
  local flags = table.move(OWN_FLAGS, 1, #OWN_FLAGS, 1, {})
  package.loaded["cliargs.core"] = function()
    local core = new_core()
    for _, kind in ipairs { "option", "flag" } do
      local declare = core[kind]
      core[kind] = function(self, names, ...)
        flags[#flags + 1] = names:gsub("%[no%-%]", ""):match "%-%-[%w-]+"
        return declare(self, names, ...)
      end
    end
    return core
  end
  local cli = require "busted.modules.cli" { output = "plainTerminal" }
  package.loaded["cliargs.core"] = new_core
  cli:set_name "perilune test"
  local given, why = cli:parse(table.move(rest, 1, #rest, 1, {}))
  return given, why, flags
end

local function bad_flag(why, flags)
  local reason = why:gsub("^perilune test: error: ", ""):gsub("; re%-run with %-%-help for usage%.$", "")
  local flag = reason:match "unknown/bad %a+: (%-[^=%s]+)"
  local near = flag and #flag > 2 and suggest.nearest(flag, flags)
  return output.usage_error("test", flag and ("unknown option '%s'"):format(flag) or reason,
    near and ("did you mean '%s'?"):format(near) or "see 'perilune test --help'")
end

local function joined(folder, name)
  local is_here = name:sub(1, 1) == "/" or folder == "./" or folder == "."
  return is_here and name or folder .. "/" .. name
end

-- The spec files, as busted will find them; or nil and an exit code.
local function find_specs(given)
  local missing = {}
  for index, root in ipairs(given.ROOT) do
    given.ROOT[index] = joined(given.directory, root)
    missing[#missing + 1] = not fs.exists(given.ROOT[index]) and root or nil
  end
  if #missing > 0 then
    return nil, output.fail { what = "test", code = "ENOENT",
      why = "no such file or folder: " .. table.concat(missing, ", "),
      hint = "perilune test FILE_spec.lua, or a folder that holds such files" }
  end
  local _, _, list = require "busted.modules.test_file_loader"({}, given.loaders)
  local files = list(given.ROOT, given.pattern,
    { excludes = given["exclude-pattern"], recursive = given.recursive })
  if #files == 0 then
    return nil, output.fail { what = "test", code = "ENOENT",
      why = ("no file in %s has a name with %s"):format(table.concat(given.ROOT, ", "),
        table.concat(given.pattern, " or ")),
      hint = "--pattern says which files of a folder are specs" }
  end
  return files
end

--- Reads busted's arguments, and looks for the spec files that they mean.
---@param rest string[]
---@return table|nil given     what busted makes of them
---@return integer|nil failed  the exit code, after a mistake has been reported
function M.read(rest)
  local given, why, flags = parse(rest)
  if not given then
    return nil, bad_flag(why, flags)
  elseif given.version then
    return given
  end
  local files, failed = find_specs(given)
  return files and given, failed
end

--- The output library that busted uses when nobody asks for one; nil leaves it to busted.
---@return string|nil
function M.output()
  return not output.has_color "stdout" and "plainTerminal" or nil
end

--- Takes the colours from all of busted's output libraries when standard output shall have none, and has
--- them coloured elsewhere than on a terminal when it shall.
function M.set_colors()
  if output.has_color "stdout" then
    require("term").isatty = function()
      return true
    end
  else
    package.loaded["term.colors"] = setmetatable({}, { __index = function()
      return tostring
    end })
  end
end

local FILTERS = { "filter", "filter-out", "tags", "exclude-tags" }

--- What a run without a single test is: a failure, unless it was not to run any.
---@param given table  as M.read gives it
---@return integer exit_code
function M.report_none(given)
  if given.list or given.version then
    return output.EXIT_OK
  end
  local asked = {}
  for _, name in ipairs(FILTERS) do
    for _, value in ipairs(given[name]) do
      asked[#asked + 1] = ("--%s=%s"):format(name, value)
    end
  end
  return output.fail { what = "test", code = "ENOENT",
    why = #asked > 0 and "no test matches " .. table.concat(asked, " ") or "the specs have no test",
    hint = #asked > 0 and "perilune test --list shows the names of the tests" or "a test is it(\"does so\", "
      .. "function() ... end)" }
end

return M
