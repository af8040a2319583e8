--- The verbs of the command line, the options that all of them understand, and their parsers.
---
--- A verb is a file of this folder that returns a table:
---   summary       one line for `perilune help`
---   parser(argparse)  makes its parser: `return argparse("perilune mr", "What it does.")`
---   usage         optional: what to write, for who has left something out; then it cannot do without
---   run(args)     does the work and returns the exit code (nil means 0)
---   split(argv)   optional: parts the arguments into two lists: the verb's own, and the rest, which goes
---                 unread into args.rest
--- It is required when it is chosen, so that starting costs only what is used. A verb reports what it
--- expects to fail through output.fail; an error that it raises is a bug of ours.
local output = require "perilune.cli.output"
local suggest = require "perilune.suggest"
local units = require "perilune.units"

local M = {}

--- The verbs that help and completion show, in the order of help.
M.names = { "run", "mr", "stream", "sim", "check", "kv", "up", "down", "ps", "logs", "status", "members",
  "transfer", "add", "remove", "kill", "pause", "resume", "node", "config", "machine", "recover", "test",
  "version", "help", "completion" }

--- Verbs that only Perilune itself calls.
M.hidden = { "mr-worker", "sim-worker" }

--- Loads a verb.
---@param name string
---@return table
function M.load(name)
  return require("perilune.cli." .. name:gsub("-", "_"))
end

local function one_of(choices)
  return function(text)
    for _, choice in ipairs(choices) do
      if choice == text then
        return text
      end
    end
    return nil, ("'%s' is none of %s"):format(text, table.concat(choices, ", "))
  end
end

local COLORS = { "auto", "always", "never" }
local LEVELS = { "debug", "info", "warn", "error" }
local FORMATS = { "logfmt", "json" }

--- What the global options set for the verbs.
---@class perilune.cli.Settings
---@field cpu_deadline? number  seconds that the main fiber may compute without waiting
---@field log_level? string  asked for by --log-level
M.settings = {}

--- The options that may stand before a verb, and behind it unless they are is_for_front.
M.global_options = {
  {
    flag = "--color", argument = "WHEN", choices = COLORS, convert = one_of(COLORS),
    description = "Colours: auto, always or never.",
    apply = function(value)
      output.setup { color = value }
    end,
  },
  {
    flag = "--log-level", argument = "LEVEL", choices = LEVELS, convert = one_of(LEVELS),
    description = "Least severe log line to show: debug, info, warn or error.",
    apply = function(value)
      M.settings.log_level = value
      require("perilune.log").level(value)
    end,
  },
  {
    flag = "--log-format", argument = "FORMAT", choices = FORMATS, convert = one_of(FORMATS),
    description = "Form of log lines: logfmt or json.",
    apply = function(value)
      require("perilune.log").format(value)
    end,
  },
  {
    flag = "--cpu-deadline", argument = "TIME", is_for_front = true, convert = units.parse_duration,
    description = "Stop a script that computes so long without waiting, such as 30s.",
    apply = function(value)
      M.settings.cpu_deadline = value
    end,
  },
  {
    -- main.c has taken it before any Lua was loaded; here it is only known.
    flag = "--lua-path", argument = "DIR", is_for_front = true, convert = tostring,
    description = "Load the Lua library from DIR before the one inside the binary.",
    apply = function() end,
  },
}

-- Raised by a parser instead of its own exit; carries what to do.
local Stop = {}
Stop.__index = Stop

local function option_names(parser)
  local names = {}
  for _, option in ipairs(parser._options) do
    for _, alias in ipairs(option._aliases) do
      names[#names + 1] = alias
    end
  end
  return names
end

-- Names the option whose argument is wrong, and keeps "-o, --out OUT" on one line of the help.
local function polish_option(option)
  local convert, name = option._convert, option._aliases[#option._aliases]
  if type(convert) == "function" then
    option:convert(function(text)
      local value, why = convert(text)
      return value, value == nil and ("%s: %s"):format(name, why) or nil
    end)
  end
  function option:_get_label_lines()
    return { table.concat({ table.concat(self._public_aliases, ", "),
      table.unpack(self:_get_argument_list()) }, " ") }
  end
end

local function hint_for(parser, message, usage)
  local unknown = message:match "^unknown option '(.-)'"
  local near = unknown and #unknown > 2 and suggest.nearest(unknown, option_names(parser))
  return near and ("did you mean '%s'?"):format(near)
    or usage and message:match "^missing" and "write: " .. usage
    or ("see '%s --help'"):format(parser._name)
end

-- Help that is ours, for a verb or a command of one.
local function add_help(parser, below)
  parser:add_help(false)
  parser:flag "-h --help":description "Show this help and exit.":action(function()
    error(setmetatable({ help = parser:get_help() .. below }, Stop), 0)
  end)
end

--- Completes a verb's parser: global options, help, and errors that are ours instead of argparse's.
--- An option or argument with a field completes = { word, ... } offers these to the shell.
---@param parser table
---@param usage? string  what to write, for who has left something out
---@return table parser
function M.prepare(parser, usage)
  for _, option in ipairs(M.global_options) do
    if not option.is_for_front then
      parser:option(option.flag):argname(option.argument):description(option.description)
        :convert(option.convert):action(function(_, _, value)
          option.apply(value)
        end).completes = option.choices
    end
  end
  local width = output.help_width()
  -- argparse breaks long lines and joins no short ones, so the text below the options is laid out here.
  local epilog = parser._epilog
  parser._epilog = nil
  add_help(parser, epilog and "\n\n" .. output.fill(epilog, width) or "")
  parser:help_max_width(width):help_description_margin(26):usage_max_width(width)
  for _, command in ipairs(parser._commands) do
    add_help(command, "")
    for _, option in ipairs(command._options) do
      polish_option(option)
    end
  end
  for _, option in ipairs(parser._options) do
    polish_option(option)
  end
  parser.error = function(_, message)
    local why = message:match "^[^\n]*"
    error(setmetatable({ why = why, hint = hint_for(parser, message, usage) }, Stop), 0)
  end
  return parser
end

-- A negative number behind an option is its value, so that the option says what it takes.
local function join_numbers(argv)
  local joined = {}
  for _, word in ipairs(argv) do
    local last = joined[#joined]
    if word:find "^%-%d" and last and last:find "^%-%-[^=]+$" then
      joined[#joined] = last .. "=" .. word
    elseif word:find "^%-%d" and last and last:find "^%-%a$" then
      joined[#joined] = last .. word
    else
      joined[#joined + 1] = word
    end
  end
  return joined
end

--- Reads a verb's arguments; --help and mistakes are answered here.
---@param name string
---@param verb table
---@param argv string[]
---@return table|nil args
---@return integer|nil exit_code  when there is nothing left to do
function M.parse(name, verb, argv)
  local own, rest = argv, {}
  if verb.split then
    own, rest = verb.split(argv)
    if #own == 0 and not verb.usage then
      return { rest = rest }
    end
  end
  local parser = M.prepare(verb.parser(require "argparse"), verb.usage)
  local ok, args = pcall(parser.parse, parser, join_numbers(own))
  if ok then
    args.rest = rest
    return args
  elseif getmetatable(args) ~= Stop then
    error(args, 0)
  elseif args.help then
    io.stdout:write(args.help, "\n")
    return nil, output.EXIT_OK
  end
  return nil, output.usage_error(name, args.why, args.hint)
end

return M
