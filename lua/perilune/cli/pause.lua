--- perilune pause: stops nodes in the middle of what they do.
return require("perilune.cli.cluster_signal").verb("pause", {
  summary = "pause nodes on this machine (SIGSTOP)",
  about = "Stops the processes of nodes on this machine in the middle of what they do, as a machine "
    .. "that stalls would: their connections stay. perilune resume lets them go on.",
  done = "is paused",
  examples = "Examples:\n  perilune pause leader\n  perilune pause followers\n  perilune resume all",
})
