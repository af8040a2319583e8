--- Sizes, durations and counts as people write and read them.
local M = {}

local SIZE_UNITS = { [""] = 1, b = 1 }
for power, letter in ipairs { "k", "m", "g", "t" } do
  SIZE_UNITS[letter] = 1024 ^ power
  SIZE_UNITS[letter .. "b"] = 1024 ^ power
  SIZE_UNITS[letter .. "ib"] = 1024 ^ power
end

--- Reads a size: "64MiB", "64M", "1.5g", "100B"; K, M, G, T are powers of 1024.
---@param text string
---@param allow_bare? boolean  accept "100" as bytes
---@return integer|nil size_bytes
---@return string|nil err
function M.parse_size(text, allow_bare)
  local digits, unit = tostring(text):match "^%s*(%d+%.?%d*)%s*(%a*)%s*$"
  local factor = digits and SIZE_UNITS[unit:lower()]
  local size = factor and tonumber(digits) * factor
  if not size or size >= 2 ^ 62 then
    return nil, ("'%s' is not a size; write it like 64MiB, 64M or 1GiB"):format(text)
  elseif unit == "" and size ~= 0 and not allow_bare then
    return nil, ("the size '%s' needs a unit: %sMiB, or %sB"):format(text, digits, digits)
  end
  return math.floor(size)
end

local DURATION_UNITS = { us = 1e-6, ms = 1e-3, s = 1, min = 60, m = 60, h = 3600 }

--- Reads a duration: "500ms", "2.5s", "5min", "1h".
---@param text string
---@return number|nil seconds
---@return string|nil err
function M.parse_duration(text)
  local digits, unit = tostring(text):match "^%s*(%d+%.?%d*)%s*(%a*)%s*$"
  if not digits or (unit ~= "" and not DURATION_UNITS[unit]) then
    return nil, ("'%s' is not a duration; write it like 500ms, 5s or 2min"):format(text)
  elseif unit == "" and tonumber(digits) ~= 0 then
    return nil, ("the duration '%s' needs a unit: %ss, or %sms"):format(text, digits, digits)
  end
  return tonumber(digits) * (DURATION_UNITS[unit] or 1)
end

--- Writes a number of bytes for a person: "3.0 MiB".
---@param size_bytes number
---@return string
function M.format_size(size_bytes)
  local units = { "B", "KiB", "MiB", "GiB", "TiB" }
  local index = 1
  while size_bytes >= 1023.95 and index < #units do
    size_bytes, index = size_bytes / 1024, index + 1
  end
  return (index == 1 and "%d %s" or "%.1f %s"):format(
    index == 1 and math.floor(size_bytes) or size_bytes, units[index])
end

--- Writes a duration for a person: "12 ms", "3.4 s", "2 min 5 s".
---@param seconds number
---@return string
function M.format_duration(seconds)
  if seconds < 0.0005 then
    return ("%d us"):format(math.floor(seconds * 1e6 + 0.5))
  elseif seconds < 0.9995 then
    return ("%d ms"):format(math.floor(seconds * 1000 + 0.5))
  elseif seconds < 59.95 then
    return ("%.1f s"):format(seconds)
  end
  local whole = math.floor(seconds + 0.5)
  return ("%d min %d s"):format(whole // 60, whole % 60)
end

--- Writes a count with separators between thousands: "21,845".
---@param count integer
---@return string
function M.format_count(count)
  local sign, digits = ("%d"):format(count):match "^(%-?)(%d+)$"
  local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return sign .. grouped
end

return M
