-- A machine of examples/machines on three nodes under faults: clients propose random commands at any of them
-- while nodes lose power, are killed, stand still and are cut off. At the end all replicas have applied as
-- much, with one hash, and the machine's invariant holds. The scenario is the library's:
-- lua/perilune/machine/scenario.lua. (With --verify the machine's path must be absolute.)
--
--   perilune sim examples/scenarios/machine.lua --arg machine=examples/machines/bank.lua --seeds 1..3
--   perilune sim examples/scenarios/machine.lua --arg machine=examples/machines/queue.lua --seeds 1..3
return require "perilune.machine.scenario" { machine = args.machine or "examples/machines/counter.lua" }
