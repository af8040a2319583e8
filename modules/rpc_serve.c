/* The serving half of perilune.core.rpc: servers, and what served functions can ask. */
#include <stdio.h>
#include <stdlib.h>

#include "box.h"
#include "rpc_serve.h"
#include "vm/state.h"

/* ---- inside a function ---- */

static struct rpc_worker *current_worker(lua_State *L)
{
    struct rpc_worker *worker = fiber_owner(L);
    return worker != NULL && worker->call != NULL ? worker : NULL;
}

/* caller(): who calls the function that runs, or nil. */
static int l_caller(lua_State *L)
{
    const struct rpc_worker *worker = current_worker(L);
    if (worker == NULL) {
        lua_pushnil(L);
        return 1;
    }
    const struct rpc_call *call = worker->call;
    const struct rpc_peer *peer = rpc_call_caller(call);
    uint64_t now_us = env_now_us(worker->box->context->env);
    lua_newtable(L);
    box_set_string(L, "address", rpc_call_address(call));
    box_set_string(L, "node", peer->node);
    box_set_string(L, "cluster", peer->cluster);
    lua_pushinteger(L, (lua_Integer)peer->incarnation);
    lua_setfield(L, -2, "incarnation");
    lua_pushlstring(L, call->name.data, call->name.size);
    lua_setfield(L, -2, "name");
    if (call->kind != RPC_STREAM) {
        lua_pushnumber(L, call->due_us > now_us ? (double)(call->due_us - now_us) / 1e6 : 0.0);
        lua_setfield(L, -2, "deadline");
    }
    return 1;
}

static int yield_item(lua_State *L, struct rpc_worker *worker);

static int yield_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return yield_item(L, container_of((struct fiber_wait *)ctx, struct rpc_worker, credit));
}

