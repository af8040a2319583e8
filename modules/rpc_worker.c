/* The serving half of perilune.core.rpc: a fiber for each call, kept for the next one. */
#include <stdio.h>
#include <string.h>

#include "box.h"
#include "rpc_serve.h"
#include "vm/state.h"
#include "wire/codec.h"

enum {
    IDLE_MAX = 4096, /* fibers of some KiB each, kept after a burst of calls */
    WORKER_INDEX = 1,
    HANDLER_INDEX = 2
};

/* ---- idle workers ---- */

static void stop_idling(struct rpc_worker *worker)
{
    if (!worker->is_idle)
        return;
    worker->is_idle = false;
    worker->box->idle_count--;
    peri_list_remove(&worker->link);
}

static void on_idle_cancelled(struct fiber_wait *wait)
{
    stop_idling(container_of(wait, struct rpc_worker, wait));
}

static void start_idling(struct rpc_worker *worker)
{
    struct rpc_server_box *box = worker->box;
    worker->is_idle = true;
    box->idle_count++;
    peri_list_append(&box->idle, &worker->link);
    fiber_set_owner(worker->fiber, worker, 0);
    worker->wait = (struct fiber_wait){.what = "a call", .on_cancel = on_idle_cancelled};
}

/* ---- answers ---- */

static void fail_call(struct rpc_worker *worker, const struct peri_error *err)
{
    struct rpc_call *call = worker->call;
    worker->call = NULL;
    rpc_call_fail_code(call, err);
}

