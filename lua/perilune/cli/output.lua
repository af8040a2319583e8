--- What every verb of the command line shares: how it prints.
---
--- Data goes to standard output, everything else to standard error. With --json standard output
--- holds JSON only: the result, or {"error":{"code","message","hint"}}.
local terminal = require "perilune.terminal"

local M = {}

M.EXIT_OK = 0
M.EXIT_FAILURE = 1
M.EXIT_USAGE = 2

local STYLES = {
  bold = "1", dim = "2", red = "31", green = "32", yellow = "33", blue = "34", cyan = "36",
}
local DESCRIPTORS = { stdout = 1, stderr = 2 }
local settings = { color = "auto", json = false }

--- Sets what holds for the rest of the process; fields left out keep their value.
---@param options { color?: "auto"|"always"|"never", json?: boolean }
function M.setup(options)
  for _, name in ipairs { "color", "json" } do
    if options[name] ~= nil then
      settings[name] = options[name]
    end
  end
end

--- True while the command answers in JSON.
---@return boolean
function M.is_json()
  return settings.json
end

--- True when the stream is a terminal.
---@param stream "stdout"|"stderr"
---@return boolean
function M.is_terminal(stream)
  return terminal.columns(DESCRIPTORS[stream]) > 0
end

local function is_set(name)
  local value = os.getenv(name)
  return value ~= nil and value ~= ""
end

--- True when the stream shall have colours: --color, then NO_COLOR, FORCE_COLOR, TERM decide.
---@param stream "stdout"|"stderr"
---@return boolean
function M.has_color(stream)
  if settings.color ~= "auto" then
    return settings.color == "always"
  elseif is_set "NO_COLOR" then
    return false
  elseif is_set "FORCE_COLOR" then
    return os.getenv "FORCE_COLOR" ~= "0"
  end
  return os.getenv "TERM" ~= "dumb" and M.is_terminal(stream)
end

--- Wraps text in a style when the stream shall have colours.
---@param stream "stdout"|"stderr"
---@param style string  bold dim red green yellow blue cyan
---@param text string
---@return string
function M.paint(stream, style, text)
  if not M.has_color(stream) then
    return text
  end
  return ("\27[%sm%s\27[0m"):format(assert(STYLES[style], "unknown style"), text)
end

--- Writes a line to standard error.
---@param text string
function M.note(text)
  io.stderr:write(text, "\n")
end

--- Prints a value as one line of JSON on standard output. Messages and values of users may hold any bytes:
--- what is no JSON is written as json.encode's option lossy says.
---@param value any
function M.json(value)
  io.stdout:write(assert(require("perilune.json").encode(value, { lossy = true })), "\n")
end

-- Text that may hold anything a user's code raised, without what would move the cursor.
local function harmless(text)
  text = text:gsub("[%z\1-\8\11-\31\127]", function(byte)
    return ("\\x%02x"):format(byte:byte())
  end)
  return (text:gsub("\xc2([\x80-\x9f])", function(byte) -- U+0080 to U+009F are controls, too
    return ("\\x%02x"):format(byte:byte())
  end))
end

---@class perilune.cli.Failure
---@field what string    what could not be done, or what was looked at: "run job.lua"
---@field why string     the reason
---@field hint? string   what to do about it
---@field code? string   for programs; default "EFAILED"
---@field detail? string more lines for a person, such as a traceback
---@field exit? integer  exit code; default 1

--- What JSON says of a failure.
---@param failure perilune.cli.Failure
---@return { code: string, message: string, hint: string?, detail: string? }
function M.error_data(failure)
  return {
    code = failure.code or "EFAILED", message = failure.what .. ": " .. failure.why,
    hint = failure.hint, detail = failure.detail,
  }
end

