-- The naive script: what somebody writes before reaching for an engine.
local count = {}
for line in io.lines((...)) do
  for word in line:gmatch "%a+" do
    count[word] = (count[word] or 0) + 1
  end
end
for word, n in pairs(count) do
  print(word .. " " .. n)
end
