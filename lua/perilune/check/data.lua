--- Verdicts as plain data: for --json, and for the page that shows them.
local json = require "perilune.json"

local M = {}

--- An operation without what nobody asked for.
---@param op table
---@return table
function M.operation(op)
  return {
    process = op.process, node = op.node, f = op.f, key = op.key, value = op.value, result = op.result,
    outcome = op.outcome, error = op.error, call_us = op.call_us, finish_us = op.finish_us,
    call_line = op.call_line, finish_line = op.finish_line, stands_for = op.stands_for,
    seen = op.seen,
  }
end

local function operations(list)
  local result = json.array {}
  for index, op in ipairs(list) do
    result[index] = M.operation(op)
  end
  return result
end

local function counterexample(example)
  return example and {
    sentence = example.sentence, operations = operations(example.operations), others = example.others,
    repeated = example.repeated, blocked = example.blocked and M.operation(example.blocked),
    contradicts = example.other and M.operation(example.other),
  }
end

--- A verdict.
---@param verdict perilune.check.Verdict
---@param path string
---@return table
function M.verdict(verdict, path)
  local keys = json.array {}
  for index, key in ipairs(verdict.keys) do
    keys[index] = {
      key = key.key, ok = key.ok, operations = key.operations, steps = key.steps, memory = key.memory,
      reason = key.reason, why = key.why, counterexample = counterexample(key.counterexample),
    }
  end
  return {
    history = path, verdict = verdict.verdict, ok = verdict.ok, why = verdict.why, keys = keys,
    operations = verdict.operations, unknown = verdict.unknown, steps = verdict.steps,
    memory = verdict.memory,
  }
end

--- What sessions were promised and not given.
---@param result table  of check.sessions
---@param path string
---@return table
function M.sessions(result, path)
  local violations = json.array {}
  for index, violation in ipairs(result.violations) do
    violations[index] = {
      guarantee = violation.guarantee, sentence = violation.sentence,
      first = violation.first and M.operation(violation.first), second = M.operation(violation.second),
    }
  end
  return {
    history = path, ok = result.ok, violations = violations, operations = result.operations,
    sessions = result.sessions, skipped = result.skipped,
  }
end

return M
