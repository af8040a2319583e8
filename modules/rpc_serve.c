/* The serving half of perilune.core.rpc: a fiber for each call, kept for the next one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "rpc.h"
#include "rpc/server.h"
#include "vm/scheduler.h"
#include "vm/state.h"
#include "wire/codec.h"

enum { IDLE_MAX = 256, WORKER_INDEX = 1, HANDLER_INDEX = 2, ARGUMENTS_INDEX = 4 };

struct server_box;

/* One Lua function that is served. */
struct function {
    struct server_box *box;
    int reference;                    /* in the registry */
    char fiber_name[FIBER_NAME_SIZE]; /* "rpc echo" */
};

/* Lives in a userdata whose user value 1 is the table of options. */
struct server_box {
    struct rpc_context *context;
    struct rpc_server *server; /* NULL once closed */
    struct rpc_identity self;
    struct function *functions;
    size_t function_count;
    struct peri_list idle; /* workers without a call */
    size_t idle_count;
    struct fiber_wait closing; /* the fiber that waits for the end of the server */
};

/* A fiber that serves one call after the other. Lives in a userdata at the bottom of the fiber's
 * stack. A call that is cancelled takes its fiber with it. */
struct worker {
    struct server_box *box;
    struct fiber *fiber;
    struct rpc_call *call; /* NULL: idle, or nobody waits for the answer any more */
    struct function *function;
    struct peri_list link; /* among the idle ones */
    struct fiber_wait wait;
    bool is_idle;
    struct fiber_wait credit; /* rpc.yield waits in it */
};

/* ---- idle workers ---- */

static void stop_idling(struct worker *worker)
{
    if (!worker->is_idle)
        return;
    worker->is_idle = false;
    worker->box->idle_count--;
    peri_list_remove(&worker->link);
}

static void on_idle_cancelled(struct fiber_wait *wait)
{
    stop_idling(container_of(wait, struct worker, wait));
}

static void start_idling(struct worker *worker)
{
    struct server_box *box = worker->box;
    worker->is_idle = true;
    box->idle_count++;
    peri_list_append(&box->idle, &worker->link);
    fiber_set_owner(worker->fiber, worker, 0);
    worker->wait = (struct fiber_wait){.what = "a call", .on_cancel = on_idle_cancelled};
}

/* ---- answers ---- */

static void fail_call(struct worker *worker, const struct peri_error *err)
{
    struct rpc_call *call = worker->call;
    worker->call = NULL;
    rpc_call_fail_code(call, err);
}

/* The values from HANDLER_INDEX + 1 on are what the function returned. */
static void answer(lua_State *L, struct worker *worker)
{
    struct peri_buffer *scratch = &worker->box->context->scratch;
    struct rpc_call *call = worker->call;
    struct peri_error err = PERI_ERROR_INIT;
    int first = HANDLER_INDEX + 1;
    int count = call->kind == RPC_PLAIN ? lua_gettop(L) - first + 1 : 0;
    int rc = wire_encode_list(L, first, count, "result", rpc_call_body_max(call), scratch, &err);
    if (rc == 0) {
        worker->call = NULL;
        rpc_call_reply(call, peri_buffer_slice(scratch));
    } else {
        fail_call(worker, &err);
    }
    scratch->size = 0;
}

static struct peri_slice string_field(lua_State *L, int index, const char *name,
                                      const char *otherwise)
{
    struct peri_slice text = peri_slice_of(otherwise, strlen(otherwise));
    if (lua_getfield(L, index, name) == LUA_TSTRING)
        text.data = lua_tolstring(L, -1, &text.size);
    return text; /* the value stays on the stack, which keeps it */
}

/* What on_error made of an error is on top: { error, traceback }. An error that is a table may have
 * code, message and retryable. */
