--- perilune logs: what the nodes of a cluster on this machine say.
local fiber = require "perilune.fiber"
local fs = require "perilune.fs"
local output = require "perilune.cli.output"
local target = require "perilune.cli.cluster_target"

local M = { summary = "show what the nodes on this machine say" }

local LINES = 100
local POLL = 0.1 -- seconds
local PIECE = 65536

---@param argparse table
---@return table parser
function M.parser(argparse)
  local parser = argparse("perilune logs", "Shows the last lines that the nodes of a cluster on this machine "
    .. "have said, of all or of one; with -f also what they say from now on.")
  parser:argument("node", "A name, or leader, followers, all (default)."):args "?":argname "NODE"
  parser:flag("-f --follow", "Go on until a signal comes.")
  parser:option("-l --lines", "So many lines of each (default: 100)."):argname "N"
    :convert(function(text)
      local number = math.tointeger(tonumber(text))
      if not number or number < 0 then
        return nil, ("'%s' is no whole number from 0 on"):format(text)
      end
      return number
    end)
  target.add_options(parser)
  parser:epilog [[
With --json each line is an object, { node, line }.

Examples:
  perilune logs
  perilune logs n2 --lines 20
  perilune logs -f leader]]
  return parser
end

local function show(args, name, prefix, line)
  if args.json then
    output.json { node = name, line = line }
  else
    io.stdout:write(prefix, line, "\n")
  end
end

---@class perilune.cli.logs.Tail
---@field name string
---@field prefix string
---@field path string
---@field offset integer
---@field rest string  of a line that has not ended

-- Shows what has come since.
local function follow(args, tail)
  local stat = fs.stat(tail.path)
  if not stat or stat.size < tail.offset then
    tail.offset, tail.rest = 0, "" -- it is a new one
  end
  if not stat or stat.size == tail.offset then
    return
  end
  local file = fs.open(tail.path)
  if not file then
    return
  end
  file:seek("set", tail.offset)
  while true do
    local piece = file:read(PIECE)
    if not piece or piece == "" then
      break
    end
    tail.offset = tail.offset + #piece
    local text = tail.rest .. piece
    tail.rest = text:match "[^\n]*$"
    for line in text:sub(1, #text - #tail.rest):gmatch "([^\n]*)\n" do
      show(args, tail.name, tail.prefix, line)
    end
  end
  file:close()
  io.stdout:flush()
end

---@param args table
---@return integer exit_code
function M.run(args)
  local folder, nodes, code = target.selected(args, args.node or "all")
  if not folder then
    return target.fail("logs", nodes, code)
  end
  local tails = {}
  for i, node in ipairs(nodes) do
    local stat = fs.stat(folder:at(node, "log"))
    local prefix = #nodes > 1 and output.paint("stdout", "cyan", node.name) .. " | " or ""
    tails[i] = { name = node.name, prefix = prefix, path = folder:at(node, "log"), rest = "",
      offset = stat and stat.size or 0 }
    for _, line in ipairs(folder:last_lines(node, args.lines or LINES)) do
      show(args, node.name, prefix, line)
    end
  end
  io.stdout:flush()
  while args.follow do
    fiber.sleep(POLL)
    for _, tail in ipairs(tails) do
      follow(args, tail)
    end
  end
  return output.EXIT_OK
end

return M
