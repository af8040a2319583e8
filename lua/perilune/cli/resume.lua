--- perilune resume: lets paused nodes go on.
return require("perilune.cli.cluster_signal").verb("resume", {
  summary = "let paused nodes go on",
  about = "Lets the processes of nodes on this machine go on that perilune pause has stopped.",
  done = "goes on",
  examples = "Examples:\n  perilune resume n2\n  perilune resume all",
})
