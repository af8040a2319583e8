/* Groups whose machine is the key/value store, in C: no fiber takes its tasks. */
#include "kv/forward.h"
#include "kv/machine.h"
#include "kv/resp_server.h"

#include "box.h"
#include "raft.h"
#include "rpc_serve.h"

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
    if (rc == 0)
        rc = kv_machine_create(&box->kv, on_applied, box);
    if (rc != 0)
        return rc;
    kv_script_engine_init(&box->scripts, box->box->env);
    kv_machine_set_engine(box->kv, &box->scripts.engine);
    return 0;
}

void raft_kv_close(struct raft_group_box *box)
{
    kv_service_deinit(&box->service);
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

/* ---- its clients ---- */

/* group:serve(server, has_commands): queries, and with it commands, that come to a server of
 * perilune.core.rpc are answered without Lua. */
static int l_serve(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    const struct rpc_server_box *server = luaL_checkudata(L, 2, RPC_SERVER_METATABLE);
    struct peri_error err = PERI_ERROR_INIT;
    if (box->group == NULL || server->server == NULL)
        return raft_fail_closed(L);
    if (box->kv == NULL)
        return luaL_error(L, "group:serve: the group is no key/value store");
    (void)lua_getiuservalue(L, 2, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "group"); /* which is there as long as the server */
    if (box->service.group == NULL)
        kv_service_init(&box->service, box->box->node, box->group, box->kv);
    if (kv_service_serve(&box->service, server->server, lua_toboolean(L, 3), &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* group:log_time(): at which a command is proposed now, in ms; 0 where the group is not led. */
static int l_log_time(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    uint64_t now_ms = box->group != NULL && box->kv != NULL
                          ? kv_machine_clock(box->kv, box->group, env_now_us(box->box->env))
                          : 0;
    lua_pushinteger(L, (lua_Integer)now_ms);
    return 1;
}

void raft_open_kv(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"applied", l_applied}, {"serve", l_serve}, {"log_time", l_log_time}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
