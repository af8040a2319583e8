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

---@param args { shell: string }
---@return integer exit_code
function M.run(args)
  local argparse = require "argparse"
  local root = argparse "perilune"
  for _, name in ipairs(verbs.names) do
    local verb = verbs.load(name)
    -- Each verb makes its parser as ever, but it becomes a command of one root.
    verbs.prepare(verb.parser(function(_, description)
      return root:command(name, description):summary(verb.summary)
    end))
  end
  io.stdout:write(root[GENERATORS[args.shell]](root))
  return 0
end

return M
