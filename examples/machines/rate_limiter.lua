-- A rate limiter for many clients: each has a bucket of tokens that fills up with the log's time. The result
-- says whether the call may go on, and else for how long to wait.
--
--   perilune machine check examples/machines/rate_limiter.lua
local RATE, BURST = 10, 20 -- tokens a second; at most

local function bucket_of(state, key, now)
  local bucket = state.buckets[key]
  if not bucket then
    bucket = { tokens = BURST, at = now }
    state.buckets[key] = bucket
    state.count = state.count + 1
    return bucket
  end
  bucket.tokens = math.min(BURST, bucket.tokens + (now - bucket.at) * RATE)
  bucket.at = now
  return bucket
end

-- Full buckets are as good as none: one command in a hundred looks for them.
local function sweep(state, now)
  for key, bucket in pairs(state.buckets) do
    if bucket.tokens + (now - bucket.at) * RATE >= BURST then
      state.buckets[key] = nil
      state.count = state.count - 1
    end
  end
end

return {
  init = function() return { buckets = {}, count = 0 } end,

  apply = function(state, command, ctx)
    local cost = type(command) == "table" and math.tointeger(command.cost or 1)
    if not cost or cost < 1 or cost > BURST or type(command.key) ~= "string" then
      error(("a command has a key and a cost from 1 to %d"):format(BURST), 0)
    end
    if ctx.index % 100 == 0 then
      sweep(state, ctx.now)
    end
    local bucket = bucket_of(state, command.key, ctx.now)
    if bucket.tokens < cost then
      return { allowed = false, wait = (cost - bucket.tokens) / RATE }
    end
    bucket.tokens = bucket.tokens - cost
    return { allowed = true, left = bucket.tokens }
  end,

  query = function(state, key)
    return key and state.buckets[key] or { count = state.count }
  end,

  samples = { { key = "ann" }, { key = "bob", cost = 5 }, { key = "ann", cost = 20 } },
}
