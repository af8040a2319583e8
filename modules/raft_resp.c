/* Groups whose store is served to Redis' clients, in C: no fiber takes their commands. */
#include "kv/forward.h"
#include "kv/resp_server.h"

#include "box.h"
#include "raft.h"

void raft_resp_close(struct raft_group_box *box)
{
    resp_server_close(box->resp);
    box->resp = NULL;
}

/* group:resp(address, secret): listens; where. The server ends with the group. */
static int l_resp(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_error err = PERI_ERROR_INIT;
    const struct resp_options options = {.node = box->box->node,
                                         .group = box->group,
                                         .group_id = box->id,
                                         .listen = luaL_checkstring(L, 2),
                                         .secret = luaL_checkstring(L, 3)};
    if (box->group == NULL)
        return raft_fail_closed(L);
    if (box->kv == NULL || box->resp != NULL)
        return luaL_error(L, "group:resp: the group is no key/value store, or is served already");
    if (resp_server_open(&box->resp, &options, &err) != 0)
        return box_error(L, &err);
    lua_pushstring(L, resp_server_address(box->resp));
    return 1;
}

void raft_open_resp(lua_State *L)
{
    static const luaL_Reg methods[] = {{"resp", l_resp}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
