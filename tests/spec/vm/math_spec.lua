-- The mathematical functions give the same bits on every processor (runtime/libm.cmake).
local binary = require "tests.spec.support.binary"

-- Hides from the C library that the processor can multiply and add in one step; old and new names.
local OLD_PROCESSOR = "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable,-AVX512F,-FMA4"

local SUMS = [[
local names = {
  "exp", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "power", "mod", "sqrt",
}
local functions = {
  exp = function(x) return math.exp(x * 40 - 20) end,
  log = function(x) return math.log(x) + math.log(x, 3) end,
  log2 = function(x) return math.log(x * 100, 2) end,
  log10 = function(x) return math.log(x * 100, 10) end,
  sin = function(x) return math.sin(x * 1e6) end,
  cos = function(x) return math.cos(x * 1e3) end,
  tan = function(x) return math.tan(x * 10) end,
  asin = function(x) return math.asin(x) end,
  acos = function(x) return math.acos(x) end,
  atan = function(x) return math.atan(x * 9) end,
  atan2 = function(x, y) return math.atan(x - 0.5, y - 0.5) end,
  power = function(x, y) return (x * 10) ^ (y * 20 - 10) end,
  mod = function(x, y) return math.fmod(x * 1e10, y) + (y * 1e10) % (x + 1) end,
  sqrt = function(x) return x ^ 0.5 + math.sqrt(x) end,
}
local function fraction(i)
  return (i * 2654435761 % 4294967296 + 0.5) / 4294967296
end
for _, name in ipairs(names) do
  local sum = 0
  for i = 1, 20000 do
    sum = sum * 31 + string.unpack("<i8", string.pack("<d", functions[name](fraction(i), fraction(i + 77))))
  end
  print(("%s %x"):format(name, sum))
end
]]

local function sums(env)
  local result = binary.run { "run", "/dev/stdin", input = SUMS, env = env }
  assert.are.equal(0, result.status, result.stderr)
  assert.matches("sqrt %x+\n$", result.stdout)
  return result.stdout
end

describe("mathematical functions", function()
  it("give the same bits with and without fused multiply-add", function()
    assert.are.equal(sums {}, sums { GLIBC_TUNABLES = OLD_PROCESSOR })
  end)

  it("are right where the answer is known", function()
    for i = 1, 22 do
      assert.are.equal(i, math.log(10.0 ^ i, 10))
    end
    for i = -1074, 1023 do
      assert.are.equal(i, math.log(2.0 ^ i, 2))
    end
    assert.are.equal(math.huge, math.exp(710))
    assert.are.equal(0.0, math.exp(-746))
    assert.are.equal(-math.huge, math.log(0))
    assert.are.equal(1.0, 1.0 ^ (0 / 0))
    assert.are.equal(1.0, (0 / 0) ^ 0)
    assert.are.equal(math.pi, math.acos(-1))
    assert.are.equal(math.pi / 2, math.atan(1, 0))
    for _, undefined in ipairs { math.log(-1), math.asin(2), (-8) ^ (1 / 3), math.sin(math.huge) } do
      assert.are_not.equal(undefined, undefined)
    end
    for i = -1000, 1000 do
      local x = i / 7
      assert.is_true(math.abs(math.sin(x) ^ 2 + math.cos(x) ^ 2 - 1) < 1e-15)
      assert.is_true(math.abs(math.log(math.exp(x / 10)) - x / 10) < 1e-13)
    end
  end)
end)
