/* perilune.core.fs: files and paths; lua/perilune/fs.lua stands in front.
 *
 * Every call runs in the environment's background work while its fiber waits. The operation has two
 * shares: one held by a userdata on the fiber's stack, one by the work, so that a fiber which is
 * cancelled leaves the work in peace. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "box.h"
#include "vm/fiber.h"

#define FILE_METATABLE "perilune.fs.file"
#define OP_METATABLE "perilune.fs.op"

enum { READ_PIECE = 64 << 10, READ_MAX = 1 << 30 };

/* An open file, shared by its userdata and by the operation under way. */
struct fs_file {
    struct env_file *file; /* NULL when closed */
    int shares;
    bool is_busy;
};

struct fs_op {
    struct fiber_wait wait;
    struct env *env;
    int shares;
    int (*run)(struct fs_op *op);
    int (*push)(lua_State *L, const struct fs_op *op);
    char *path;  /* owned; what run is about */
    char *other; /* owned; rename's target */
    struct fs_file *file;
    struct env_file *opened; /* until a userdata has taken it */
    int flags;
    int64_t number; /* bytes wanted, offset, result */
    bool is_synced;
    struct peri_buffer bytes; /* data to write, what was read, or names ended by zeros */
    char *text;               /* a path as result; owned */
    struct env_stat stat;
    int rc;
    struct peri_error err;
};

/* ---- shares ---- */

static void release_file(struct fs_file *file)
{
    if (--file->shares > 0)
        return;
    (void)env_file_close(file->file, NULL);
    free(file);
}

static void release_op(struct fs_op *op)
{
    if (--op->shares > 0)
        return;
    if (op->file != NULL)
        release_file(op->file);
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

static struct fs_op *push_op(lua_State *L, const char *what, int (*run)(struct fs_op *op),
                             int (*push)(lua_State *L, const struct fs_op *op))
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

static char *copy_path(lua_State *L, int index)
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

static int finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    const struct fs_op *op = container_of((struct fiber_wait *)ctx, struct fs_op, wait);
    return op->rc < 0 ? box_error(L, &op->err) : op->push(L, op);
}

static int submit(lua_State *L, struct fs_op *op)
{
    int rc = env_work(op->env, on_work, on_done, op);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    op->shares++;
    if (op->file != NULL)
        op->file->is_busy = true;
    return fiber_suspend(L, &op->wait, finish);
}

static int submit_path(lua_State *L, const char *what, int (*run)(struct fs_op *op),
                       int (*push)(lua_State *L, const struct fs_op *op))
{
    (void)luaL_checkstring(L, 1);
    struct fs_op *op = push_op(L, what, run, push);
    op->path = copy_path(L, 1);
    return submit(L, op);
}

/* ---- results ---- */

static int push_true(lua_State *L, const struct fs_op *op)
{
    (void)op;
    lua_pushboolean(L, 1);
    return 1;
}

static int push_number(lua_State *L, const struct fs_op *op)
{
    lua_pushinteger(L, op->number);
    return 1;
}

static int push_bytes(lua_State *L, const struct fs_op *op)
{
    lua_pushlstring(L, op->bytes.data, op->bytes.size);
    return 1;
}

static int push_text(lua_State *L, const struct fs_op *op)
{
    lua_pushstring(L, op->text);
    return 1;
}

static const char *type_name(enum env_file_type type)
{
    static const char *const names[] = {[ENV_TYPE_FILE] = "file",
                                        [ENV_TYPE_DIRECTORY] = "directory",
                                        [ENV_TYPE_LINK] = "link",
                                        [ENV_TYPE_OTHER] = "other"};
    return names[type];
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static int push_stat(lua_State *L, const struct fs_op *op)
{
    enum { FIELDS = 6 };
    lua_createtable(L, 0, FIELDS);
    lua_pushstring(L, type_name(op->stat.type));
    lua_setfield(L, -2, "type");
    lua_pushnumber(L, (lua_Number)op->stat.modified_us / 1e6);
    lua_setfield(L, -2, "modified");
    set_integer(L, "size", (lua_Integer)op->stat.size_bytes);
    set_integer(L, "mode", op->stat.mode);
    set_integer(L, "inode", (lua_Integer)op->stat.inode);
    set_integer(L, "device", (lua_Integer)op->stat.device);
    return 1;
}

/* Names and, as the second result, their types. Each entry is a type byte, the name, a zero. */
static int push_entries(lua_State *L, const struct fs_op *op)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_Integer count = 0;
    for (size_t at = 0; at < op->bytes.size; count++) {
        const char *entry = op->bytes.data + at;
        lua_pushstring(L, entry + 1);
        lua_rawseti(L, -3, count + 1);
        lua_pushstring(L, type_name((enum env_file_type)entry[0]));
        lua_rawseti(L, -2, count + 1);
        at += strlen(entry + 1) + 2;
    }
    return 2;
}

