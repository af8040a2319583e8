/* perilune.core.fs: files and paths; lua/perilune/fs stands in front. */
#include <string.h>

#include "box.h"
#include "fs_op.h"

static int submit_path(lua_State *L, const char *what, int (*run)(struct fs_op *op),
                       int (*push)(lua_State *L, struct fs_op *op))
{
    (void)luaL_checkstring(L, 1);
    struct fs_op *op = fs_op_push(L, what, run, push);
    op->path = fs_op_copy_path(L, 1);
    return fs_op_submit(L, op);
}

/* ---- results ---- */

static int push_text(lua_State *L, struct fs_op *op)
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

static int push_stat(lua_State *L, struct fs_op *op)
{
    enum { FIELDS = 6 };
    lua_createtable(L, 0, FIELDS);
    lua_pushstring(L, type_name(op->stat.type));
    lua_setfield(L, -2, "type");
    lua_pushnumber(L, (lua_Number)op->stat.modified_us / 1e6);
    lua_setfield(L, -2, "modified");
    box_set_integer(L, "size", (lua_Integer)op->stat.size_bytes);
    box_set_integer(L, "mode", op->stat.mode);
    box_set_integer(L, "inode", (lua_Integer)op->stat.inode);
    box_set_integer(L, "device", (lua_Integer)op->stat.device);
    return 1;
}

/* Names and, as the second result, their types. Each entry is a type byte, the name, a zero. */
static int push_entries(lua_State *L, struct fs_op *op)
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

/* ---- whole files ---- */

static int run_read(struct fs_op *op)
{
    struct env_file *file = NULL;
    int rc = env_file_open(op->env, op->path, ENV_FILE_READ, &file, &op->err);
    if (rc != 0)
        return rc;
    rc = fs_op_read(op, file, SIZE_MAX);
    (void)env_file_close(file, NULL);
    return rc;
}

static int l_read(lua_State *L)
{
    return submit_path(L, "fs.read", run_read, fs_op_push_bytes);
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
    struct fs_op *op = fs_op_push(L, "fs.write", run_write, fs_op_push_true);
    op->path = fs_op_copy_path(L, 1);
    op->flags = (int)flags;
    op->is_synced = lua_toboolean(L, 4);
    if (peri_buffer_append(&op->bytes, data, size) != 0)
        return box_fail(L, PERI_ENOMEM, "fs.write: no memory");
    return fs_op_submit(L, op);
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
    return submit_path(L, "fs.mkdir", run_mkdir, fs_op_push_true);
}

static int run_remove(struct fs_op *op)
{
    return env_path_remove(op->env, op->path, &op->err);
}

static int l_remove(lua_State *L)
{
    return submit_path(L, "fs.remove", run_remove, fs_op_push_true);
}

static int run_sync(struct fs_op *op)
{
    return env_path_sync(op->env, op->path, &op->err);
}

static int l_sync(lua_State *L)
{
    return submit_path(L, "fs.sync", run_sync, fs_op_push_true);
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
    struct fs_op *op = fs_op_push(L, "fs.rename", run_rename, fs_op_push_true);
    op->path = fs_op_copy_path(L, 1);
    op->other = fs_op_copy_path(L, 2);
    return fs_op_submit(L, op);
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

static void set_flags(lua_State *L)
{
    box_set_integer(L, "READ", ENV_FILE_READ);
    box_set_integer(L, "WRITE", ENV_FILE_WRITE);
    box_set_integer(L, "CREATE", ENV_FILE_CREATE);
    box_set_integer(L, "EXCLUSIVE", ENV_FILE_EXCLUSIVE);
    box_set_integer(L, "TRUNCATE", ENV_FILE_TRUNCATE);
    box_set_integer(L, "APPEND", ENV_FILE_APPEND);
}

int luaopen_perilune_fs(lua_State *L);

int luaopen_perilune_fs(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"read", l_read},       {"write", l_write},       {"stat", l_stat},     {"lstat", l_lstat},
        {"list", l_list},       {"mkdir", l_mkdir},       {"remove", l_remove}, {"sync", l_sync},
        {"real", l_real},       {"tempdir", l_tempdir},   {"rename", l_rename}, {"cwd", l_cwd},
        {"open", fs_file_open}, {"variable", l_variable}, {NULL, NULL}};
    fs_op_open(L);
    fs_file_register(L);
    luaL_newlib(L, functions);
    set_flags(L);
    return 1;
}
