/* fs_file.c - open files, for perilune.core.fs. */
#include <stdlib.h>

#include "box.h"
#include "fs_op.h"

#define FILE_METATABLE "perilune.fs.file"

void fs_file_release(struct fs_file *file)
{
    if (--file->shares > 0)
        return;
    (void)env_file_close(file->file, NULL);
    free(file);
}

/* The file is in nobody's hands until its userdata exists. */
static int push_file(lua_State *L, struct fs_op *op)
{
    struct fs_file **holder = lua_newuserdatauv(L, sizeof(struct fs_file *), 0);
    *holder = NULL;
    luaL_setmetatable(L, FILE_METATABLE);
    struct fs_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return box_fail(L, PERI_ENOMEM, "open: no memory");
    file->shares = 1;
    file->file = op->opened;
    op->opened = NULL;
    *holder = file;
    return 1;
}

/* ---- open files ---- */

static int run_open(struct fs_op *op)
{
    return env_file_open(op->env, op->path, op->flags, &op->opened, &op->err);
}

/* open(path, flags) */
int fs_file_open(lua_State *L)
{
    (void)luaL_checkstring(L, 1);
    lua_Integer flags = luaL_checkinteger(L, 2);
    struct fs_op *op = fs_op_push(L, "fs.open", run_open, push_file);
    op->path = fs_op_copy_path(L, 1);
    op->flags = (int)flags;
    return fs_op_submit(L, op);
}

static struct fs_file *check_file(lua_State *L)
{
    struct fs_file **holder = luaL_checkudata(L, 1, FILE_METATABLE);
    if (*holder != NULL && (*holder)->is_busy) /* asked first: the work may be closing it */
        luaL_error(L, "another fiber uses this file");
    if (*holder == NULL || (*holder)->file == NULL)
        luaL_error(L, "the file is closed");
    return *holder;
}

static struct fs_op *push_file_op(lua_State *L, const char *what, int (*run)(struct fs_op *op),
                                  int (*push)(lua_State *L, struct fs_op *op))
{
    struct fs_file *file = check_file(L);
    struct fs_op *op = fs_op_push(L, what, run, push);
    file->shares++;
    op->file = file;
    return op;
}

static int run_file_read(struct fs_op *op)
{
    return fs_op_read(op, op->file->file, (size_t)op->number);
}

/* read(count): up to count bytes; fewer only at the end. */
static int l_file_read(lua_State *L)
{
    lua_Integer count = luaL_checkinteger(L, 2);
    luaL_argcheck(L, count >= 0, 2, "must not be negative");
    struct fs_op *op = push_file_op(L, "file:read", run_file_read, fs_op_push_bytes);
    op->number = count;
    return fs_op_submit(L, op);
}

static int run_file_write(struct fs_op *op)
{
    return env_file_write(op->file->file, op->bytes.data, op->bytes.size, &op->err);
}

static int l_file_write(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    struct fs_op *op = push_file_op(L, "file:write", run_file_write, fs_op_push_true);
    if (peri_buffer_append(&op->bytes, data, size) != 0)
        return box_fail(L, PERI_ENOMEM, "file:write: no memory");
    return fs_op_submit(L, op);
}

static int run_file_seek(struct fs_op *op)
{
    op->number = env_file_seek(op->file->file, (enum env_seek)op->flags, op->number, &op->err);
    return op->number < 0 ? (int)op->number : 0;
}

static int l_file_seek(lua_State *L)
{
    static const char *const names[] = {"set", "cur", "end", NULL};
    static const enum env_seek from[] = {ENV_SEEK_START, ENV_SEEK_CURRENT, ENV_SEEK_END};
    int whence = luaL_checkoption(L, 2, "cur", names);
    lua_Integer offset = luaL_optinteger(L, 3, 0);
    struct fs_op *op = push_file_op(L, "file:seek", run_file_seek, fs_op_push_number);
    op->flags = (int)from[whence];
    op->number = offset;
    return fs_op_submit(L, op);
}

static int run_file_sync(struct fs_op *op)
{
    return env_file_sync(op->file->file, &op->err);
}

static int l_file_sync(lua_State *L)
{
    return fs_op_submit(L, push_file_op(L, "file:sync", run_file_sync, fs_op_push_true));
}

static int run_file_close(struct fs_op *op)
{
    struct env_file *file = op->file->file;
    op->file->file = NULL;
    return env_file_close(file, &op->err);
}

static int l_file_close(lua_State *L)
{
    return fs_op_submit(L, push_file_op(L, "file:close", run_file_close, fs_op_push_true));
}

static int l_file_gc(lua_State *L)
{
    struct fs_file **holder = luaL_checkudata(L, 1, FILE_METATABLE);
    if (*holder != NULL)
        fs_file_release(*holder);
    *holder = NULL;
    return 0;
}

void fs_file_register(lua_State *L)
{
    static const luaL_Reg methods[] = {{"read", l_file_read},   {"write", l_file_write},
                                       {"seek", l_file_seek},   {"sync", l_file_sync},
                                       {"close", l_file_close}, {"__gc", l_file_gc},
                                       {"__close", l_file_gc},  {NULL, NULL}};
    if (luaL_newmetatable(L, FILE_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
