/* Groups whose machine is a file of Lua, in a state of its own: no fiber takes its tasks. */
#include "machine.h"
#include "raft.h"
#include "vm/state.h"

enum { SLICE_LOOKS = 200 }; /* about 2 ms */

/* The table at index: { text, name, memory }. */
int raft_lua_open(lua_State *L, int index, struct raft_group_box *box, struct peri_error *err)
{
    struct peri_slice text;
    (void)lua_getfield(L, index, "text");
    text.data = luaL_checklstring(L, -1, &text.size);
    (void)lua_getfield(L, index, "name");
    const char *name = luaL_checkstring(L, -1);
    (void)lua_getfield(L, index, "memory");
    const struct vm_machine_options options = {.env = vm_state_of(L)->env,
                                               .memory_limit_bytes =
                                                   (size_t)luaL_optinteger(L, -1, 0),
                                               .slice_looks = SLICE_LOOKS};
    int rc = vm_machine_node_create(&box->lua, &options, text, name, err);
    lua_pop(L, 3);
    return rc;
}

void raft_lua_close(struct raft_group_box *box)
{
    vm_machine_node_close(box->lua);
    box->lua = NULL;
}

static struct vm_machine *check_machine(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    if (box->lua == NULL)
        (void)luaL_error(L, "the group has no machine in a file");
    return vm_machine_node_machine(box->lua);
}

/* group:machine(): { hash, version, memory, used } of this replica's machine. */
static int l_machine(lua_State *L)
{
    machine_push_info(L, check_machine(L));
    return 1;
}

/* group:hash_at(index): the hash behind that entry, or nil. */
static int l_hash_at(lua_State *L)
{
    uint64_t hash;
    const struct vm_machine *machine = check_machine(L);
    if (vm_machine_hash_at(machine, (uint64_t)luaL_checkinteger(L, 2), &hash))
        lua_pushinteger(L, (lua_Integer)hash);
    else
        lua_pushnil(L);
    return 1;
}

void raft_open_lua(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"machine", l_machine}, {"hash_at", l_hash_at}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
