--- The command line: reads the global options, chooses the verb, and reports what went wrong.
local output = require "perilune.cli.output"
local suggest = require "perilune.suggest"
local verbs = require "perilune.cli.verbs"

local function apply_global(option, text, origin)
  local value, why = option.convert(text)
  if value == nil then
    return output.usage_error(origin, why)
  end
  option.apply(value)
end

local function global_option(flag)
  for _, option in ipairs(verbs.global_options) do
    if option.flag == flag then
      return option
    end
  end
end

-- PERILUNE_LOG_LEVEL and its like come before flags, so that flags win.
local function apply_environment()
  for _, option in ipairs(verbs.global_options) do
    local name = "PERILUNE_" .. option.flag:sub(3):gsub("-", "_"):upper()
    local text = os.getenv(name)
    local failed = text and text ~= "" and apply_global(option, text, name)
    if failed then
      return failed
    end
  end
end

local SHORT = { ["-h"] = "help", ["--help"] = "help", ["-V"] = "version", ["--version"] = "version" }

-- Reads the options in front of the verb. Returns the index of the verb, or an exit code.
local function read_globals(argv)
  local index = 1
  while argv[index] and argv[index]:sub(1, 1) == "-" and argv[index] ~= "-" do
    if SHORT[argv[index]] then
      return index
    end
    local flag, value = argv[index]:match "^(%-%-[^=]+)=(.*)$"
    flag = flag or argv[index]
    local option = global_option(flag)
    if not option then
      local flags = { "--help", "--version" }
      for _, known in ipairs(verbs.global_options) do
        flags[#flags + 1] = known.flag
      end
      local near = suggest.nearest(flag, flags)
      return nil, output.usage_error(flag, "unknown option",
        near and ("did you mean '%s'?"):format(near) or "options of a verb stand behind the verb")
    end
    if not value then
      index = index + 1
      value = argv[index]
    end
    if not value then
      return nil, output.usage_error(flag, "needs an argument")
    end
    local failed = apply_global(option, value, flag)
    if failed then
      return nil, failed
    end
    index = index + 1
  end
  return index
end

local function contains(list, word)
  for _, item in ipairs(list) do
    if item == word then
      return true
    end
  end
  return false
end

local function exists(path)
  local file = io.open(path)
  return file ~= nil and file:close()
end

local function looks_like_file(word)
  return word == "-" or word:find("/", 1, true) or word:match "%.lua$" or exists(word)
end

local function unknown_verb(word)
  if exists(word .. ".lua") then
    return output.usage_error(word, "unknown verb", ("to run the script: perilune %s.lua"):format(word))
  end
  local near = suggest.nearest(word, verbs.names)
  return output.usage_error(word, "unknown verb",
    near and ("did you mean 'perilune %s'?"):format(near) or "see 'perilune help' for the verbs")
end

-- Turns argv into a verb's name and its own arguments; or nil and an exit code.
local function choose(argv)
  local index, failed = read_globals(argv)
  if not index then
    return nil, failed
  end
  local word = argv[index]
  if not word then
    return "help", {}
  elseif SHORT[word] then
    return SHORT[word], table.move(argv, index + 1, #argv, 1, {})
  end
  local is_verb = contains(verbs.names, word) or contains(verbs.hidden, word)
  if is_verb or looks_like_file(word) then
    return is_verb and word or "run", table.move(argv, is_verb and index + 1 or index, #argv, 1, {})
  end
  return nil, unknown_verb(word)
end

local function dispatch(argv)
  output.setup { json = contains(argv, "--json") }
  local failed = apply_environment()
  if failed then
    return failed
  end
  local name, own = choose(argv)
  if not name then
    return own
  end
  if name == "run" then
    output.setup { json = false } -- what follows a script's name belongs to the script
  end
  local verb = verbs.load(name)
  local args, exit_code = verbs.parse(name, verb, own)
  if not args then
    return exit_code
  end
  return verb.run(args) or output.EXIT_OK
end

-- Runs the command line as the main fiber and returns the exit code.
---@param argv string[]
---@return integer exit_code
return function(argv)
  local trace
  local ok, exit_code = xpcall(dispatch, function(err)
    trace = debug.traceback(tostring(err), 2)
    return tostring(err)
  end, argv)
  if ok then
    return exit_code
  end
  local is_debugging = os.getenv "PERILUNE_LOG_LEVEL" == "debug"
  return output.fail {
    what = "internal error", why = exit_code:match "^[^\n]*", code = "EINTERNAL",
    hint = not is_debugging and "run it again with PERILUNE_LOG_LEVEL=debug to see where" or nil,
    detail = is_debugging and trace or nil,
  }
end
