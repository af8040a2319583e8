/* The calling half of perilune.core.rpc: connections, and the peers that share them. */
#include "box.h"
#include "rpc.h"

/* ---- connecting ---- */

/* Pushes a peer of the handle at the index, with a deadline in seconds. */
static void push_view(lua_State *L, int index, double deadline, bool may_wait)
{
    struct rpc_handle *handle = lua_touserdata(L, index);
    struct rpc_peer_box *peer = lua_newuserdatauv(L, sizeof *peer, 1);
    *peer = (struct rpc_peer_box){.handle = handle,
                                  .link = handle->link,
                                  .deadline_us = (uint64_t)(deadline * 1e6),
                                  .may_wait = may_wait};
    lua_pushvalue(L, index);
    (void)lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, RPC_PEER_METATABLE);
}

/* with(peer, deadline in seconds, may_wait): the same peer with other options. */
static int l_with(lua_State *L)
{
    struct rpc_peer_box *peer = rpc_check_peer(L);
    double deadline = luaL_optnumber(L, 2, (double)peer->deadline_us / 1e6);
    bool may_wait = lua_isnoneornil(L, 3) ? peer->may_wait : lua_toboolean(L, 3);
    (void)lua_getiuservalue(L, 1, 1);
    push_view(L, lua_gettop(L), deadline, may_wait);
    return 1;
}

/* Pushes a link that has no client yet; the table of options is at index 2. */
static struct rpc_link *push_link(lua_State *L)
{
    struct rpc_link *link = lua_newuserdatauv(L, sizeof *link, 1);
    *link = (struct rpc_link){.context = rpc_context_of(L)};
    peri_list_init(&link->free_ops);
    lua_pushvalue(L, 2);
    (void)lua_setiuservalue(L, -2, 1);
    rpc_read_identity(L, 2, link->context, &link->self);
    luaL_setmetatable(L, RPC_LINK_METATABLE);
    return link;
}

/* Pushes the link of that address and key: one that is there already, or a new one. */
static int push_shared_link(lua_State *L, const char *address, struct peri_error *err)
{
    rpc_push_links(L);
    int links = lua_gettop(L);
    (void)lua_getfield(L, 2, "key");
    lua_pushvalue(L, -1);
    (void)lua_rawget(L, links);
    struct rpc_link *link = lua_touserdata(L, -1);
    if (link != NULL && link->client != NULL) {
        rpc_client_hurry(link->client);
        return 0;
    }
    lua_pop(L, 1);
    link = push_link(L);
    int rc = rpc_client_open(&link->client, link->context->env, &link->self, address, err);
    if (rc != 0)
        return rc;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, links);
    return 0;
}

/* Pushes a handle that has no link yet. It is made before its link is looked for: making it may
 * collect the last handle of that link, and so close it. */
static struct rpc_handle *push_handle(lua_State *L)
{
    struct rpc_handle *handle = lua_newuserdatauv(L, sizeof *handle, 1);
    *handle = (struct rpc_handle){.is_open = false};
    luaL_setmetatable(L, RPC_HANDLE_METATABLE);
    return handle;
}

/* Gives the handle at the index the link on top, which is popped. Allocates nothing. */
static void attach(lua_State *L, int index, struct rpc_handle *handle)
{
    struct rpc_link *link = lua_touserdata(L, -1);
    (void)lua_setiuservalue(L, index, 1);
    handle->link = link;
    handle->is_open = true;
    link->handle_count++;
}

/* connect(address, options): a peer. options.key is equal for those that share a connection. */
static int l_connect(lua_State *L)
{
    const char *address = luaL_checkstring(L, 1);
    struct peri_error err = PERI_ERROR_INIT;
    luaL_checktype(L, 2, LUA_TTABLE);
    struct rpc_handle *handle = push_handle(L);
    int index = lua_gettop(L);
    if (push_shared_link(L, address, &err) != 0)
        return box_error(L, &err);
    attach(L, index, handle);
    (void)lua_getfield(L, 2, "deadline");
    (void)lua_getfield(L, 2, "wait");
    push_view(L, index, luaL_checknumber(L, -2), lua_toboolean(L, -1));
    return 1;
}

/* ---- closing ---- */

static void close_link(struct rpc_link *link)
{
    struct rpc_client *client = link->client;
    if (client == NULL)
        return;
    rpc_client_close(client); /* its calls end, and say to whom they went */
    link->client = NULL;
}

static void close_handle(struct rpc_handle *handle)
{
    struct rpc_link *link = handle->link;
    if (!handle->is_open)
        return;
    handle->is_open = false;
    link->handle_count--;
    if (link->handle_count == 0)
        close_link(link);
    else if (link->client != NULL)
        rpc_client_leave(link->client, handle);
}

static int l_close(lua_State *L)
{
    close_handle(rpc_check_peer(L)->handle);
    return 0;
}

static int l_handle_gc(lua_State *L)
{
    close_handle(luaL_checkudata(L, 1, RPC_HANDLE_METATABLE));
    return 0;
}

static int l_link_gc(lua_State *L)
{
    struct rpc_link *link = luaL_checkudata(L, 1, RPC_LINK_METATABLE);
    close_link(link);
    rpc_free_ops(link);
    return 0;
}

/* ---- what is known of a peer ---- */

static int l_is_up(lua_State *L)
{
    const struct rpc_peer_box *peer = rpc_check_peer(L);
    struct rpc_client_info info = {.is_up = false};
    if (peer->handle->is_open)
        rpc_client_look(peer->link->client, &info);
    lua_pushboolean(L, info.is_up);
    return 1;
}

static int l_info(lua_State *L)
{
    const struct rpc_peer_box *peer = rpc_check_peer(L);
    const struct rpc_link *link = peer->link;
    struct rpc_client_info info;
    if (!peer->handle->is_open)
        return rpc_fail_closed(L);
    rpc_client_look(link->client, &info);
    double now = (double)env_now_us(link->context->env);
    lua_newtable(L);
    box_set_string(L, "address", info.address);
    lua_pushboolean(L, info.is_up);
    lua_setfield(L, -2, "up");
    box_set_number(L, "since", (now - (double)info.since_us) / 1e6);
    box_set_count(L, "attempts", info.attempts);
    box_set_count(L, "calls", info.calls);
    box_set_count(L, "in_flight", info.in_flight);
    if (info.heard_us != 0)
        box_set_number(L, "heard", (now - (double)info.heard_us) / 1e6);
    if (info.peer != NULL) {
        box_set_string(L, "node", info.peer->node);
        box_set_count(L, "incarnation", info.peer->incarnation);
    } else {
        box_set_string(L, "why", info.why);
    }
    return 1;
}

/* ---- the module ---- */

static void open_collected(lua_State *L, const char *metatable, lua_CFunction gc)
{
    if (luaL_newmetatable(L, metatable)) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}

void rpc_open_link(lua_State *L)
{
    static const luaL_Reg methods[] = {{"close", l_close},
                                       {"is_up", l_is_up},
                                       {"info", l_info},
                                       {"__close", l_close},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"connect", l_connect}, {"with", l_with}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    open_collected(L, RPC_LINK_METATABLE, l_link_gc);
    open_collected(L, RPC_HANDLE_METATABLE, l_handle_gc);
    luaL_getmetatable(L, RPC_PEER_METATABLE);
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}
