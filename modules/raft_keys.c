/* Machines that keep their state on disk: their keys, for the fiber that does a task. */
#include <string.h>

#include "box.h"
#include "raft.h"
#include "store/chunk.h"

enum { PAGE_PAIRS = 256, PAGE_BYTES = 128 << 10 };

/* A read that the machine's fiber waits for; a userdata on that fiber's stack. */
struct raft_keys_op {
    struct node_keys_read read;
    struct fiber_wait wait;
    struct raft_group_box *box;
    bool is_over, is_range;
    int status;
};

static int l_gc(lua_State *L)
{
    struct raft_keys_op *op = luaL_checkudata(L, 1, RAFT_KEYS_METATABLE);
    node_keys_cancel(&op->read); /* no effect on one that has ended */
    peri_buffer_deinit(&op->read.found);
    peri_buffer_deinit(&op->read.next);
    return 0;
}

/* The keys, for a fiber that does a task; raises for others. */
static struct node_keys *check_keys(lua_State *L, const struct raft_group_box *box)
{
    bool is_taker = box->is_taken && box->taker == fiber_current(L);
    struct node_keys *keys = is_taker && box->task != NULL ? box->task->keys : NULL;
    if (keys == NULL)
        (void)luaL_error(L, "store: it is for the functions of the machine, while they run");
    return keys;
}

static struct peri_slice check_bytes(lua_State *L, int index)
{
    struct peri_slice bytes;
    luaL_checktype(L, index, LUA_TSTRING); /* a number would not come back as one */
    bytes.data = lua_tolstring(L, index, &bytes.size);
    return bytes;
}

/* ---- writing ---- */

/* What is misuse is so on all replicas alike; a replica without memory has ended. */
static int end_write(lua_State *L, int rc, const struct peri_error *err)
{
    return rc == 0 ? 0 : luaL_error(L, "store: %s", err->text);
}

/* group:put(key, value) */
static int l_put(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_error err = PERI_ERROR_INIT;
    struct node_keys *keys = check_keys(L, box);
    struct peri_slice key = check_bytes(L, 2), value = check_bytes(L, 3);
    return end_write(L, node_keys_put(keys, key, value, &err), &err);
}

/* group:delete(key) */
static int l_delete(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_error err = PERI_ERROR_INIT;
    struct node_keys *keys = check_keys(L, box);
    return end_write(L, node_keys_delete(keys, check_bytes(L, 2), &err), &err);
}

/* ---- reading ---- */

/* { key, value, key, value, ... }, and where the range goes on. */
static int push_range(lua_State *L, const struct raft_keys_op *op)
{
    struct peri_slice pairs = peri_buffer_slice(&op->read.found), key, value;
    size_t at = 0;
    lua_createtable(L, (int)(2 * op->read.count), 0);
    for (lua_Integer i = 0; i < op->read.count; i++) {
        (void)store_chunk_next(pairs, &at, &key, &value); /* the core has made them */
        lua_pushlstring(L, key.data, key.size);
        lua_rawseti(L, -2, 2 * i + 1);
        lua_pushlstring(L, value.data, value.size);
        lua_rawseti(L, -2, 2 * i + 2);
    }
    if (op->read.is_more)
        lua_pushlstring(L, op->read.next.data, op->read.next.size);
    else
        lua_pushnil(L);
    return 2;
}

static int push_answer(lua_State *L, struct raft_keys_op *op)
{
    op->box->reading = NULL;
    if (!op->is_over || op->status != 0)
        return luaL_error(L, "store: %s",
                          op->is_over ? peri_strerror(op->status) : "it was closed");
    if (op->is_range)
        return push_range(L, op);
    if (op->read.count == 0)
        lua_pushnil(L);
    else
        lua_pushlstring(L, op->read.found.data != NULL ? op->read.found.data : "",
                        op->read.found.size);
    return 1;
}

static int read_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return push_answer(L, container_of((struct fiber_wait *)ctx, struct raft_keys_op, wait));
}

static void on_read(struct node_keys_read *read, int status)
{
    struct raft_keys_op *op = container_of(read, struct raft_keys_op, read);
    op->is_over = true;
    op->status = status;
    fiber_wake(&op->wait);
}

static void on_cancel(struct fiber_wait *wait)
{
    struct raft_keys_op *op = container_of(wait, struct raft_keys_op, wait);
    op->box->reading = NULL;
    node_keys_cancel(&op->read);
}

static int start(lua_State *L, struct raft_group_box *box, struct node_keys *keys, bool is_range,
                 struct peri_slice from, struct peri_slice to)
{
    struct peri_error err = PERI_ERROR_INIT;
    fiber_check(L, "store");
    struct raft_keys_op *op = lua_newuserdatauv(L, sizeof *op, 0);
    memset(op, 0, sizeof *op);
    luaL_setmetatable(L, RAFT_KEYS_METATABLE);
    op->box = box;
    op->is_range = is_range;
    op->read = (struct node_keys_read){.from = from,
                                       .to = to,
                                       .count_max = PAGE_PAIRS,
                                       .size_max = PAGE_BYTES,
                                       .on_done = on_read};
    int rc =
        is_range ? node_keys_range(keys, &op->read, &err) : node_keys_get(keys, &op->read, &err);
    op->is_over = rc != 0;
    op->status = rc < 0 ? rc : 0;
    if (op->is_over)
        return push_answer(L, op);
    op->wait = (struct fiber_wait){.what = "a read of the state store", .on_cancel = on_cancel};
    box->reading = &op->wait;
    return fiber_suspend(L, &op->wait, read_continue);
}

/* group:get(key): the value, or nil */
static int l_get(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct node_keys *keys = check_keys(L, box);
    return start(L, box, keys, false, check_bytes(L, 2), peri_slice_of(NULL, 0));
}

/* group:range(from, to or nil): { key, value, ... }, next or nil */
static int l_range(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct node_keys *keys = check_keys(L, box);
    struct peri_slice to = {NULL, 0};
    if (!lua_isnoneornil(L, 3))
        to = check_bytes(L, 3);
    return start(L, box, keys, true, check_bytes(L, 2), to);
}

void raft_open_keys(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"get", l_get}, {"put", l_put}, {"delete", l_delete}, {"range", l_range}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
    if (luaL_newmetatable(L, RAFT_KEYS_METATABLE)) {
        lua_pushcfunction(L, l_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
