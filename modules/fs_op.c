#include "fs_op.h"

#include <stdlib.h>
#include <string.h>

#include "box.h"

#define OP_METATABLE "perilune.fs.op"

enum { READ_PIECE = 64 << 10, READ_MAX = 1 << 30 };

/* ---- shares ---- */

static void release_op(struct fs_op *op)
{
    if (--op->shares > 0)
        return;
    if (op->file != NULL)
        fs_file_release(op->file);
    (void)env_file_close(op->opened, NULL);
    peri_buffer_deinit(&op->bytes);
    free(op->path);
    free(op->other);
    free(op->text);
    free(op);
}

static int l_op_gc(lua_State *L)
{
    struct fs_op **holder = lua_touserdata(L, 1);
    if (*holder != NULL)
        release_op(*holder);
    *holder = NULL;
    return 0;
}

/* ---- the life of an operation ---- */

struct fs_op *fs_op_push(lua_State *L, const char *what, int (*run)(struct fs_op *op),
                         int (*push)(lua_State *L, struct fs_op *op))
{
    fiber_check(L, what);
    struct fs_op **holder = lua_newuserdatauv(L, sizeof(struct fs_op *), 0);
    *holder = NULL;
    luaL_setmetatable(L, OP_METATABLE);
    struct fs_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        luaL_error(L, "not enough memory");
        return NULL;
    }
    op->shares = 1;
    op->wait.what = what;
    op->env = vm_state_of(L)->env;
    op->run = run;
    op->push = push;
    *holder = op;
    return op;
}

char *fs_op_copy_path(lua_State *L, int index)
{
    size_t size;
    const char *path = luaL_checklstring(L, index, &size);
    luaL_argcheck(L, strlen(path) == size, index, "a path cannot contain a zero byte");
    char *copy = strdup(path);
    if (copy == NULL)
        luaL_error(L, "not enough memory");
    return copy;
}

static void on_work(void *data)
{
    struct fs_op *op = data;
    op->rc = op->run(op);
}

static void on_done(void *data, int status)
{
    struct fs_op *op = data;
    if (status != 0)
        op->rc = peri_fail(&op->err, status, "%s", op->wait.what);
    if (op->file != NULL)
        op->file->is_busy = false;
    fiber_wake(&op->wait);
    release_op(op);
}

/* What was read is Lua's now; the rest of the operation waits for the garbage collector. */
static int finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct fs_op *op = container_of((struct fiber_wait *)ctx, struct fs_op, wait);
    int count = op->rc < 0 ? box_error(L, &op->err) : op->push(L, op);
    peri_buffer_deinit(&op->bytes);
    return count;
}

int fs_op_submit(lua_State *L, struct fs_op *op)
{
    int rc = env_work(op->env, on_work, on_done, op);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    op->shares++;
    if (op->file != NULL)
        op->file->is_busy = true;
    return fiber_suspend(L, &op->wait, finish);
}

/* ---- what several need ---- */

int fs_op_push_true(lua_State *L, struct fs_op *op)
{
    (void)op;
    lua_pushboolean(L, 1);
    return 1;
}

int fs_op_push_number(lua_State *L, struct fs_op *op)
{
    lua_pushinteger(L, op->number);
    return 1;
}

int fs_op_push_bytes(lua_State *L, struct fs_op *op)
{
    lua_pushlstring(L, op->bytes.data, op->bytes.size);
    return 1;
}

int fs_op_read(struct fs_op *op, struct env_file *file, size_t wanted)
{
    while (wanted > 0) {
        size_t piece = wanted < READ_PIECE ? wanted : READ_PIECE;
        if (op->bytes.size > READ_MAX)
            return peri_fail(&op->err, PERI_ETOOBIG, "%s: more than %d bytes at once",
                             op->wait.what, READ_MAX);
        if (peri_buffer_reserve(&op->bytes, piece) != 0)
            return peri_fail(&op->err, PERI_ENOMEM, "%s", op->wait.what);
        int64_t got = env_file_read(file, op->bytes.data + op->bytes.size, piece, &op->err);
        if (got <= 0)
            return (int)got;
        op->bytes.size += (size_t)got;
        wanted -= (size_t)got;
    }
    return 0;
}

void fs_op_open(lua_State *L)
{
    if (luaL_newmetatable(L, OP_METATABLE)) {
        lua_pushcfunction(L, l_op_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