static int answer_error(lua_State *L)
{
    struct worker *worker = lua_touserdata(L, 1);
    struct rpc_failure failure = {.is_retryable = false};
    (void)lua_geti(L, 2, 1);
    int error_index = lua_gettop(L);
    if (lua_istable(L, error_index)) {
        failure.code = string_field(L, error_index, "code", "ELUA");
        failure.message = string_field(L, error_index, "message", "a table was raised");
        (void)lua_getfield(L, error_index, "retryable");
        failure.is_retryable = lua_toboolean(L, -1);
    } else {
        failure.code = peri_slice_of("ELUA", strlen("ELUA"));
        failure.message.data = luaL_tolstring(L, error_index, &failure.message.size);
    }
    (void)lua_geti(L, 2, 2);
    failure.traceback.data = luaL_optlstring(L, -1, "", &failure.traceback.size);
    struct rpc_call *call = worker->call;
    worker->call = NULL;
    rpc_call_fail(call, &failure);
    return 0;
}

static int on_error(lua_State *L)
{
    lua_settop(L, 1);
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_seti(L, 1, 1);
    fiber_push_traceback(L, L, NULL);
    lua_seti(L, 1, 2);
    return 1;
}

/* The function raised: an error object of on_error, or of Lua's when memory is short, is on top. */
static void answer_raised(lua_State *L, struct worker *worker)
{
    if (lua_istable(L, -1)) {
        lua_pushcfunction(L, answer_error);
        lua_pushlightuserdata(L, worker);
        lua_pushvalue(L, -3);
        if (lua_pcall(L, 2, 0, 0) == LUA_OK)
            return;
    }
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail(&err, PERI_EMEMORY, "%s", worker->function->fiber_name);
    if (worker->call != NULL)
        fail_call(worker, &err);
}

/* ---- a worker's life ---- */

static int worker_called(lua_State *L, int status, lua_KContext ctx);

/* The stack holds the worker, the message handler, the function and its arguments. */
static int worker_call(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    int argument_count = lua_gettop(L) - HANDLER_INDEX - 1;
    int rc = lua_pcallk(L, argument_count, LUA_MULTRET, HANDLER_INDEX, ctx, worker_called);
    return worker_called(L, rc, ctx);
}

static int worker_called(lua_State *L, int status, lua_KContext ctx)
{
    struct worker *worker = container_of((struct fiber_wait *)ctx, struct worker, wait);
    if (worker->call != NULL) {
        if (status == LUA_OK || status == LUA_YIELD)
            answer(L, worker);
        else
            answer_raised(L, worker);
    }
    lua_settop(L, HANDLER_INDEX);
    const struct server_box *box = worker->box;
    bool has_children = worker->fiber->children != NULL; /* which must not be the next call's */
    if (box->server == NULL || box->idle_count == IDLE_MAX || has_children)
        return 0;
    start_idling(worker);
    return fiber_suspend(L, &worker->wait, worker_call);
}

/* A fiber's function: the worker, then the Lua function and its arguments. */
static int worker_main(lua_State *L)
{
    struct worker *worker = lua_touserdata(L, WORKER_INDEX);
    lua_toclose(L, WORKER_INDEX);
    lua_pushcfunction(L, on_error);
    lua_insert(L, HANDLER_INDEX);
    return worker_call(L, LUA_OK, (lua_KContext)&worker->wait);
}

static void leave(struct worker *worker, int code, const char *reason)
{
    stop_idling(worker);
    if (worker->call == NULL)
        return;
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail_plain(&err, code, "the fiber that served it was cancelled: %s", reason);
    fail_call(worker, &err);
}

/* The fiber ends: at its own end, cancelled by somebody, or out of time. */
static int l_worker_close(lua_State *L)
{
    struct worker *worker = luaL_checkudata(L, 1, RPC_WORKER_METATABLE);
    const struct fiber *fiber = worker->fiber;
    leave(worker, fiber->cancel_code != 0 ? fiber->cancel_code : PERI_ECANCELLED, fiber->reason);
    return 0;
}

/* Only where the program's end left no time for __close. */
static int l_worker_gc(lua_State *L)
{
    leave(luaL_checkudata(L, 1, RPC_WORKER_METATABLE), PERI_ECANCELLED, "the program ends");
    return 0;
}

