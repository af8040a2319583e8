-- What a job file may contain: checks the table that it returned and gives it one normal form.
--
-- The file itself runs in a sandboxed state of its own; what arrives here is a plain copy in which a
-- function is { ["function"] = "wordcount.lua:3" }. Pure: no state, no world.
local checks = require "perilune.mapreduce.checks"
local suggest = require "perilune.suggest"
local units = require "perilune.units"

local M = {}

---@class perilune.mapreduce.Step
---@field path (string|integer)[]  where the step stands in the job table; {} for a job without a pipeline
---@field number integer           1, 2, ... in the order they are written
---@field has_map boolean          false: pairs pass through
---@field reduce table|nil         { name = "topk", count = 10 } or { lua = true }; nil: map-only
---@field combine table|nil        as reduce
---@field partition string         "hash", "range", "fnv1a" or "lua"
---@field compare string           "ascending", "descending" or "lua"
---@field cache string|nil         the name under which the map output is kept
---@field join string|nil          the kept map output that is merged into reduce

---@class perilune.mapreduce.Loop
---@field steps perilune.mapreduce.Step[]
---@field max integer              rounds at most
---@field has_until boolean
---@field path (string|integer)[]

---@class perilune.mapreduce.Job
---@field name string
---@field input table              { format, header, separator, record_max_bytes }
---@field output string
---@field side table<string, string>
---@field backup_after_s number|false  how old a task must be for a backup attempt
---@field elements (perilune.mapreduce.Step|{loop: perilune.mapreduce.Loop})[]

local refuse, kind_of, shown, sorted_keys = checks.refuse, checks.kind_of, checks.shown, checks.sorted_keys

local function parse_size(value)
  return units.parse_size(value, true)
end

-- Named reducers and the arguments that each takes: { field, kind, needed }.
local REDUCERS = {
  all = {}, any = {}, avg = {}, count = {}, distinct = {}, first = {}, identity = {}, last = {},
  max = {}, min = {}, sum = {},
  set = { { "limit", "integer" } },
  concat = { { "separator", "string" }, { "limit", "integer" } },
  topk = { { "count", "integer", true } },
}

local ARGUMENT_EXAMPLES = {
  concat = '{ "concat", ", ", 100000 }', set = '{ "set", 1000 }', topk = '{ "topk", 10 }',
}

local function fits(argument, kind, is_needed)
  if argument == nil then
    return not is_needed
  elseif kind == "string" then
    return type(argument) == "string"
  end
  return type(argument) == "number" and math.tointeger(argument) and argument >= 1
end

