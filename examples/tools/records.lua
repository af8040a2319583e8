--- Records of the sort benchmark: what gensort -a makes and valsort checks (sortbenchmark.org).
---
--- A record is 100 bytes: ten random printable bytes (the key), the record's number in 32 hex digits,
--- and filler. The random numbers are x = a*x + c modulo 2^128, here in four 32-bit limbs.
local M = {}

M.size_bytes = 100

-- Least significant limb first: a = 2360ED051FC65DA44385DF649FCCF645, c = 4A696D47726179524950202020202001.
local A = { 0x9FCCF645, 0x4385DF64, 0x1FC65DA4, 0x2360ED05 }
local C = { 0x20202001, 0x49502020, 0x72617952, 0x4A696D47 }
local LIMB = 0xFFFFFFFF

local function step(x)
  local r = { C[1], C[2], C[3], C[4] }
  for i = 1, 4 do
    local carry = 0
    for j = 1, 5 - i do
      -- A product of two limbs and two more limbs fit 64 bits exactly; >> is unsigned.
      local sum = A[j] * x[i] + r[i + j - 1] + carry
      r[i + j - 1] = sum & LIMB
      carry = sum >> 32
    end
  end
  return r
end

-- Unsigned division of a 64-bit integer by 95.
local function divide_by_95(n)
  local quotient = ((n >> 1) // 95) << 1
  local rest = n - quotient * 95
  if rest >= 95 then
    quotient, rest = quotient + 1, rest - 95
  end
  return quotient, rest
end

local function printable(n, count)
  local bytes = {}
  for i = 1, count do
    local rest
    n, rest = divide_by_95(n)
    bytes[i] = string.char(32 + rest)
  end
  return table.concat(bytes)
end

--- Makes an iterator over the first count records.
---@param count integer
---@return fun(): string|nil
function M.generate(count)
  local x, number = { 0, 0, 0, 0 }, 0
  return function()
    if number == count then
      return nil
    end
    x = step(x)
    local high, low = x[4] << 32 | x[3], x[2] << 32 | x[1]
    local filler = ("%016x%016x"):format(high, low):upper():sub(20):gsub(".", "%0%0%0%0")
    local record = ("%s%s  %032X  %s\r\n"):format(printable(high, 8), printable(low, 2), number, filler)
    number = number + 1
    return record
  end
end

local crc_table = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do
    crc = crc & 1 == 1 and 0xEDB88320 ~ (crc >> 1) or crc >> 1
  end
  crc_table[byte] = crc
end

--- The CRC-32 of zlib.
---@param text string
---@return integer
function M.crc32(text)
  local crc = LIMB
  for i = 1, #text do
    crc = crc_table[(crc ~ text:byte(i)) & 0xFF] ~ (crc >> 8)
  end
  return crc ~ LIMB
end

return M