static struct worker *push_worker(lua_State *L, struct server_box *box)
{
    struct worker *worker = lua_newuserdatauv(L, sizeof *worker, 0);
    *worker = (struct worker){.box = box};
    peri_list_init(&worker->link);
    luaL_setmetatable(L, RPC_WORKER_METATABLE);
    return worker;
}

/* ---- calls that come ---- */

struct arrival {
    struct rpc_call *call;
    struct worker *worker;
    struct peri_error err;
};

static void set_out(struct worker *worker, struct function *function, struct rpc_call *call)
{
    worker->function = function;
    worker->call = call;
    call->data = worker;
    fiber_set_owner(worker->fiber, worker, call->kind == RPC_STREAM ? 0 : call->due_us);
}

/* Hands the call to a worker; runs protected, on the scheduler's stack. */
static int take_call(lua_State *L)
{
    struct arrival *arrival = lua_touserdata(L, 1);
    struct rpc_call *call = arrival->call;
    struct function *function = call->handler->data;
    struct server_box *box = function->box;
    int count = 0;
    lua_settop(L, 0);
    struct worker *worker = NULL;
    if (peri_list_is_empty(&box->idle)) {
        lua_pushcfunction(L, worker_main);
        worker = push_worker(L, box);
    }
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, function->reference);
    if (wire_push_list(L, call->args, &count, &arrival->err) != 0)
        return 0;
    if (worker != NULL) {
        const struct fiber_options options = {.name = function->fiber_name,
                                              .detached = true,
                                              .cpu_deadline_us = FIBER_CPU_DEADLINE_US};
        worker->fiber = fiber_spawn(L, &options, count + 2);
        worker->fiber->is_joined = true; /* nobody else is told of an error */
        set_out(worker, function, call);
        return 0;
    }
    worker = container_of(box->idle.prev, struct worker, link); /* the one used last */
    lua_State *target = worker->fiber->L;
    if (!lua_checkstack(target, count + 1))
        return luaL_error(L, "too many arguments");
    lua_xmove(L, target, count + 1);
    stop_idling(worker);
    memcpy(worker->fiber->name, function->fiber_name, sizeof function->fiber_name);
    set_out(worker, function, call);
    fiber_wake(&worker->wait);
    return 0;
}

static void on_call(struct rpc_call *call)
{
    const struct function *function = call->handler->data;
    lua_State *L = function->box->context->vm->L;
    struct arrival arrival = {.call = call};
    int top = lua_gettop(L);
    peri_error_clear(&arrival.err);
    lua_pushcfunction(L, take_call);
    lua_pushlightuserdata(L, &arrival);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        (void)peri_fail_plain(&arrival.err, PERI_EMEMORY, "%s",
                              lua_isstring(L, -1) ? lua_tostring(L, -1) : "no memory");
    lua_settop(L, top);
    if (arrival.err.code != 0)
        rpc_call_fail_code(call, &arrival.err);
}

static void on_cancel(struct rpc_call *call, int code, const char *reason)
{
    struct worker *worker = call->data;
    worker->call = NULL;
    fiber_cancel(worker->fiber, code == PERI_EDEADLINE ? code : PERI_ECANCELLED, reason);
}

static void on_credit(struct rpc_call *call)
{
    struct worker *worker = call->data;
    fiber_wake(&worker->credit);
}

/* ---- inside a function ---- */

static struct worker *current_worker(lua_State *L)
{
    struct worker *worker = fiber_owner(L);
    return worker != NULL && worker->call != NULL ? worker : NULL;
}

