--- Judges histories: could one object, used by one client at a time, have answered like this?
local core = require "perilune.core.check"
local evidence = require "perilune.check.evidence"
local fiber = require "perilune.fiber"
local judge = require "perilune.check.judge"
local models = require "perilune.check.model"
local options_of = require "perilune.options"
local sequential = require "perilune.check.sequential"

local M = {}

local YIELD_EVERY = 4096 -- events
local READ_BYTES = 1 << 18 -- of a file, before others run
local SHRINK_SECONDS = 10 -- also when the budget is used up
local MEBIBYTE = 1024 * 1024
local DEFAULTS = { budget = 60, memory = 512 * MEBIBYTE, steps = math.huge, shrink = true }
local OPTIONS = { budget = "number", memory = "number", steps = "number", shrink = "boolean" }

---@class perilune.check.Options
---@field budget? number   seconds; default 60
---@field memory? integer  bytes of one search; default 512 MiB
---@field steps? number    steps of the model over all keys: the same on every machine; default no limit
---@field shrink? boolean  look for the smallest part that is still wrong; default true

---@class perilune.check.Verdict
---@field ok? boolean       nil: undecided
---@field verdict string   "linearizable", "not linearizable", "undecided"
---@field why? string       a sentence; nil when ok
---@field keys perilune.check.KeyVerdict[]  in the order of first appearance
---@field operations integer
---@field unknown integer   operations whose outcome nobody knows
---@field steps integer
---@field memory integer    bytes that the largest search took
---@field history userdata

---@class perilune.check.KeyVerdict
---@field key any
---@field ok? boolean
---@field operations integer
---@field steps integer
---@field memory integer
---@field reason? "time"|"memory"|"steps"  why undecided
---@field window? { open: integer, operation: integer }  undecided: where the most operations were open
---@field order? table[]    ok: { { operation = index, state = number of the state after it }, ... }
---@field counterexample? perilune.check.Counterexample  not ok

--- The models that have names: { name =, operations = "read, write" }.
---@return table[]
function M.models()
  return core.models()
end

--- Makes a history of the text of a file. In a fiber others run meanwhile.
---@param text string
---@param format? "auto"|"jsonl"|"jepsen"|"edn"
---@return userdata|nil history
---@return string|nil err  names the line
---@return string|nil code  "EFORMAT"
function M.parse(text, format)
  local history = core.history()
  local reading = history:read(format or "auto", text)
  while true do
    local is_read, err, code = reading:run(READ_BYTES)
    if is_read then
      return history
    elseif err then
      return nil, err, code
    end
    if coroutine.isyieldable() then
      fiber.yield()
    end
  end
end

--- Reads a history from a file.
---@param path string
---@param format? "auto"|"jsonl"|"jepsen"|"edn"
---@return userdata|nil history
---@return string|nil err
---@return string|nil code
function M.read(path, format)
  local text, err, code = require("perilune.fs").read(path)
  if not text then
    return nil, err, code
  end
  return M.parse(text, format)
end

-- is_waiting: lets other fibers run meanwhile.
local function history_of(events, caller, is_waiting)
  if type(events) == "userdata" then
    return events
  elseif type(events) ~= "table" then
    error(("%s: a history is a list of events, or what check.read gave; not a %s"):format(caller,
      type(events)), 3)
  end
  local history = core.history()
  for number, event in ipairs(events) do
    if type(event) ~= "table" then
      return nil, ("event %d is a %s, not a table"):format(number, type(event)), "EFORMAT"
    end
    local ok, err, code = history:add(event, number)
    if not ok then
      return nil, err, code
    end
    if is_waiting and number % YIELD_EVERY == 0 then
      fiber.yield()
    end
  end
  return history
end

local function model_of(model, caller)
  if type(model) == "table" then
    return models.check(model, caller), model.name or "a table"
  end
  local names = {}
  for index, known in ipairs(core.models()) do
    names[index] = known.name
    if known.name == model then
      return model, model
    end
  end
  error(("%s: no model is called %s; %s"):format(caller, tostring(model),
    require("perilune.suggest").hint(tostring(model), names)), 3)
end

local function budget_of(options, caller)
  options = options_of.check(options, OPTIONS, caller, 4)
  local function get(name)
    return options[name] == nil and DEFAULTS[name] or options[name]
  end
  return {
    deadline = fiber.now() + get "budget", steps = get "steps", memory = get "memory" // 1 | 0,
    shrink = options.shrink ~= false, seconds = get "budget",
  }
end

local function total(keys, field)
  local sum = 0
  for _, key in ipairs(keys) do
    sum = sum + key[field]
  end
  return sum
end

