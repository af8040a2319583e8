-- Every example job against a reference that is computed here in plain Lua, another way.
package.path = "examples/tools/?.lua;" .. package.path
local cli = require "support.binary"
local fs = require "perilune.fs"
local records = require "records"

local BOOKS = {
  "examples/data/pg-being_ernest.txt", "examples/data/pg-grimm.txt", "examples/data/pg-sherlock_holmes.txt",
}

local folder

local function read_all(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- Runs a job and returns its output files by name, the content of all parts in order, and the result.
local function run(job, inputs, options)
  local out = folder .. "/" .. job
  local command = { "mr", ("examples/jobs/%s.lua"):format(job) }
  table.move(inputs, 1, #inputs, #command + 1, command)
  table.move(options or {}, 1, #(options or {}), #command + 1, command)
  table.move({ "-o", out, "--force", "--workers", "2" }, 1, 5, #command + 1, command)
  local result = cli.run(command)
  assert.equal(0, result.status, result.stderr)
  local names, parts, files = assert(fs.list(out)), {}, {}
  table.sort(names)
  for _, name in ipairs(names) do
    files[name] = read_all(out .. "/" .. name)
    parts[#parts + 1] = name:match "^part%-" and files[name] or nil
  end
  return table.concat(parts), files, result
end

local function sorted_lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  table.sort(lines)
  return lines
end

local function sorted(lines)
  table.sort(lines)
  return lines
end

local function each_word(visit)
  for _, book in ipairs(BOOKS) do
    for word in read_all(book):gmatch "%a+" do
      visit(word, book:match "[^/]+$")
    end
  end
end

describe("examples/jobs", function()
  setup(function()
    folder = assert(fs.tempdir())
  end)

  teardown(function()
    assert(fs.remove(folder, { recursive = true }))
  end)

  it("wordcount counts words", function()
    local count, expected = {}, {}
    each_word(function(word)
      count[word] = (count[word] or 0) + 1
    end)
    for word, n in pairs(count) do
      expected[#expected + 1] = word .. " " .. n
    end
    assert.same(sorted(expected), sorted_lines(run("wordcount", BOOKS)))
  end)

  it("grep finds texts and patterns", function()
    for _, case in ipairs {
      { "text=Holmes", "Holmes", true }, { "pattern=18%d%d", "18%d%d", false },
      { "text=a.b", "a.b", true },
    } do
      local expected = {}
      for _, book in ipairs(BOOKS) do
        for line in io.lines(book) do
          expected[#expected + 1] = line:find(case[2], 1, case[3]) and line or nil
        end
      end
      assert.same(sorted(expected), sorted_lines(run("grep", BOOKS, { "--arg", case[1] })))
    end
  end)

  it("grep wants to know what to look for", function()
    local result = cli.run { "mr", "examples/jobs/grep.lua", BOOKS[1], "-o", folder .. "/none" }
    assert.equal(1, result.status)
    assert.matches("give --arg text=WORD", result.stderr, 1, true)
    assert.is_false(fs.exists(folder .. "/none"))
  end)

  it("inverted_index names the files of each word", function()
    local found, expected = {}, {}
    each_word(function(word, book)
      found[word] = found[word] or {}
      found[word][book] = true
    end)
    for word, books in pairs(found) do
      local names = {}
      for name in pairs(books) do
        names[#names + 1] = name
      end
      expected[#expected + 1] = ("%s %d %s"):format(word, #names, table.concat(sorted(names), ","))
    end
    assert.same(sorted(expected), sorted_lines(run("inverted_index", BOOKS)))
  end)

  it("sort makes one sorted file of its parts and loses nothing", function()
    local path, lines = folder .. "/records", {}
    for record in records.generate(1000) do
      lines[#lines + 1] = record
    end
    assert(fs.write(path, table.concat(lines)))
    local output, files = run("sort", { path }, { "--reduces", "3" })
    table.sort(lines)
    assert.is_true(table.concat(lines) == output)
    assert.is_truthy(files["part-00002"] and #files["part-00002"] > 0)
    local sum = 0
    for at = 1, #output, records.size_bytes do
      sum = sum + records.crc32(output:sub(at, at + records.size_bytes - 1))
    end
    assert.equal("1f5dfb3631a", ("%x"):format(sum)) -- what gensort -a prints for 1,000 records
  end)

  it("topk takes the longest words of every letter", function()
    local by_letter, expected = {}, {}
    each_word(function(word)
      local letter = word:sub(1, 1):lower()
      by_letter[letter] = by_letter[letter] or {}
      by_letter[letter][word] = true
    end)
    for letter, set in pairs(by_letter) do
      local words = {}
      for word in pairs(set) do
        words[#words + 1] = word
      end
      table.sort(words, function(a, b)
        if #a ~= #b then
          return #a > #b
        end
        return a < b
      end)
      expected[#expected + 1] = letter .. " " .. table.concat(words, ",", 1, math.min(4, #words))
    end
    assert.same(sorted(expected), sorted_lines(run("topk", BOOKS, { "--arg", "k=4" })))
  end)

  it("join adds up orders, and keeps those of unknown customers apart", function()
    local names, totals = {}, {}
    for line in io.lines "examples/data/customers.tsv" do
      local id, name = line:match "^(%S+)\t(.*)$"
      names[id], totals[id] = name, 0
    end
    for line in io.lines "examples/data/orders.tsv" do
      local id, cents = line:match "^%S+\t(%S+)\t(%d+)$"
      totals[id] = (totals[id] or 0) + math.tointeger(tonumber(cents))
    end
    local joined, orphans = {}, {}
    for id, total in pairs(totals) do
      local lines = names[id] and joined or orphans
      lines[#lines + 1] = ("%s\t%d"):format(names[id] or id, total)
    end
    assert.is_true(#orphans > 0)
    local output, files = run("join", { "examples/data/customers.tsv", "examples/data/orders.tsv" })
    assert.same(sorted(joined), sorted_lines(output))
    local apart = {}
    for name, text in pairs(files) do
      apart[#apart + 1] = name:match "^orphans%-" and text or nil
    end
    assert.same(sorted(orphans), sorted_lines(table.concat(apart)))
  end)

  it("sequence_count finds the file that has a triple most often", function()
    local counts, expected = {}, {}
    local last, first, second
    each_word(function(word, book)
      if book ~= last then
        last, first, second = book, nil, nil
      end
      if first then
        local triple = ("%s %s %s"):format(first, second, word)
        counts[triple] = counts[triple] or {}
        counts[triple][book] = (counts[triple][book] or 0) + 1
      end
      first, second = second, word
    end)
    for triple, books in pairs(counts) do
      local most, name = 0, ""
      for book, count in pairs(books) do
        if count > most or (count == most and book > name) then
          most, name = count, book
        end
      end
      expected[#expected + 1] = ("%s %d %s"):format(triple, most, name)
    end
    assert.is_true(table.concat(sorted(expected), "\n")
      == table.concat(sorted_lines(run("sequence_count", BOOKS)), "\n"))
  end)

  it("pagerank agrees with ten rounds of the formula, and reads the links once", function()
    local links, ranks, lines = {}, {}, 0
    for line in io.lines "examples/data/links.tsv" do
      local page, link = line:match "^(%S+)\t(%S+)$"
      links[page] = links[page] or {}
      table.insert(links[page], link)
      ranks[page], ranks[link], lines = 1, 1, lines + 1
    end
    for _ = 1, 10 do
      local sums = {}
      for page, targets in pairs(links) do
        for _, target in ipairs(targets) do
          sums[target] = (sums[target] or 0) + ranks[page] / #targets
        end
      end
      for page in pairs(ranks) do
        ranks[page] = 0.15 + 0.85 * (sums[page] or 0)
      end
    end
    local output, _, result = run("pagerank", { "examples/data/links.tsv" }, { "--arg", "rounds=10" })
    local found = 0
    for page, rank in output:gmatch "(%S+) (%S+)\n" do
      assert.near(ranks[page], tonumber(rank), 0.0001)
      found = found + 1
    end
    for page in pairs(ranks) do
      found = found - 1
      assert.is_truthy(output:find(page .. " ", 1, true))
    end
    assert.equal(0, found)
    assert.matches("links read%D+" .. lines .. "%f[%D]", result.stdout .. result.stderr)
  end)

  it("access_log adds up what a server answered", function()
    local totals, expected, malformed = {}, {}, 0
    local errors = {}
    for line in io.lines "examples/data/access.log" do
      local words = {}
      for word in line:gmatch "%S+" do
        words[#words + 1] = word
      end
      if #words > 10 and words[6]:match '^"[A-Z]+$' then
        local path, status, bytes = words[7]:gsub("%?.*", ""), words[9], tonumber(words[10]) or 0
        local total = totals[path] or { 0, 0, 0 }
        totals[path] = total
        total[1], total[2] = total[1] + 1, total[2] + bytes
        if status >= "500" then
          total[3] = total[3] + 1
          errors[#errors + 1] = path .. "\t" .. line
        end
      else
        malformed = malformed + 1
      end
    end
    for path, total in pairs(totals) do
      expected[#expected + 1] = ("%s\t%d requests, %d bytes, %d errors"):format(path, table.unpack(total))
    end
    assert.equal(2, malformed)
    local output, files, result = run("access_log", { "examples/data/access.log" })
    assert.same(sorted(expected), sorted_lines(output))
    assert.matches("malformed lines%D+2%f[%D]", result.stdout .. result.stderr)
    local apart = {}
    for name, text in pairs(files) do
      apart[#apart + 1] = name:match "^errors%-" and text or nil
    end
    assert.equal(#errors, #sorted_lines(table.concat(apart)))
  end)

  it("make_data writes the data that lies beside it, byte for byte", function()
    local result = cli.run { "run", "examples/tools/make_data.lua", folder }
    assert.equal("", result.stderr)
    for _, name in ipairs { "access.log", "customers.tsv", "orders.tsv", "links.tsv" } do
      assert.is_true(read_all("examples/data/" .. name) == read_all(folder .. "/" .. name), name)
    end
  end)
end)
