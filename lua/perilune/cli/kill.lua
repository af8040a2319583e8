--- perilune kill: ends nodes as a power failure would.
return require("perilune.cli.cluster_signal").verb("kill", {
  summary = "kill nodes on this machine (kill -9)",
  about = "Kills the processes of nodes on this machine as kill -9 does, which gives them no time for "
    .. "anything. perilune up starts them again, with their data.",
  done = "was killed",
  examples = "Examples:\n  perilune kill leader\n  perilune kill n2\n  perilune kill n1,n3 && perilune up",
})
