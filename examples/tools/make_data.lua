-- make_data.lua - writes the made-up inputs of the examples: the same bytes on every run.
--
-- access.log (combined log format, two lines of it malformed), customers.tsv and orders.tsv, links.tsv.
-- People, addresses (RFC 5737) and traffic are invented.
--
-- Run it:
--   perilune run examples/tools/make_data.lua examples/data
local folder = assert((...), "give the folder to write to")

local seed = 20240229
local function random(bound) -- 0 .. bound-1
  seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
  return (seed >> 8) % bound
end

local function write(name, lines)
  local file = assert(io.open(folder .. "/" .. name, "w"))
  assert(file:write(table.concat(lines, "\n"), "\n"))
  assert(file:close())
end

local function pick(list)
  return list[random(#list) + 1]
end

local function access_log()
  local paths = { "/", "/index.html", "/search?q=lua", "/search?q=raft", "/api/jobs", "/api/jobs/7",
    "/static/app.js", "/static/app.css", "/login", "/favicon.ico" }
  local agents = { "curl/7.88.1", "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0" }
  local statuses = { 200, 200, 200, 200, 200, 304, 301, 404, 500, 503 }
  local lines = {}
  for number = 0, 1999 do
    local status = pick(statuses)
    local size = status == 304 and "-" or tostring(200 + random(20000))
    lines[#lines + 1] = ('192.0.2.%d - %s [29/Feb/2024:%02d:%02d:%02d +0000] "%s %s HTTP/1.1" %d %s "-" "%s"')
      :format(1 + random(40), random(10) == 0 and "ada" or "-", number // 100, number // 2 % 60, random(60),
        random(8) == 0 and "POST" or "GET", pick(paths), status, size, pick(agents))
  end
  lines[700] = '192.0.2.9 - - [29/Feb/2024:06:59:59 +0000] "\\x16\\x03\\x01" 400 226 "-" "-"'
  lines[1400] = lines[1400]:sub(1, 40)
  write("access.log", lines)
end

local function customers_and_orders()
  local names = { "Ada", "Barbara", "Edsger", "Frances", "Grace", "Leslie", "Nancy", "Tony" }
  local customers, orders = {}, {}
  for id = 1, 40 do
    customers[#customers + 1] = ("c%03d\t%s %d"):format(id, pick(names), id)
  end
  for number = 1, 400 do
    orders[#orders + 1] = ("o%04d\tc%03d\t%d"):format(number, 1 + random(42), 100 + random(9900))
  end
  write("customers.tsv", customers)
  write("orders.tsv", orders)
end

local function links()
  local lines = {}
  for page = 1, 120 do
    for _ = 1, page % 7 do -- every seventh page links nowhere
      -- Low numbers are popular.
      lines[#lines + 1] = ("page%03d\tpage%03d"):format(page, 1 + random(1 + random(120)))
    end
  end
  write("links.tsv", lines)
end

access_log()
customers_and_orders()
links()