static int yield_item(lua_State *L, struct rpc_worker *worker)
{
    struct rpc_context *context = worker->box->context;
    struct peri_error err = PERI_ERROR_INIT;
    if (worker->call == NULL)
        return box_fail(L, PERI_ECANCELLED, "nobody reads this stream any more");
    int rc = rpc_encode(L, context, "rpc.yield", 1, "value", rpc_call_body_max(worker->call), &err);
    if (rc == 0)
        rc = rpc_call_item(worker->call, peri_buffer_slice(&context->scratch));
    context->scratch.size = 0;
    if (rc == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (rc != PERI_EBUSY)
        return box_fail(L, rc, err.code != 0 ? err.text : peri_strerror(rc));
    worker->credit = (struct fiber_wait){.what = "rpc.yield"};
    return fiber_suspend(L, &worker->credit, yield_continue);
}

/* yield(value, ...): an item of the stream. */
static int l_yield(lua_State *L)
{
    struct rpc_worker *worker = current_worker(L);
    if (worker == NULL || worker->call->kind != RPC_STREAM)
        return luaL_error(L, "rpc.yield: call it inside of a function that was called with "
                             "peer:stream");
    luaL_argcheck(L, !lua_isnoneornil(L, 1), 1, "nil would end the stream");
    fiber_check(L, "rpc.yield");
    if (worker->credit.fiber != NULL)
        return luaL_error(L, "rpc.yield: another fiber yields to this stream");
    return yield_item(L, worker);
}

/* ---- servers ---- */

static struct rpc_server_box *check_server(lua_State *L)
{
    return luaL_checkudata(L, 1, RPC_SERVER_METATABLE);
}

/* Serves the functions of the table at the index; those named so far are in box->functions. */
static int add_functions(lua_State *L, int index, struct rpc_server_box *box,
                         struct peri_error *err)
{
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        struct rpc_lua_function *function = &box->functions[box->function_count];
        struct rpc_handler own = rpc_worker_handler;
        const char *name = lua_tostring(L, -2); /* rpc.lua has checked that names are strings */
        own.data = function;
        function->box = box;
        (void)snprintf(function->fiber_name, sizeof function->fiber_name, "rpc %s", name);
        function->reference = luaL_ref(L, LUA_REGISTRYINDEX);
        box->function_count++;
        int rc = rpc_server_handle(box->server, name, &own, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static size_t count_pairs(lua_State *L, int index)
{
    size_t count = 0;
    lua_pushnil(L);
    for (; lua_next(L, index) != 0; count++)
        lua_pop(L, 1);
    return count;
}

/* Pushes a box that serves nothing yet, with room for the functions of the table at the index; NULL
 * without memory. */
static struct rpc_server_box *push_server(lua_State *L, int index)
{
    struct rpc_server_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct rpc_server_box){.context = rpc_context_of(L)};
    peri_list_init(&box->idle);
    peri_list_init(&box->link);
    luaL_setmetatable(L, RPC_SERVER_METATABLE);
    box->functions = calloc(count_pairs(L, index) + 1, sizeof *box->functions);
    return box->functions != NULL ? box : NULL;
}

int rpc_serve_lent(lua_State *L, int index, struct rpc_server *server, struct rpc_server_box **out,
                   struct peri_error *err)
{
    struct rpc_server_box *box = push_server(L, index);
    if (box == NULL)
        return peri_fail_plain(err, PERI_ENOMEM, "serve: no memory");
    lua_newtable(L);
    (void)lua_setiuservalue(L, -2, 1);
    box->server = server;
    box->is_lent = true;
    *out = box;
    return add_functions(L, index, box, err);
}

/* serve(functions, options): a server. */
static int l_serve(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *address = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    struct rpc_server_box *box = push_server(L, 2);
    if (box == NULL)
        return box_fail(L, PERI_ENOMEM, "serve: no memory");
    lua_pushvalue(L, 3);
    (void)lua_setiuservalue(L, 4, 1);
    rpc_read_identity(L, 3, box->context, &box->self);
    int rc = rpc_server_open(&box->server, box->context->env, &box->self, address, &err);
    if (rc == 0)
        rc = add_functions(L, 2, box, &err);
    if (rc != 0)
        return box_error(L, &err);
    lua_settop(L, 4);
    return 1;
}

void rpc_serve_end(lua_State *L, struct rpc_server_box *box)
{
    box->server = NULL;
    peri_list_remove(&box->link);
    rpc_workers_end(box);
    for (size_t i = 0; i < box->function_count; i++)
        luaL_unref(L, LUA_REGISTRYINDEX, box->functions[i].reference);
    box->function_count = 0;
    fiber_wake(&box->closing);
}

/* A server that is lent ends with its node. */
static int l_close(lua_State *L)
{
    struct rpc_server_box *box = check_server(L);
    struct rpc_server *server = box->server;
    if (server == NULL || box->is_lent)
        return 0;
    box->server = NULL;
    rpc_server_close(server);
    rpc_serve_end(L, box);
    return 0;
}

/* The node keeps a server that it lends to, so that both are collected at once: then no call comes
 * any more. */
static int l_gc(lua_State *L)
{
    (void)l_close(L);
    struct rpc_server_box *box = check_server(L);
    if (box->server != NULL)
        rpc_serve_end(L, box);
    free(box->functions);
    box->functions = NULL;
    return 0;
}

static int l_address(lua_State *L)
{
    const struct rpc_server_box *box = check_server(L);
    if (box->server == NULL)
        return box_fail(L, PERI_ECLOSED, "the server was closed");
    lua_pushstring(L, rpc_server_address(box->server));
    return 1;
}

static int l_stats(lua_State *L)
{
    const struct rpc_server_box *box = check_server(L);
    struct rpc_server_stats stats;
    if (box->server == NULL)
        return box_fail(L, PERI_ECLOSED, "the server was closed");
    rpc_server_stats(box->server, &stats);
    lua_newtable(L);
    box_set_count(L, "connections", stats.connections);
    box_set_count(L, "in_flight", stats.in_flight);
    box_set_count(L, "calls", stats.calls);
    box_set_count(L, "failed", stats.failed);
    box_set_count(L, "repeated", stats.repeated);
    box_set_count(L, "refused", stats.refused);
    box_set_count(L, "bytes", stats.bytes);
    return 1;
}

static int no_result(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 0;
}

/* await(server): waits until it is closed. */
static int l_await(lua_State *L)
{
    struct rpc_server_box *box = check_server(L);
    fiber_check(L, "rpc.serve");
    if (box->server == NULL || box->closing.fiber != NULL)
        return 0;
    box->closing = (struct fiber_wait){.what = "calls"};
    return fiber_suspend(L, &box->closing, no_result);
}

void rpc_open_serve(lua_State *L)
{
    static const luaL_Reg functions[] = {{"serve", l_serve},
                                         {"await", l_await},
                                         {"caller", l_caller},
                                         {"yield", l_yield},
                                         {NULL, NULL}};
    static const luaL_Reg methods[] = {{"address", l_address}, {"stats", l_stats},
                                       {"close", l_close},     {"__close", l_close},
                                       {"__gc", l_gc},         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    if (luaL_newmetatable(L, RPC_SERVER_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    rpc_open_worker(L);
}
