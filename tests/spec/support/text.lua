--- What specs ask of texts.
local process = require "perilune.process"

local M = {}

--- The lines of a text, without empty ones.
---@param text string
---@return string[]
function M.lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  return lines
end

---@param text string
---@return string[]
function M.sorted_lines(text)
  local lines = M.lines(text)
  table.sort(lines)
  return lines
end

--- The MD5 of the text's lines, sorted.
---@param text string
---@return string
function M.digest(text)
  local sorted = table.concat(M.sorted_lines(text), "\n") .. "\n"
  return (assert(process.run { "md5sum", input = sorted }).stdout:match "^%x+")
end

return M
