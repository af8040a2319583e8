-- access_log.lua - what an HTTP server's log says: requests, bytes and errors of every path.
--
-- Reads the "combined" format of Apache and nginx. Lines that are not in it are counted, not fatal.
-- Requests that failed with 5xx also go, line by line, to the output "errors".
--
-- Run it:
--   perilune mr examples/jobs/access_log.lua examples/data/access.log -o /tmp/traffic
local COMBINED = '^(%S+) %S+ %S+ %[([^%]]+)%] "(%u+) (%S+) [^"]*" (%d%d%d) (%S+)'

local function total(values)
  local requests, bytes, errors = 0, 0, 0
  for value in values do
    requests, bytes, errors = requests + value[1], bytes + value[2], errors + value[3]
  end
  return requests, bytes, errors
end

return {
  output = "tsv",
  map = function(rec, out)
    local line = rec:str()
    local _, _, _, target, status, size = line:match(COMBINED)
    if not target then
      out:count "malformed lines"
      return
    end
    local path = target:match "^[^?]*"
    local is_error = status:sub(1, 1) == "5"
    if is_error then
      out:to("errors", path, line)
    end
    out(path, { 1, tonumber(size) or 0, is_error and 1 or 0 }) -- the size is "-" when nothing was sent
  end,
  combine = function(path, values, out)
    out(path, { total(values) })
  end,
  reduce = function(path, values, out)
    out(path, ("%d requests, %d bytes, %d errors"):format(total(values)))
  end,
}
