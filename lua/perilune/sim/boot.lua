-- The first Lua of every member of a simulation: loads the scenario, and runs the role of a node or the
-- controller.
local core = require "perilune.core.sim"
local perilune = require "perilune"
local scenario_of = require "perilune.sim.scenario"

-- The user's own lines of a traceback.
local function with_traceback(err)
  local meta = getmetatable(err)
  local is_text = type(err) == "string" or type(err) == "number" or type(meta) == "table" and meta.__tostring
  local lines = { is_text and tostring(err) or ("(error object is a %s value)"):format(type(err)) }
  for line in debug.traceback("", 2):gmatch "\n(\t[^\n]+)" do
    if not line:find("\tperilune/sim/", 1, true) and not line:find("\t[C]:", 1, true) then
      lines[#lines + 1] = line
    end
  end
  if #lines > 1 then
    table.insert(lines, 2, "stack traceback:")
  end
  return table.concat(lines, "\n")
end

-- Calls the scenario's code: true and what it returns, or false and an error as text, packed. Lack of memory
-- calls no message handler.
local function call(fn, ...)
  local outcome = table.pack(xpcall(fn, with_traceback, ...))
  if not outcome[1] then
    outcome[2] = core.explain(tostring(outcome[2]))
  end
  return outcome
end

-- Modules that have to know of the simulation learn of it when they are first required.
local function prepare(name, setup)
  package.preload[name] = function()
    for index = 2, #package.searchers do
      local loader, data = package.searchers[index](name)
      if type(loader) == "function" then
        local module = loader(name, data)
        setup(module)
        return module
      end
    end
    error(("module '%s' not found"):format(name))
  end
end

local function record_history(history)
  local msgpack = require "perilune.msgpack"
  local info = core.info()
  history.setup {
    node = info.name,
    incarnation = info.incarnation,
    now = core.now,
    sink = function(event)
      local key = event.key ~= nil and " " .. tostring(event.key) or ""
      local value = event.value ~= nil and " " .. tostring(event.value) or ""
      core.record(msgpack.encode(event),
        ("%s %s %s%s%s"):format(event.process, event.type, event.f, key, value))
    end,
  }
end

local function run_node(info, scenario)
  local Node = require "perilune.sim.node"
  local node = Node.new(info)
  if scenario.probes then
    perilune.spawn({ name = "simulation: probes", detached = true }, Node.answer_probes, node,
      scenario.probes)
  end
  local main = scenario.nodes[info.role]
  local outcome = call(main, node, Node.arguments(info))
  node:ended(outcome)
  if outcome[1] then
    perilune.settle()
  end
  return outcome[1] and 0 or 1
end

local function run_controller(_, scenario)
  local Controller = require "perilune.sim.controller"
  local is_ready, sim = pcall(Controller.new, scenario)
  if not is_ready then
    core.fail("scenario", (tostring(sim):gsub("^perilune/[%w_/]+%.lua:%d+: ", "")))
  end
  local outcome = call(scenario.run, sim)
  if not outcome[1] then
    core.fail("controller", outcome[2])
  end
  core.pass()
end

return function()
  local info = core.info()
  prepare("perilune.history", record_history)
  local outcome = call(scenario_of.load, info)
  local scenario = outcome[1] and outcome[2]
  if not scenario then
    core.fail("scenario", outcome[outcome[1] and 3 or 2])
  end
  return (info.role and run_node or run_controller)(info, scenario)
end