/* The file is in nobody's hands until its userdata exists. */
static int push_file(lua_State *L, const struct fs_op *const_op)
{
    struct fs_op *op = (struct fs_op *)(uintptr_t)const_op;
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

/* ---- whole files ---- */

/* Appends up to wanted bytes from the file's position. */
static int read_up_to(struct fs_op *op, struct env_file *file, size_t wanted)
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

static int run_read(struct fs_op *op)
{
    struct env_file *file = NULL;
    int rc = env_file_open(op->env, op->path, ENV_FILE_READ, &file, &op->err);
    if (rc != 0)
        return rc;
    rc = read_up_to(op, file, SIZE_MAX);
    (void)env_file_close(file, NULL);
    return rc;
}

static int l_read(lua_State *L)
{
    return submit_path(L, "fs.read", run_read, push_bytes);
}

static int run_write(struct fs_op *op)
{
    struct env_file *file = NULL;
    int rc = env_file_open(op->env, op->path, op->flags, &file, &op->err);
    if (rc != 0)
        return rc;
    rc = env_file_write(file, op->bytes.data, op->bytes.size, &op->err);
    if (rc == 0 && op->is_synced)
        rc = env_file_sync(file, &op->err);
    int closed = env_file_close(file, rc == 0 ? &op->err : NULL);
    return rc != 0 ? rc : closed;
}

/* write(path, data, flags, sync) */
static int l_write(lua_State *L)
{
    size_t size;
    (void)luaL_checkstring(L, 1);
    const char *data = luaL_checklstring(L, 2, &size);
    lua_Integer flags = luaL_checkinteger(L, 3);
    struct fs_op *op = push_op(L, "fs.write", run_write, push_true);
    op->path = copy_path(L, 1);
    op->flags = (int)flags;
    op->is_synced = lua_toboolean(L, 4);
    if (peri_buffer_append(&op->bytes, data, size) != 0)
        return box_fail(L, PERI_ENOMEM, "fs.write: no memory");
    return submit(L, op);
}

/* ---- paths ---- */

static int run_stat(struct fs_op *op)
{
    return env_path_stat(op->env, op->path, &op->stat, &op->err);
}

static int l_stat(lua_State *L)
{
    return submit_path(L, "fs.stat", run_stat, push_stat);
}

static int run_lstat(struct fs_op *op)
{
    return env_path_lstat(op->env, op->path, &op->stat, &op->err);
}

static int l_lstat(lua_State *L)
{
    return submit_path(L, "fs.lstat", run_lstat, push_stat);
}

static int append_entry(struct fs_op *op, const char *name, enum env_file_type type)
{
    char tag = (char)type;
    if (peri_buffer_append(&op->bytes, &tag, 1) != 0 ||
        peri_buffer_append(&op->bytes, name, strlen(name) + 1) != 0)
        return peri_fail(&op->err, PERI_ENOMEM, "read directory %s", op->path);
    return 0;
}

static int run_list(struct fs_op *op)
{
    struct env_dir *dir = NULL;
    const char *name;
    enum env_file_type type;
    int rc = env_dir_open(op->env, op->path, &dir, &op->err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, &op->err)) > 0) {
        rc = append_entry(op, name, type);
        if (rc != 0)
            break;
    }
    env_dir_close(dir);
    return rc;
}

static int l_list(lua_State *L)
{
    return submit_path(L, "fs.list", run_list, push_entries);
}

static int run_mkdir(struct fs_op *op)
{
    return env_path_mkdir(op->env, op->path, &op->err);
}

static int l_mkdir(lua_State *L)
{
    return submit_path(L, "fs.mkdir", run_mkdir, push_true);
}

static int run_remove(struct fs_op *op)
{
    return env_path_remove(op->env, op->path, &op->err);
}

static int l_remove(lua_State *L)
{
    return submit_path(L, "fs.remove", run_remove, push_true);
}

static int run_sync(struct fs_op *op)
{
    return env_path_sync(op->env, op->path, &op->err);
}

static int l_sync(lua_State *L)
{
    return submit_path(L, "fs.sync", run_sync, push_true);
}

static int run_real(struct fs_op *op)
{
    return env_path_real(op->env, op->path, &op->text, &op->err);
}

static int l_real(lua_State *L)
{
    return submit_path(L, "fs.real", run_real, push_text);
}

static int run_tempdir(struct fs_op *op)
{
    return env_path_tempdir(op->env, op->path, &op->text, &op->err);
}

static int l_tempdir(lua_State *L)
{
    return submit_path(L, "fs.tempdir", run_tempdir, push_text);
}

static int run_rename(struct fs_op *op)
{
    return env_path_rename(op->env, op->path, op->other, &op->err);
}