/* The values from HANDLER_INDEX + 1 on are what the function returned. */
static void answer(lua_State *L, struct rpc_worker *worker)
{
    struct peri_buffer *scratch = &worker->box->context->scratch;
    struct rpc_call *call = worker->call;
    struct peri_error err;
    int first = HANDLER_INDEX + 1;
    int count = call->kind == RPC_PLAIN ? lua_gettop(L) - first + 1 : 0;
    peri_error_clear(&err);
    int rc = wire_encode_list(L, first, count, "result", rpc_call_body_max(call), RPC_CALLERS_LIMIT,
                              scratch, &err);
    if (rc == 0) {
        worker->call = NULL;
        rpc_call_reply_taking(call, scratch);
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

/* What a table that was raised has to say: its message, or what its __tostring makes of it. */
static struct peri_slice message_of(lua_State *L, int index)
{
    struct peri_slice message = string_field(L, index, "message", "a table was raised");
    if (lua_type(L, -1) != LUA_TSTRING && luaL_getmetafield(L, index, "__tostring") != LUA_TNIL)
        message.data = luaL_tolstring(L, index, &message.size);
    return message;
}

/* What on_error made of an error is on top: { error, traceback }. An error that is a table may have
 * code, message and retryable. */
static int answer_error(lua_State *L)
{
    struct rpc_worker *worker = lua_touserdata(L, 1);
    struct rpc_failure failure = {.is_retryable = false};
    (void)lua_geti(L, 2, 1);
    int error_index = lua_gettop(L);
    if (lua_istable(L, error_index)) {
        failure.code = string_field(L, error_index, "code", "ELUA");
        failure.message = message_of(L, error_index);
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

/* What a __close handler of a cancelled call raises stays as it is: only the log is told. */
static int on_error(lua_State *L)
{
    const struct rpc_worker *worker = fiber_owner(L);
    lua_settop(L, 1);
    if (worker == NULL || worker->call == NULL)
        return 1;
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_seti(L, 1, 1);
    fiber_push_traceback(L, L, NULL);
    lua_seti(L, 1, 2);
    return 1;
}

/* The function raised: an error object of on_error, or of Lua's when memory is short, is on top. */
static void answer_raised(lua_State *L, struct rpc_worker *worker)
{
    int rc = LUA_ERRMEM;
    if (lua_istable(L, -1)) {
        lua_pushcfunction(L, answer_error);
        lua_pushlightuserdata(L, worker);
        lua_pushvalue(L, -3);
        rc = lua_pcall(L, 2, 0, 0);
        if (rc == LUA_OK)
            return;
    }
    struct peri_error err = PERI_ERROR_INIT;
    if (rc == LUA_ERRMEM)
        (void)peri_fail(&err, PERI_EMEMORY, "%s", worker->function->fiber_name);
    else
        (void)peri_fail_plain(&err, PERI_ELUA, "an error that cannot be read was raised: %s",
                              lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "another one");
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
    struct rpc_worker *worker = container_of((struct fiber_wait *)ctx, struct rpc_worker, wait);
    if (worker->call != NULL) {
        if (status == LUA_OK || status == LUA_YIELD)
            answer(L, worker);
        else
            answer_raised(L, worker);
    }
    lua_settop(L, HANDLER_INDEX);
    const struct rpc_server_box *box = worker->box;
    bool has_children = worker->fiber->children != NULL; /* which must not be the next call's */
    if (box->server == NULL || box->idle_count == IDLE_MAX || has_children)
        return 0;
    start_idling(worker);
    return fiber_suspend(L, &worker->wait, worker_call);
}

/* A fiber's function: the worker, then the Lua function and its arguments. */
static int worker_main(lua_State *L)
{
    struct rpc_worker *worker = lua_touserdata(L, WORKER_INDEX);
    lua_toclose(L, WORKER_INDEX);
    lua_pushcfunction(L, on_error);
    lua_insert(L, HANDLER_INDEX);
    return worker_call(L, LUA_OK, (lua_KContext)&worker->wait);
}

static void leave(struct rpc_worker *worker, int code, const char *reason)
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
    struct rpc_worker *worker = luaL_checkudata(L, 1, RPC_WORKER_METATABLE);
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

static struct rpc_worker *push_worker(lua_State *L, struct rpc_server_box *box)
{
    struct rpc_worker *worker = lua_newuserdatauv(L, sizeof *worker, 0);
    *worker = (struct rpc_worker){.box = box};
    peri_list_init(&worker->link);
    luaL_setmetatable(L, RPC_WORKER_METATABLE);
    return worker;
}

/* ---- calls that come ---- */

struct arrival {
    struct rpc_call *call;
    struct peri_error err;
};

static void set_out(struct rpc_worker *worker, struct rpc_lua_function *function,
                    struct rpc_call *call)
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
    struct rpc_lua_function *function = call->handler->data;
    struct rpc_server_box *box = function->box;
    int count = 0;
    lua_settop(L, 0);
    struct rpc_worker *worker = NULL;
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
    worker = container_of(box->idle.prev, struct rpc_worker, link); /* the one used last */
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
    const struct rpc_lua_function *function = call->handler->data;
    lua_State *L = function->box->context->vm->L;
    struct arrival arrival;
    int top = lua_gettop(L);
    arrival.call = call;
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
    struct rpc_worker *worker = call->data;
    worker->call = NULL;
    fiber_cancel(worker->fiber, code == PERI_EDEADLINE ? code : PERI_ECANCELLED, reason);
}

static void on_credit(struct rpc_call *call)
{
    struct rpc_worker *worker = call->data;
    fiber_wake(&worker->credit);
}

const struct rpc_handler rpc_worker_handler = {on_call, on_cancel, on_credit, NULL};

void rpc_workers_end(struct rpc_server_box *box)
{
    while (!peri_list_is_empty(&box->idle)) {
        struct rpc_worker *worker = container_of(box->idle.next, struct rpc_worker, link);
        fiber_cancel(worker->fiber, PERI_ECANCELLED, "the server was closed"); /* stops idling */
    }
}

void rpc_open_worker(lua_State *L)
{
    if (luaL_newmetatable(L, RPC_WORKER_METATABLE)) {
        lua_pushcfunction(L, l_worker_close);
        lua_setfield(L, -2, "__close");
        lua_pushcfunction(L, l_worker_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