local function verdict_of(history, keys, names)
  local operations, unknown = history:counts()
  local verdict = {
    history = history, keys = keys, operations = operations, unknown = unknown, ok = true,
    steps = total(keys, "steps"), memory = 0,
  }
  for _, key in ipairs(keys) do
    verdict.memory = math.max(verdict.memory, key.memory)
    if key.ok == false then
      verdict.ok = false
    elseif key.ok == nil and verdict.ok then
      verdict.ok = nil
    end
  end
  verdict.verdict = verdict.ok and names[1] or verdict.ok == false and names[2] or "undecided"
  return verdict
end

local LINEARIZABLE = { "linearizable", "not linearizable" }

-- Runs the searches; those of a model in Lua under a deadline that ends even a step that never returns.
local function search(keys, budget, is_external)
  if not is_external then
    return judge.search(keys, budget, evidence.find)
  end
  local result = table.pack(fiber.deadline(math.max(0.001, budget.deadline - fiber.now()), function()
    judge.search(keys, budget, evidence.find)
    return true
  end))
  if not result[1] and result[3] ~= "EDEADLINE" then
    error(result[2], 0)
  end
  for _, key in ipairs(keys) do
    if key.ok == nil then
      key.reason = key.reason or "time"
    end
  end
end

--- Is there an order of the operations, each between its invocation and its completion, in which the model
--- gives these results? Waits: other fibers run meanwhile.
---@param events table[]|userdata  events in their order, or what check.read or check.parse gave
---@param model string|perilune.check.Model
---@param options? perilune.check.Options
---@return perilune.check.Verdict|nil verdict
---@return string|nil err
---@return string|nil code  "EFORMAT": it is no history of this model
function M.linearizable(events, model, options)
  local budget = budget_of(options, "check.linearizable")
  model = model_of(model, "check.linearizable")
  local history, err, code = history_of(events, "check.linearizable", true)
  if not history then
    return nil, err, code
  end
  local keys
  keys, err, code = judge.parts(history, model)
  if not keys then
    return nil, err, code
  end
  search(keys, budget, type(model) == "table")
  local verdict = verdict_of(history, keys, LINEARIZABLE)
  require("perilune.check.explain").all(verdict, budget)
  return verdict
end

local CONSISTENT = { "sequentially consistent", "not sequentially consistent" }

--- Is there an order of the operations, each client's in its own order, in which the model gives these
--- results? Real time does not count; all keys are searched together. Waits, as linearizable does.
---@param events table[]|userdata
---@param model string  a model that has a name
---@param options? perilune.check.Options
---@return perilune.check.Verdict|nil verdict  with one key that stands for all
---@return string|nil err
---@return string|nil code
function M.sequential(events, model, options)
  local budget = budget_of(options, "check.sequential")
  if type(model) ~= "string" then
    error("check.sequential: the model must be one that has a name; see check.models()", 2)
  end
  model = model_of(model, "check.sequential")
  local history, err, code = history_of(events, "check.sequential", true)
  if not history then
    return nil, err, code
  end
  local key
  key, err, code = judge.sequential(history, model, budget, sequential.find)
  if not key then
    return nil, err, code
  end
  local verdict = verdict_of(history, { key }, CONSISTENT)
  if key.ok == false then
    local own = { deadline = fiber.now() + SHRINK_SECONDS, steps = math.huge, memory = budget.memory }
    key.counterexample = sequential.counterexample(key, own, budget.shrink)
    key.why = key.counterexample.sentence
  elseif key.ok then
    key.order = require("perilune.check.explain").order(key.part:items(), key.order)
  elseif key.ok == nil then
    require("perilune.check.explain").all(verdict, budget)
  end
  verdict.why = key.why
  return verdict
end

--- Checks read your writes, monotonic reads, monotonic writes and writes follow reads, over the reads and
--- writes (or get and put) of each client, in a time that grows with the history. A value should be written
--- once: reads of one that was written twice are not judged.
---@param events table[]|userdata
---@return { ok: boolean, violations: perilune.check.SessionViolation[], operations: integer }|nil result
---@return string|nil err
---@return string|nil code
function M.sessions(events)
  local history, err, code = history_of(events, "check.sessions")
  if not history then
    return nil, err, code
  end
  return require("perilune.check.sessions").check(history)
end

--- Makes a page of a verdict: clients and time, operations, the order found, what is wrong. One file of at
--- most 5 MB that needs no other.
---@param verdict perilune.check.Verdict
---@param title? string
---@return string html
function M.html(verdict, title)
  return require("perilune.check.html").page(verdict, title)
end

--- Writes a verdict for a person: a line, and for each wrong key (three at most) the smallest part that is
--- still wrong, drawn.
---@param verdict perilune.check.Verdict
---@param options? { columns?: integer, color?: boolean }  default 100, false
---@return string
function M.text(verdict, options)
  options = options_of.check(options, { columns = "number", color = "boolean" }, "check.text")
  return require("perilune.check.draw").verdict(verdict, {
    columns = options.columns,
    paint = options.color and function(style, text)
      return ("\27[%dm%s\27[0m"):format(({ red = 31, green = 32, yellow = 33 })[style], text)
    end or nil,
  })
end

return M