static void set_string(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

/* caller(): who calls the function that runs, or nil. */
static int l_caller(lua_State *L)
{
    const struct worker *worker = current_worker(L);
    if (worker == NULL) {
        lua_pushnil(L);
        return 1;
    }
    const struct rpc_call *call = worker->call;
    const struct rpc_peer *peer = rpc_call_caller(call);
    uint64_t now_us = env_now_us(worker->box->context->env);
    lua_newtable(L);
    set_string(L, "address", rpc_call_address(call));
    set_string(L, "node", peer->node);
    set_string(L, "cluster", peer->cluster);
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

static int yield_item(lua_State *L, struct worker *worker);

static int yield_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return yield_item(L, container_of((struct fiber_wait *)ctx, struct worker, credit));
}

static int yield_item(lua_State *L, struct worker *worker)
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
    struct worker *worker = current_worker(L);
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

static struct server_box *check_server(lua_State *L)
{
    return luaL_checkudata(L, 1, RPC_SERVER_METATABLE);
}

/* Serves the functions of the table at index 2; those named so far are in box->functions. */
static int add_functions(lua_State *L, struct server_box *box, struct peri_error *err)
{
    static const struct rpc_handler handler = {on_call, on_cancel, on_credit, NULL};
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        struct function *function = &box->functions[box->function_count];
        struct rpc_handler own = handler;
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

/* serve(functions, options): a server. */
static int l_serve(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *address = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    struct server_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (struct server_box){.context = rpc_context_of(L)};
    peri_list_init(&box->idle);
    luaL_setmetatable(L, RPC_SERVER_METATABLE);
    lua_pushvalue(L, 3);
    (void)lua_setiuservalue(L, 4, 1);
    rpc_read_identity(L, 3, box->context, &box->self);
    box->functions = calloc(count_pairs(L, 2) + 1, sizeof *box->functions);
    if (box->functions == NULL)
        return box_fail(L, PERI_ENOMEM, "serve: no memory");
    int rc = rpc_server_open(&box->server, box->context->env, &box->self, address, &err);
    if (rc == 0)
        rc = add_functions(L, box, &err);
    if (rc != 0)
        return box_error(L, &err);
    lua_settop(L, 4);
    return 1;
}

static void end_workers(struct server_box *box)
{
    while (!peri_list_is_empty(&box->idle)) {
        struct worker *worker = container_of(box->idle.next, struct worker, link);
        fiber_cancel(worker->fiber, PERI_ECANCELLED, "the server was closed"); /* stops idling */
    }
}

static int l_close(lua_State *L)
{
    struct server_box *box = check_server(L);
    struct rpc_server *server = box->server;
    if (server == NULL)
        return 0;
    box->server = NULL;
    rpc_server_close(server);
    end_workers(box);
    for (size_t i = 0; i < box->function_count; i++)
        luaL_unref(L, LUA_REGISTRYINDEX, box->functions[i].reference);
    box->function_count = 0;
    fiber_wake(&box->closing);
    return 0;
}

static int l_gc(lua_State *L)
{
    (void)l_close(L);
    struct server_box *box = check_server(L);
    free(box->functions);
    box->functions = NULL;
    return 0;
}

static int l_address(lua_State *L)
{
    const struct server_box *box = check_server(L);
    if (box->server == NULL)
        return box_fail(L, PERI_ECLOSED, "the server was closed");
    lua_pushstring(L, rpc_server_address(box->server));
    return 1;
}

static void set_integer(lua_State *L, const char *name, uint64_t number)
{
    lua_pushinteger(L, (lua_Integer)number);
    lua_setfield(L, -2, name);
}

static int l_stats(lua_State *L)
{
    const struct server_box *box = check_server(L);
    struct rpc_server_stats stats;
    if (box->server == NULL)
        return box_fail(L, PERI_ECLOSED, "the server was closed");
    rpc_server_stats(box->server, &stats);
    lua_newtable(L);
    set_integer(L, "connections", stats.connections);
    set_integer(L, "in_flight", stats.in_flight);
    set_integer(L, "calls", stats.calls);
    set_integer(L, "failed", stats.failed);
    set_integer(L, "repeated", stats.repeated);
    set_integer(L, "refused", stats.refused);
    set_integer(L, "bytes", stats.bytes);
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
    struct server_box *box = check_server(L);
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
    if (luaL_newmetatable(L, RPC_WORKER_METATABLE)) {
        lua_pushcfunction(L, l_worker_close);
        lua_setfield(L, -2, "__close");
        lua_pushcfunction(L, l_worker_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
