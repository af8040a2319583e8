-- A node of Tarantool with synchronous replication to two of three, and an fsync for each write to its log.
-- Usage: tarantool tarantool_node.lua DIRECTORY ID PORT PORT PORT; the first one takes the writes.
local directory, id = arg[1], tonumber(arg[2])
-- luacheck: globals box
local uris = {}
for i = 3, 5 do
  uris[#uris + 1] = "127.0.0.1:" .. arg[i]
end
box.cfg {
  listen = uris[id], replication = uris, read_only = id ~= 1, work_dir = directory, wal_mode = "fsync",
  replication_synchro_quorum = 2, replication_synchro_timeout = 30, replication_connect_timeout = 30,
  log_level = 4, readahead = 1024 * 1024,
}
if id == 1 then
  box.schema.user.grant("guest", "super", nil, nil, { if_not_exists = true })
  local space = box.schema.space.create("kv", { id = 512, is_sync = true })
  space:create_index("primary", { parts = { { 1, "string" } } })
  print "space is ready"
  io.stdout:flush()
end