--- Reports a failure and returns the exit code that goes with it.
---@param failure perilune.cli.Failure
---@return integer exit_code
function M.fail(failure)
  if settings.json then
    M.json { error = M.error_data(failure) }
    return failure.exit or M.EXIT_FAILURE
  end
  local lines = {
    ("%s %s: %s"):format(M.paint("stderr", "red", "perilune:"), harmless(failure.what),
      harmless(failure.why)),
  }
  lines[#lines + 1] = failure.detail and harmless(failure.detail)
  lines[#lines + 1] = failure.hint and M.paint("stderr", "cyan", "hint:") .. " " .. failure.hint
  M.note(table.concat(lines, "\n"))
  return failure.exit or M.EXIT_FAILURE
end

--- Reports a wrong command line.
---@param what string
---@param why string
---@param hint? string
---@return integer exit_code  always 2
function M.usage_error(what, why, hint)
  return M.fail { what = what, why = why, hint = hint, code = "EUSAGE", exit = M.EXIT_USAGE }
end

--- Lays rows out in columns. Numbers, and texts in columns named in right, end flush right.
---@param rows any[][]
---@param right? table<integer, boolean>
---@return string  lines joined by newlines, no last newline
function M.table(rows, right)
  local widths = {}
  for _, row in ipairs(rows) do
    for column, cell in ipairs(row) do
      widths[column] = math.max(widths[column] or 0, utf8.len(tostring(cell)) or #tostring(cell))
    end
  end
  local lines = {}
  for number, row in ipairs(rows) do
    local cells = {}
    for column, cell in ipairs(row) do
      local text = tostring(cell)
      local fill = (" "):rep(widths[column] - (utf8.len(text) or #text))
      local is_right = type(cell) == "number" or (right and right[column])
      cells[column] = is_right and fill .. text or text .. fill
    end
    lines[number] = (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n")
end

local HELP_WIDTH_MAX = 96
local HELP_WIDTH_MIN = 60
local HELP_WIDTH_ELSEWHERE = 79

--- How wide a page of help is: as the terminal, or 79 columns when standard output is none.
---@return integer
function M.help_width()
  local columns = terminal.columns(DESCRIPTORS.stdout)
  if columns == 0 then
    return HELP_WIDTH_ELSEWHERE
  end
  return math.max(HELP_WIDTH_MIN, math.min(HELP_WIDTH_MAX, columns - 1))
end

local function fill_paragraph(words, width)
  local lines = { words[1] }
  for index = 2, #words do
    local longer = lines[#lines] .. " " .. words[index]
    if #longer <= width then
      lines[#lines] = longer
    else
      lines[#lines + 1] = words[index]
    end
  end
  return table.concat(lines, "\n")
end

--- Fills prose to a width. Lines that are indented or empty stay as they are, for they are to be copied;
--- a line that ends in a colon ends its paragraph.
---@param text string
---@param width integer
---@return string
function M.fill(text, width)
  local parts, words = {}, {}
  local function finish()
    if #words > 0 then
      parts[#parts + 1] = fill_paragraph(words, width)
      words = {}
    end
  end
  for line in (text .. "\n"):gmatch "(.-)\n" do
    local is_fixed = line:find "^%s" or line == ""
    if is_fixed then
      finish()
      parts[#parts + 1] = line
    else
      for word in line:gmatch "%S+" do
        words[#words + 1] = word
      end
      if line:find ":$" then
        finish()
      end
    end
  end
  finish()
  return table.concat(parts, "\n")
end

---@class perilune.cli.Progress
---@field package label string
---@field package started number
---@field package drawn number
---@field package is_visible boolean
local Progress = {}
Progress.__index = Progress

local PROGRESS_AFTER_SECONDS = 1
local PROGRESS_EVERY_SECONDS = 0.1

--- Starts a progress bar on standard error. It shows only on a terminal, after one second, and never
--- with --json. Keep it in a <close> variable.
---@param label string
---@return perilune.cli.Progress
function M.progress(label)
  local now = require("perilune").now()
  return setmetatable({
    label = label, started = now, drawn = now,
    is_wanted = M.is_terminal "stderr" and not settings.json, is_visible = false,
  }, Progress)
end

--- Draws fraction (0..1) and a text behind the bar, at most ten times a second.
---@param fraction number
---@param text? string
---@param label? string  replaces the label
function Progress:update(fraction, text, label)
  self.label = label or self.label
  if not self.is_wanted then
    return
  end
  local now = require("perilune").now()
  if now - self.started < PROGRESS_AFTER_SECONDS or now - self.drawn < PROGRESS_EVERY_SECONDS then
    return
  end
  self.drawn, self.is_visible = now, true
  io.stderr:write("\r\27[K", M.progress_line(self.label, fraction, text, terminal.columns(2)))
end

--- The line that a progress bar shows, cut to the width of the terminal.
---@param label string
---@param fraction number
---@param text? string
---@param columns integer
---@return string
function M.progress_line(label, fraction, text, columns)
  fraction = math.max(0, math.min(1, fraction))
  local tail = (" %3d %%  %s"):format(math.floor(fraction * 100), text or "")
  local width = math.max(10, math.min(40, columns - #label - #tail - 4))
  local full = math.floor(width * fraction)
  local line = ("%s [%s%s]%s"):format(label, ("#"):rep(full), ("."):rep(width - full), tail)
  return line:sub(1, math.max(1, columns - 1))
end

--- Removes the bar, so that ordinary lines may follow.
function Progress:finish()
  if self.is_visible then
    io.stderr:write "\r\27[K"
    self.is_visible = false
  end
  self.is_wanted = false
end
Progress.__close = Progress.finish -- a run that is interrupted leaves no half line

return M
