std = "lua54"
max_line_length = 110
files["tests/spec"] = { std = "+busted" }
files["examples"] = { std = "+busted" }
files["lua/perilune/check/page.lua"] = { max_line_length = false } -- a page of HTML
files["lua/perilune/cli/test.lua"] = { globals = { "os.exit" } }
files["tests/data/vm/deterministic*.lua"] = { read_globals = { "draw", "encode", "stock_length" } }
exclude_files = { "build" }
files["examples/scenarios"] = { globals = { "args" } }
files["tests/sim"] = { globals = { "args" } }