--- Fills the reducer with the arguments behind its name.
local function read_arguments(reducer, given, parameters, where)
  local name = reducer.name
  for i, parameter in ipairs(parameters) do
    local field, kind, is_needed = table.unpack(parameter)
    if not fits(given[i + 1], kind, is_needed) then
      refuse("%s: %q needs %s %s, as in %s", where, name,
        kind == "string" and "a string as" or "a whole number above 0 as", field, ARGUMENT_EXAMPLES[name])
    end
    reducer[field] = given[i + 1]
  end
  for key in pairs(given) do
    if key ~= 1 and not (math.type(key) == "integer" and key - 1 <= #parameters) then
      refuse("%s: %q takes %d argument%s", where, name, #parameters, #parameters == 1 and "" or "s")
    end
  end
  return reducer
end

local function check_reducer(list, field, where)
  local value = list[field]
  local kind = kind_of(value)
  if kind == "nil" then
    return nil
  elseif kind == "function" then
    return { lua = true }
  end
  local given = kind == "string" and { value } or value
  local name = type(given) == "table" and given[1]
  if type(name) ~= "string" then
    refuse("%s%s must be a function, a reducer's name or { name, argument }, not %s", where, field,
      shown(value))
  end
  local parameters = REDUCERS[name]
  if not parameters then
    local near = suggest.nearest(name, sorted_keys(REDUCERS))
    refuse("%s%s: no reducer is named %q%s", where, field, name,
      near and ("; did you mean %q?"):format(near)
      or "; known are " .. table.concat(sorted_keys(REDUCERS), ", "))
  end
  return read_arguments({ name = name }, given, parameters, where .. field)
end

local FORMATS = { "lines", "files", "tsv", "csv", "jsonl", "chunk", "fixed:N" }

local function check_input(list, where)
  local value = list.input
  local given = value == nil and {} or kind_of(value) == "string" and { format = value } or value
  if kind_of(given) ~= "table" then
    refuse("%sinput must be a format's name or a table, not %s", where, shown(value))
  end
  checks.known(given, { format = true, header = true, separator = true, record_max = true },
    where .. "input: ")
  local format = given.format or "lines"
  local known = type(format) == "string" and format:match("^fixed:[1-9]%d*$")
  for i = 1, #FORMATS - 1 do
    known = known or format == FORMATS[i]
  end
  if not known then
    local near = type(format) == "string" and suggest.nearest(format, FORMATS)
    refuse("%sinput: format must be one of %s, not %s%s", where, table.concat(FORMATS, ", "),
      shown(format), near and ("; did you mean %q?"):format(near) or "")
  end
  if given.header ~= nil and type(given.header) ~= "boolean" then
    refuse("%sinput: header must be true or false, not %s", where, shown(given.header))
  end
  if given.separator ~= nil and (type(given.separator) ~= "string" or #given.separator ~= 1) then
    refuse("%sinput: separator must be one character, not %s", where, shown(given.separator))
  end
  return { format = format, header = given.header, separator = given.separator,
    record_max_bytes = checks.parsed(given, "record_max", where .. "input: ", parse_size) }
end

local STEP_FIELDS = {
  map = true, reduce = true, combine = true, partition = true, compare = true, setup = true,
  teardown = true, cache = true, join = true, name = true,
}

local function check_name(list, field, where)
  local value = list[field]
  if value ~= nil and (type(value) ~= "string" or not value:match("^[%w_. -]+$")) then
    refuse("%s%s must be a string of letters, digits, blanks and _ . -, not %s", where, field,
      shown(value))
  end
  return value
end

-- The named reducers whose result is a value of the same kind: a reduce function cannot tell.
local COMBINERS = { all = true, any = true, max = true, min = true, sum = true }

local function check_step(list, path, where, needs_map)
  local has_map = checks.is_function(list, "map", where)
  if needs_map and not has_map then
    refuse("%sthere is no map: the table that the file returns needs map = function(rec, out) ... end",
      where)
  end
  local step = {
    path = path, has_map = has_map, name = check_name(list, "name", where),
    reduce = check_reducer(list, "reduce", where), combine = check_reducer(list, "combine", where),
    partition = checks.word(list, "partition", where, { "hash", "range", "fnv1a" }, true),
    compare = checks.word(list, "compare", where, { "ascending", "descending" }, true),
    cache = check_name(list, "cache", where), join = check_name(list, "join", where),
  }
  checks.is_function(list, "setup", where)
  checks.is_function(list, "teardown", where)
  if not step.reduce then
    for _, field in ipairs { "combine", "partition", "compare", "join" } do
      if list[field] ~= nil and not (step.cache and field ~= "join") then
        refuse("%s%s has no use without reduce", where, field)
      end
    end
  end
  if step.combine and step.reduce and step.reduce.name and step.combine.name ~= step.reduce.name then
    refuse("%sreduce = %q combines by itself; leave combine out", where, step.reduce.name)
  elseif step.combine and step.combine.name and step.reduce and step.reduce.lua
    and not COMBINERS[step.combine.name] then
    refuse("%scombine = %q changes what the values are; before a reduce function it can be %s", where,
      step.combine.name, table.concat(sorted_keys(COMBINERS), ", "))
  end
  if step.join and (not step.reduce.lua or step.combine and step.combine.name) then
    refuse("%sjoin needs a reduce function, which sees the kept values first%s", where,
      step.reduce.lua and ", and no named combine" or "")
  end
  return step
end

--- A loop of the pipeline; add checks one of its steps.
local function check_loop(element, i, where, has_previous, add)
  checks.known(element, { loop = true, max = true, until_ = true }, where)
  local loop = { steps = {}, path = { "pipeline", i },
    max = checks.count(element, "max", where, 1, 10000),
    has_until = checks.is_function(element, "until_", where) }
  if kind_of(element.loop) ~= "table" or #element.loop == 0 then
    refuse("%sloop must be a list of steps, not %s", where, shown(element.loop))
  elseif not has_previous then
    refuse("%sa loop needs a step before it, whose output its first round reads", where)
  elseif not loop.max then
    refuse("%sa loop needs max, the number of rounds at most", where)
  end
  for j, list in ipairs(element.loop) do
    local inner = ("pipeline[%d].loop[%d]: "):format(i, j)
    if kind_of(list) ~= "table" then
      refuse("%sa step must be a table, not %s", inner, shown(list))
    end
    loop.steps[j] = add(list, { "pipeline", i, "loop", j }, inner)
    if loop.steps[j].cache then
      refuse("%scache cannot stand in a loop", inner)
    end
  end
  return loop
end

local function check_pipeline(pipeline)
  local elements, number, caches, previous = {}, 0, {}, false
  local function add(list, path, where)
    checks.known(list, STEP_FIELDS, where)
    local step = check_step(list, path, where, not previous)
    number = number + 1
    step.number = number
    step.reads_input = not previous
    if step.join and not caches[step.join] then
      refuse("%sjoin: no earlier step has cache = %q", where, step.join)
    end
    if step.partition == "range" and (step.join or step.cache)
      or step.join and caches[step.join].partition ~= step.partition then
      refuse("%sjoin and cache need the same partition on both sides, and not \"range\"", where)
    elseif step.cache and step.reduce and (step.reduce.name or step.combine and step.combine.name) then
      refuse("%sa cache keeps values, so its reduce and combine must be functions", where)
    end
    if step.cache then
      caches[step.cache] = step
    end
    previous = previous or step.reduce ~= nil or not step.cache
    return step
  end
  for i, element in ipairs(pipeline) do
    local where = ("pipeline[%d]: "):format(i)
    if kind_of(element) ~= "table" then
      refuse("%sa step must be a table, not %s", where, shown(element))
    elseif element.loop == nil then
      elements[i] = add(element, { "pipeline", i }, where)
    else
      elements[i] = { loop = check_loop(element, i, where, previous ~= false, add) }
    end
  end
  if #elements == 0 or #elements ~= #sorted_keys(pipeline) then
    refuse("pipeline must be a list of steps, without gaps and names")
  end
  local last = elements[#elements]
  if last.cache then
    refuse("pipeline[%d]: the last step cannot be a cache", #elements)
  end
  return elements
end

local JOB_FIELDS = {
  pipeline = true, input = true, output = true, side = true, memory = true, split = true,
  reduces = true, attempts = true, timeout = true, skip_records = true, backup = true,
}

local function check_side(list)
  if list.side == nil then
    return {}
  end
  if kind_of(list.side) ~= "table" then
    refuse("side must be a table { name = \"path\" }, not %s", shown(list.side))
  end
  for _, name in ipairs(sorted_keys(list.side)) do
    if type(name) ~= "string" or type(list.side[name]) ~= "string" then
      refuse("side: %s must name a path, not %s", shown(name), shown(list.side[name]))
    end
  end
  return list.side
end

local function check_elements(list)
  if list.pipeline == nil then
    local step = check_step(list, {}, "", true)
    step.number, step.reads_input = 1, true
    return { step }
  elseif kind_of(list.pipeline) ~= "table" then
    refuse("pipeline must be a list of steps, not %s", shown(list.pipeline))
  end
  for _, field in ipairs(sorted_keys(STEP_FIELDS)) do
    if list[field] ~= nil and field ~= "name" then
      refuse("%s stands beside pipeline; move it into a step", field)
    end
  end
  return check_pipeline(list.pipeline)
end

local function check_job(list, name)
  if kind_of(list) ~= "table" then
    refuse("the file must return the job's table, not %s", list == nil and "nothing" or shown(list))
  end
  local known = {}
  for field in pairs(JOB_FIELDS) do
    known[field] = true
  end
  for field in pairs(STEP_FIELDS) do
    known[field] = field ~= "cache" and field ~= "join" or nil
  end
  checks.known(list, known, "")
  local backup = list.backup
  if type(backup) ~= "boolean" then
    backup = checks.parsed(list, "backup", "", units.parse_duration) or true
  end
  return {
    name = check_name(list, "name", "") or name, elements = check_elements(list),
    input = check_input(list, ""), side = check_side(list),
    output = checks.word(list, "output", "", { "text", "tsv", "jsonl", "raw" }),
    reduces = checks.count(list, "reduces", "", 1, 65535),
    attempts = checks.count(list, "attempts", "", 1, 100) or 4,
    skip_records = checks.count(list, "skip_records", "", 0, 1 << 40) or 0,
    memory_bytes = checks.parsed(list, "memory", "", parse_size),
    split_bytes = checks.parsed(list, "split", "", parse_size),
    timeout_s = checks.parsed(list, "timeout", "", units.parse_duration) or 60,
    backup_after_s = backup == true and 5 or backup,
  }
end

--- Where the job's side files are: relative paths start at the job file's folder.
---@param job perilune.mapreduce.Job
---@param path string  of the job file
---@return table<string, string>
function M.side_paths(job, path)
  local folder = path:match("^(.*/)[^/]*$") or ""
  local paths = {}
  for name, file in pairs(job.side) do
    paths[name] = file:sub(1, 1) == "/" and file or folder .. file
  end
  return paths
end

--- Checks what a job file returned.
---@param list any       the plain copy of it
---@param name string    the file's name without folder and suffix
---@return perilune.mapreduce.Job|nil job
---@return string|nil err   what is wrong, and where
---@return string|nil code
function M.check(list, name)
  return checks.catch(check_job, list, name)
end

return M
