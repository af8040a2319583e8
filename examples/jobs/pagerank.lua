-- pagerank.lua - the rank of every page from its links (Page, Brin 1998): a loop with cached input.
--
-- Input: lines "page TAB page it links to". The links are read, partitioned and sorted once; each round
-- merges them with the shares of the round before. rank = 0.15 + 0.85 * (sum of the shares that other
-- pages give), a page gives each of its links an equal share of its rank; ranks begin at 1.
--
-- Run it:
--   perilune mr examples/jobs/pagerank.lua examples/data/links.tsv -o /tmp/ranks --arg rounds=10
local args = ...
local rounds = math.tointeger(tonumber(args.rounds or 10))
assert(rounds and rounds > 1, "--arg rounds must be a whole number above 1")

-- Links are strings, shares are numbers; the links come first.
local function split(values)
  local links, sum = {}, 0
  for value in values do
    if type(value) == "string" then
      links[#links + 1] = value
    else
      sum = sum + value
    end
  end
  return links, sum
end

local function give(links, rank, out)
  for _, page in ipairs(links) do
    out(page, rank / #links)
  end
end

local function rank_of(sum)
  return 0.15 + 0.85 * sum
end

return {
  pipeline = {
    {
      cache = "graph",
      map = function(rec, out)
        local page, link = rec:fields("\t", 1, 2)
        out:count "links read"
        out(page, link)
      end,
      reduce = function(_, values, out)
        give(split(values), 1, out)
      end,
    },
    {
      loop = {
        {
          join = "graph",
          reduce = function(_, values, out)
            local links, sum = split(values)
            give(links, rank_of(sum), out)
          end,
        },
      },
      max = rounds - 1,
    },
    {
      join = "graph",
      reduce = function(page, values, out)
        local _, sum = split(values)
        out(page, ("%.4f"):format(rank_of(sum)))
      end,
    },
  },
}
