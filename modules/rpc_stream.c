/* The reading end of streams in perilune.core.rpc. */
#include "rpc/stream.h"

#include "box.h"
#include "rpc.h"
#include "vm/fiber.h"
#include "wire/codec.h"

enum { NAME_VALUE = 1, HANDLE_VALUE = 2, USER_VALUES = 2 };

/* Lives in a userdata whose user values are the function's name and the peer's handle. */
struct stream_box {
    struct rpc_stream stream;
    struct rpc_link *link; /* NULL once closed */
    uint64_t patience_us;  /* for the next item */
    struct fiber_wait wait;
    struct peri_buffer item; /* that is being decoded */
};

static struct stream_box *check_stream(lua_State *L)
{
    return luaL_checkudata(L, 1, RPC_STREAM_METATABLE);
}

static void on_change(struct rpc_stream *stream)
{
    fiber_wake(&container_of(stream, struct stream_box, stream)->wait);
}

/* stream(peer, name, ...) */
static int l_stream(lua_State *L)
{
    struct rpc_peer_box *peer = rpc_check_peer(L);
    struct rpc_link *link = peer->link;
    struct peri_error err = PERI_ERROR_INIT;
    size_t name_size;
    const char *name = luaL_checklstring(L, 2, &name_size);
    if (!peer->handle->is_open)
        return rpc_fail_closed(L);
    struct stream_box *box = lua_newuserdatauv(L, sizeof *box, USER_VALUES);
    *box = (struct stream_box){.patience_us = peer->deadline_us};
    luaL_setmetatable(L, RPC_STREAM_METATABLE);
    lua_pushvalue(L, 2);
    (void)lua_setiuservalue(L, -2, NAME_VALUE);
    (void)lua_getiuservalue(L, 1, 1);
    (void)lua_setiuservalue(L, -2, HANDLE_VALUE);
    lua_insert(L, 1); /* below the arguments */
    if (rpc_encode(L, link->context, name, 4, "argument", (size_t)link->self.body_max, &err) != 0)
        return box_error(L, &err);
    box->link = link;
    rpc_stream_open(&box->stream, link->client, peri_slice_of(name, name_size),
                    peri_buffer_slice(&link->context->scratch), rpc_due_us(L, peer), peer->may_wait,
                    peer->handle, on_change);
    link->context->scratch.size = 0;
    lua_settop(L, 1);
    return 1;
}

static int push_item(lua_State *L, struct stream_box *box)
{
    struct peri_error err = PERI_ERROR_INIT;
    int count = 0;
    int rc = wire_push_list(L, peri_buffer_slice(&box->item), &count, &err); /* may raise */
    peri_buffer_deinit(&box->item);
    return rc != 0 ? box_error(L, &err) : count;
}

static int receive(lua_State *L, struct stream_box *box);

static int receive_again(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct stream_box *box = container_of((struct fiber_wait *)ctx, struct stream_box, wait);
    if (box->link != NULL)
        rpc_stream_expect(&box->stream, UINT64_MAX);
    return receive(L, box);
}

static void on_cancel(struct fiber_wait *wait)
{
    struct stream_box *box = container_of(wait, struct stream_box, wait);
    rpc_stream_expect(&box->stream, UINT64_MAX);
}

static int wait_for_item(lua_State *L, struct stream_box *box)
{
    uint64_t due_us = env_now_us(box->link->context->env) + box->patience_us;
    uint64_t limit_us = fiber_due_us(L);
    if (limit_us != 0 && limit_us < due_us)
        due_us = limit_us;
    rpc_stream_expect(&box->stream, due_us);
    box->wait =
        (struct fiber_wait){.what = "stream:recv", .on_cancel = on_cancel, .due_us = due_us};
    return fiber_suspend(L, &box->wait, receive_again);
}

static int receive(lua_State *L, struct stream_box *box)
{
    if (box->link == NULL)
        return box_fail(L, PERI_ECLOSED, "the stream was closed");
    lua_settop(L, 1);
    peri_buffer_deinit(&box->item);
    switch (rpc_stream_take(&box->stream, &box->item)) {
    case RPC_STREAM_ITEM:
        return push_item(L, box);
    case RPC_STREAM_END:
        lua_pushnil(L);
        return 1;
    case RPC_STREAM_FAILED:
        rpc_push_failure(L, box->link->client, &box->stream.failure);
        return lua_gettop(L) - 1;
    default:
        return wait_for_item(L, box);
    }
}

/* stream:recv(): an item's values; nil at the end; nil, message, code, details. */
static int l_recv(lua_State *L)
{
    struct stream_box *box = check_stream(L);
    fiber_check(L, "stream:recv");
    if (box->wait.fiber != NULL)
        return luaL_error(L, "stream:recv: another fiber reads this stream");
    return receive(L, box);
}

static int l_close(lua_State *L)
{
    struct stream_box *box = check_stream(L);
    if (box->link != NULL)
        rpc_stream_close(&box->stream);
    box->link = NULL;
    peri_buffer_deinit(&box->item);
    fiber_wake(&box->wait);
    return 0;
}

void rpc_open_stream(lua_State *L)
{
    static const luaL_Reg methods[] = {{"recv", l_recv},
                                       {"close", l_close},
                                       {"__close", l_close},
                                       {"__gc", l_close},
                                       {NULL, NULL}};
    lua_pushcfunction(L, l_stream);
    lua_setfield(L, -2, "stream");
    if (luaL_newmetatable(L, RPC_STREAM_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_setfield(L, -2, "stream_methods"); /* rpc.lua adds the iterator */
}
