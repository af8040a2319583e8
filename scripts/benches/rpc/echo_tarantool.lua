-- The same handler in Tarantool. Usage: tarantool echo_tarantool.lua PORT
-- luacheck: globals box echo
box.cfg {
  listen = "127.0.0.1:" .. arg[1], memtx_memory = 64 * 1024 * 1024, wal_mode = "none", log = "tarantool.log",
}

function echo(text)
  return text
end
box.schema.func.create("echo", { if_not_exists = true })
box.schema.user.grant("guest", "execute", "function", "echo", { if_not_exists = true })
print("listening at 127.0.0.1:" .. arg[1])
io.stdout:flush()
