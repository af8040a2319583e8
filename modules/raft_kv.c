/* Groups whose machine is the key/value store, in C: no fiber takes its tasks. */
#include "kv/forward.h"
#include "kv/machine.h"
#include "kv/resp_server.h"

#include "box.h"
#include "raft.h"

static void on_applied(void *data)
{
    struct raft_group_box *box = data;
    box->applied++;
    fiber_wake(&box->applying);
    if (box->resp != NULL)
        resp_server_applied(box->resp);
}

int raft_kv_open(struct raft_group_box *box)
{
    int rc = kv_forward_serve(box->box->node, NULL);
    return rc == 0 ? kv_machine_create(&box->kv, on_applied, box) : rc;
}

void raft_kv_close(struct raft_group_box *box)
{
    kv_machine_close(box->kv);
    box->kv = NULL;
}

struct node_machine *raft_kv_machine(struct raft_group_box *box)
{
    return kv_machine_node(box->kv);
}

static int push_applied(lua_State *L, const struct raft_group_box *box)
{
    if (box->group == NULL)
        return raft_fail_closed(L);
    lua_pushinteger(L, (lua_Integer)box->applied);
    return 1;
}

static int applied_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return push_applied(L, container_of((struct fiber_wait *)ctx, struct raft_group_box, applying));
}

/* group:applied([count]): how many commands and snapshots have taken effect here, once that is
 * another number than count. */
static int l_applied(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    lua_Integer seen = luaL_optinteger(L, 2, -1);
    fiber_check(L, "group:applied");
    if (box->applying.fiber != NULL)
        return luaL_error(L, "group:applied: another fiber waits");
    if (box->group == NULL || seen != (lua_Integer)box->applied)
        return push_applied(L, box);
    box->applying = (struct fiber_wait){.what = "commands of a group"};
    return fiber_suspend(L, &box->applying, applied_continue);
}

void raft_open_kv(lua_State *L)
{
    static const luaL_Reg methods[] = {{"applied", l_applied}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