static int l_rename(lua_State *L)
{
    (void)luaL_checkstring(L, 1);
    (void)luaL_checkstring(L, 2);
    struct fs_op *op = push_op(L, "fs.rename", run_rename, push_true);
    op->path = copy_path(L, 1);
    op->other = copy_path(L, 2);
    return submit(L, op);
}

static int l_cwd(lua_State *L)
{
    char *path = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (env_path_cwd(vm_state_of(L)->env, &path, &err) != 0)
        return box_error(L, &err);
    return box_take_string(L, path);
}

static int l_variable(lua_State *L)
{
    lua_pushstring(L, env_variable(vm_state_of(L)->env, luaL_checkstring(L, 1)));
    return 1;
}

/* ---- open files ---- */

static int run_open(struct fs_op *op)
{
    return env_file_open(op->env, op->path, op->flags, &op->opened, &op->err);
}

/* open(path, flags) */
static int l_open(lua_State *L)
{
    (void)luaL_checkstring(L, 1);
    lua_Integer flags = luaL_checkinteger(L, 2);
    struct fs_op *op = push_op(L, "fs.open", run_open, push_file);
    op->path = copy_path(L, 1);
    op->flags = (int)flags;
    return submit(L, op);
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
                                  int (*push)(lua_State *L, const struct fs_op *op))
{
    struct fs_file *file = check_file(L);
    struct fs_op *op = push_op(L, what, run, push);
    file->shares++;
    op->file = file;
    return op;
}

static int run_file_read(struct fs_op *op)
{
    return read_up_to(op, op->file->file, (size_t)op->number);
}

/* read(count): up to count bytes; fewer only at the end. */
static int l_file_read(lua_State *L)
{
    lua_Integer count = luaL_checkinteger(L, 2);
    luaL_argcheck(L, count >= 0, 2, "must not be negative");
    struct fs_op *op = push_file_op(L, "file:read", run_file_read, push_bytes);
    op->number = count;
    return submit(L, op);
}

static int run_file_write(struct fs_op *op)
{
    return env_file_write(op->file->file, op->bytes.data, op->bytes.size, &op->err);
}

static int l_file_write(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    struct fs_op *op = push_file_op(L, "file:write", run_file_write, push_true);
    if (peri_buffer_append(&op->bytes, data, size) != 0)
        return box_fail(L, PERI_ENOMEM, "file:write: no memory");
    return submit(L, op);
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
    struct fs_op *op = push_file_op(L, "file:seek", run_file_seek, push_number);
    op->flags = (int)from[whence];
    op->number = offset;
    return submit(L, op);
}

static int run_file_sync(struct fs_op *op)
{
    return env_file_sync(op->file->file, &op->err);
}

static int l_file_sync(lua_State *L)
{
    return submit(L, push_file_op(L, "file:sync", run_file_sync, push_true));
}

static int run_file_close(struct fs_op *op)
{
    struct env_file *file = op->file->file;
    op->file->file = NULL;
    return env_file_close(file, &op->err);
}

static int l_file_close(lua_State *L)
{
    return submit(L, push_file_op(L, "file:close", run_file_close, push_true));
}

static int l_file_gc(lua_State *L)
{
    struct fs_file **holder = luaL_checkudata(L, 1, FILE_METATABLE);
    if (*holder != NULL)
        release_file(*holder);
    *holder = NULL;
    return 0;
}

static void set_flags(lua_State *L)
{
    set_integer(L, "READ", ENV_FILE_READ);
    set_integer(L, "WRITE", ENV_FILE_WRITE);
    set_integer(L, "CREATE", ENV_FILE_CREATE);
    set_integer(L, "EXCLUSIVE", ENV_FILE_EXCLUSIVE);
    set_integer(L, "TRUNCATE", ENV_FILE_TRUNCATE);
    set_integer(L, "APPEND", ENV_FILE_APPEND);
}

int luaopen_perilune_fs(lua_State *L);

int luaopen_perilune_fs(lua_State *L)
{
    static const luaL_Reg methods[] = {{"read", l_file_read},   {"write", l_file_write},
                                       {"seek", l_file_seek},   {"sync", l_file_sync},
                                       {"close", l_file_close}, {"__gc", l_file_gc},
                                       {"__close", l_file_gc},  {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"read", l_read}, {"write", l_write},       {"stat", l_stat},     {"lstat", l_lstat},
        {"list", l_list}, {"mkdir", l_mkdir},       {"remove", l_remove}, {"sync", l_sync},
        {"real", l_real}, {"tempdir", l_tempdir},   {"rename", l_rename}, {"cwd", l_cwd},
        {"open", l_open}, {"variable", l_variable}, {NULL, NULL}};
    if (luaL_newmetatable(L, FILE_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    if (luaL_newmetatable(L, OP_METATABLE)) {
        lua_pushcfunction(L, l_op_gc);
        lua_setfield(L, -2, "__gc");
    }
    luaL_newlib(L, functions);
    set_flags(L);
    return 1;
}
