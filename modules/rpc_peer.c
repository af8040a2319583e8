/* The calling half of perilune.core.rpc: peers, calls and casts. */
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "rpc.h"
#include "vm/fiber.h"
#include "vm/state.h"
#include "wire/codec.h"

/* ---- what is under way ---- */

/* One call that a fiber waits for. Links keep those that have ended for the next calls. */
struct call_op {
    struct rpc_request request;
    struct fiber_wait wait;
    struct rpc_link *link;
    struct peri_list free_link;
    lua_State *L; /* the coroutine that called */
};

enum { ANSWER_IS_LOST = -1 }; /* in place of a count: there was no memory for what the call gave */

static struct call_op *take_op(struct rpc_link *link)
{
    struct call_op *op;
    if (peri_list_is_empty(&link->free_ops)) {
        op = malloc(sizeof *op);
    } else {
        op = container_of(link->free_ops.prev, struct call_op, free_link);
        peri_list_remove(&op->free_link);
    }
    if (op != NULL)
        *op = (struct call_op){.link = link};
    return op;
}

static void give_op(struct call_op *op)
{
    peri_list_append(&op->link->free_ops, &op->free_link);
}

void rpc_free_ops(struct rpc_link *link)
{
    while (!peri_list_is_empty(&link->free_ops)) {
        struct call_op *op = container_of(link->free_ops.next, struct call_op, free_link);
        peri_list_remove(&op->free_link);
        free(op);
    }
}

/* ---- answers ---- */

void rpc_push_failure(lua_State *L, const struct rpc_client *client,
                      const struct rpc_result *result)
{
    struct rpc_client_info info = {.address = ""};
    if (client != NULL)
        rpc_client_look(client, &info);
    lua_pushnil(L);
    lua_pushlstring(L, result->message.data, result->message.size);
    lua_pushlstring(L, result->code_name.data, result->code_name.size);
    lua_createtable(L, 0, 4);
    lua_pushboolean(L, result->is_retryable);
    lua_setfield(L, -2, "retryable");
    lua_pushboolean(L, result->is_remote);
    lua_setfield(L, -2, "remote");
    lua_pushstring(L, info.address);
    lua_setfield(L, -2, "address");
    if (info.peer != NULL && info.peer->node[0] != '\0') {
        lua_pushstring(L, info.peer->node);
        lua_setfield(L, -2, "node");
    }
    if (result->traceback.size > 0)
        box_set_slice(L, "traceback", result->traceback);
}

struct answer {
    struct call_op *op;
    const struct rpc_result *result;
    int count;
};

/* Pushes what the call gives; runs protected, on the scheduler's stack. */
static int push_answer(lua_State *L)
{
    struct answer *answer = lua_touserdata(L, 1);
    struct peri_error err;
    struct rpc_result broken = {.code = PERI_EFORMAT};
    peri_error_clear(&err);
    lua_settop(L, 0);
    if (answer->result->code == 0) {
        if (wire_push_list(L, answer->result->values, &answer->count, &err) == 0)
            return answer->count;
        broken.code_name = peri_slice_of("EFORMAT", strlen("EFORMAT"));
        broken.message = peri_slice_of(err.text, strlen(err.text));
        answer->result = &broken;
        lua_settop(L, 0);
    }
    rpc_push_failure(L, answer->op->link->client, answer->result);
    return answer->count = lua_gettop(L);
}

/* Leaves what the call gave, and its count, with the fiber: that may still be cancelled before it
 * runs, and then never comes back to the operation. */
static void on_done(struct rpc_request *request, const struct rpc_result *result)
{
    struct call_op *op = container_of(request, struct call_op, request);
    lua_State *L = vm_state_of(op->L)->L;
    struct answer answer = {.op = op, .result = result};
    int top = lua_gettop(L);
    lua_pushcfunction(L, push_answer);
    lua_pushlightuserdata(L, &answer);
    if (lua_pcall(L, 1, LUA_MULTRET, 0) == LUA_OK && lua_checkstack(op->L, answer.count + 1))
        lua_xmove(L, op->L, answer.count);
    else
        answer.count = ANSWER_IS_LOST;
    lua_settop(L, top);
    lua_pushinteger(op->L, answer.count); /* l_call has made room for this one */
    fiber_wake(&op->wait);
    give_op(op);
}

static void on_cancel(struct fiber_wait *wait)
{
    struct call_op *op = container_of(wait, struct call_op, wait);
    rpc_request_cancel(&op->request, "its fiber was cancelled");
    give_op(op);
}

