--- perilune completion: shell completion, from the parsers of the verbs themselves.
local verbs = require "perilune.cli.verbs"

local M = { summary = "print the completion script of bash, zsh or fish" }

local GENERATORS = { bash = "get_bash_complete", zsh = "get_zsh_complete", fish = "get_fish_complete" }

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune completion", "Prints a completion script for a shell.")
  parser:argument "shell":choices { "bash", "zsh", "fish" }:description "bash, zsh or fish."
  parser:epilog [[
Examples:
  eval "$(perilune completion bash)"                                  # this shell
  perilune completion fish > ~/.config/fish/completions/perilune.fish # every fish]]
  return parser
end

-- What argparse knows to complete: choices. It checks them too, but here nothing is parsed any more.
local function offer(elements)
  for _, element in ipairs(elements) do
    element._choices = element._choices or element.completes
  end
end

-- argparse offers no arguments in bash, only options and verbs: adds those right behind a verb.
local function add_arguments(script, commands)
  local cases = {}
  for _, command in ipairs(commands) do
    local first = command._arguments[1]
    if first and first._choices then
      cases[#cases + 1] = ('        "%s %s") COMPREPLY=($(compgen -W "%s" -- "$cur")) ;;\n'):format(
        command._name, command._name, table.concat(first._choices, " "))
    end
  end
  local at = assert(script:find('    if [[ "$cur" = -* ]]; then', 1, true))
  return script:sub(1, at - 1) .. '    case "$cmd $prev" in\n' .. table.concat(cases)
    .. "    esac\n\n" .. script:sub(at)
end

---@param args { shell: string }
---@return integer exit_code
function M.run(args)
  local argparse = require "argparse"
  local root = argparse "perilune"
  for _, option in ipairs(verbs.global_options) do
    root:option(option.flag):argname(option.argument):description(option.description).completes =
      option.choices
  end
  for _, name in ipairs(verbs.names) do
    local verb = verbs.load(name)
    -- Each verb makes its parser as ever, but it becomes a command of one root.
    verbs.prepare(verb.parser(function(_, description)
      return root:command(name, description):summary(verb.summary)
    end))
  end
  offer(root._options)
  for _, command in ipairs(root._commands) do
    offer(command._options)
    offer(command._arguments)
  end
  local script = root[GENERATORS[args.shell]](root)
  io.stdout:write(args.shell == "bash" and add_arguments(script, root._commands) or script)
  return 0
end

return M
