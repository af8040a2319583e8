--- The inputs of the benchmark, made once in the build folder.
local M = {}

local function books_in(bench, pattern)
  return bench:capture(("ls %s 2>/dev/null || true"):format(pattern))
end

--- The seven books of the MIT lab where they are at hand, else those of the examples, over and over.
---@return string path
function M.books(bench, root, size)
  local list = books_in(bench, root .. "/../shared/data/gutenberg/pg-*.txt")
  local kind = "books"
  if list == "" then
    list, kind = books_in(bench, root .. "/examples/data/pg-*.txt"), "examples"
  end
  local files = list:gsub("\n", " ")
  return bench:make(("%s-%d.txt"):format(kind, size),
    ("{ while cat %s; do :; done 2>/dev/null; } | head -c %d"):format(files, size))
end

--- Letters-only words by Zipf's law.
---@return string path
function M.zipf(bench, size)
  return bench:make(("zipf-%d.txt"):format(size), ("./zipf %d"):format(size))
end

--- Records of the sort benchmark; returns what valsort has to say about them once sorted.
---@return string path, string checksum
function M.records(bench, count)
  local path = bench:make(("records-%d"):format(count), ("./gensort ascii %d"):format(count))
  local checksum = bench:make(("records-%d.sum"):format(count),
    ("./valsort <records-%d | cut -d ' ' -f 1-4 || true"):format(count))
  local file = assert(io.open(checksum))
  local text = file:read "l"
  file:close()
  return path, text
end

return M