static int call_finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (count == ANSWER_IS_LOST)
        return box_fail(L, PERI_ENOMEM, "no memory for what the call gave");
    return count;
}

/* ---- calls ---- */

struct rpc_peer_box *rpc_check_peer(lua_State *L)
{
    struct rpc_peer_box *peer = luaL_testudata(L, 1, RPC_PEER_METATABLE);
    lua_Debug method;
    if (peer == NULL && lua_getstack(L, 0, &method) && lua_getinfo(L, "n", &method) &&
        method.name != NULL)
        luaL_error(L, "%s is a method of what rpc.connect gives: write peer:%s(...), with a colon",
                   method.name, method.name);
    return peer != NULL ? peer : luaL_checkudata(L, 1, RPC_PEER_METATABLE);
}

uint64_t rpc_due_us(lua_State *L, const struct rpc_peer_box *peer)
{
    uint64_t due_us = env_now_us(peer->link->context->env) + peer->deadline_us;
    uint64_t limit_us = fiber_due_us(L);
    return limit_us != 0 && limit_us < due_us ? limit_us : due_us;
}

int rpc_fail_closed(lua_State *L)
{
    return box_fail(L, PERI_ECLOSED, "the peer was closed");
}

/* A call that did not even start; err may say so of the arguments alone. */
static int fail_start(lua_State *L, const struct rpc_link *link, const struct peri_error *err)
{
    struct rpc_result result = rpc_result_of(err);
    int top = lua_gettop(L);
    rpc_push_failure(L, link->client, &result);
    return lua_gettop(L) - top;
}

/* peer:call(name, ...) */
static int l_call(lua_State *L)
{
    struct rpc_peer_box *peer = rpc_check_peer(L);
    struct rpc_link *link = peer->link;
    struct rpc_context *context = link->context;
    struct peri_error err;
    size_t name_size;
    const char *name = luaL_checklstring(L, 2, &name_size);
    fiber_check(L, "peer:call");
    luaL_checkstack(L, 1, "peer:call");
    if (!peer->handle->is_open)
        return rpc_fail_closed(L);
    peri_error_clear(&err);
    int rc = rpc_encode(L, context, name, 3, "argument", (size_t)link->self.body_max, &err);
    if (rc != 0)
        return fail_start(L, link, &err);
    struct call_op *op = take_op(link);
    if (op == NULL) {
        context->scratch.size = 0;
        (void)peri_fail(&err, PERI_ENOMEM, "call %s", name);
        return fail_start(L, link, &err);
    }
    op->request.name = peri_slice_of(name, name_size); /* on this stack until the call has ended */
    op->request.due_us = rpc_due_us(L, peer);
    op->request.on_done = on_done;
    op->request.owner = peer->handle;
    rc = rpc_client_call(link->client, &op->request, peri_buffer_slice(&context->scratch),
                         peer->may_wait, &err);
    context->scratch.size = 0;
    if (rc != 0) {
        give_op(op);
        return fail_start(L, link, &err);
    }
    op->L = L;
    op->wait = (struct fiber_wait){
        .what = "peer:call", .on_cancel = on_cancel, .due_us = op->request.due_us};
    return fiber_suspend(L, &op->wait, call_finish);
}

/* peer:cast(name, ...) */
static int l_cast(lua_State *L)
{
    struct rpc_peer_box *peer = rpc_check_peer(L);
    struct rpc_link *link = peer->link;
    struct rpc_context *context = link->context;
    struct peri_error err = PERI_ERROR_INIT;
    size_t name_size;
    const char *name = luaL_checklstring(L, 2, &name_size);
    if (!peer->handle->is_open)
        return rpc_fail_closed(L);
    int rc = rpc_encode(L, context, name, 3, "argument", (size_t)link->self.body_max, &err);
    if (rc == 0)
        rc = rpc_client_cast(link->client, peri_slice_of(name, name_size),
                             peri_buffer_slice(&context->scratch), rpc_due_us(L, peer),
                             peer->may_wait, &err);
    context->scratch.size = 0;
    if (rc != 0)
        return fail_start(L, link, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- the module ---- */

void rpc_open_peer(lua_State *L)
{
    static const luaL_Reg methods[] = {{"call", l_call}, {"cast", l_cast}, {NULL, NULL}};
    if (luaL_newmetatable(L, RPC_PEER_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_setfield(L, -2, "peer"); /* rpc_link.c and rpc.lua add methods */
}
