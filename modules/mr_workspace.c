/* mr_workspace.c - require "perilune.mr_workspace": the directory of a running job.
 *
 *   lock(path)     creates and locks a file; a handle, or nil, message, code ("EBUSY": held)
 *   remove(path)   removes a file or a whole tree
 *   library()      the directory of --lua-path, which workers shall use too; or nil
 *
 * All block for as long as the disk takes: a cancelled fiber cannot wait, and a job that is
 * interrupted must still remove what it wrote. A lock ends when its handle is closed (:close, a
 * to-be-closed variable, collection) or with the process, however that ends. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>

#include "base/error.h"
#include "env/env.h"
#include "vm/state.h"

int luaopen_perilune_mr_workspace(lua_State *L);

#define LOCK_TYPE "perilune.mapreduce.lock"

enum { DEPTH_MAX = 8, PATH_SIZE = 4096, TRIES = 200 };

static int push_failure(lua_State *L, int rc, const struct peri_error *err)
{
    lua_pushnil(L);
    lua_pushstring(L, err->text);
    lua_pushstring(L, peri_error_name(rc));
    return 3;
}

static int l_lock(lua_State *L)
{
    struct env *env = vm_state_of(L)->env;
    struct peri_error err = PERI_ERROR_INIT;
    const char *path = luaL_checkstring(L, 1);
    struct env_file **box = lua_newuserdatauv(L, sizeof(struct env_file *), 0);
    *box = NULL;
    luaL_setmetatable(L, LOCK_TYPE);
    int rc = env_file_open(env, path, ENV_FILE_READ | ENV_FILE_WRITE | ENV_FILE_CREATE, box, &err);
    if (rc == 0)
        rc = env_file_lock(*box, &err);
    return rc == 0 ? 1 : push_failure(L, rc, &err);
}

static int l_unlock(lua_State *L)
{
    struct env_file **box = luaL_checkudata(L, 1, LOCK_TYPE);
    (void)env_file_close(*box, NULL);
    *box = NULL;
    return 0;
}

static int remove_entries(struct env *env, const char *path, int depth, struct peri_error *err);

static int remove_tree(struct env *env, const char *path, int depth, struct peri_error *err)
{
    struct env_stat stat;
    int rc = env_path_stat(env, path, &stat, err);
    if (rc == 0 && stat.type == ENV_TYPE_DIRECTORY)
        rc = remove_entries(env, path, depth, err);
    return rc == 0 ? env_path_remove(env, path, err) : rc;
}

static int remove_entries(struct env *env, const char *path, int depth, struct peri_error *err)
{
    struct env_dir *dir;
    const char *name;
    enum env_file_type type;
    if (depth == 0)
        return peri_fail_plain(err, PERI_ETOOBIG, "%s is nested too deeply to be ours", path);
    int rc = env_dir_open(env, path, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        char child[PATH_SIZE];
        int size = snprintf(child, sizeof child, "%s/%s", path, name);
        if (size < 0 || (size_t)size >= sizeof child)
            rc = peri_fail_plain(err, PERI_ETOOBIG, "a path in %s is too long", path);
        else if (type == ENV_TYPE_DIRECTORY)
            rc = remove_tree(env, child, depth - 1, err);
        else
            rc = env_path_remove(env, child, err);
        if (rc != 0)
            break;
    }
    env_dir_close(dir);
    return rc;
}

/* Workers that were killed a moment ago may still be creating a last file, so a few tries. */
static int l_remove(lua_State *L)
{
    struct env *env = vm_state_of(L)->env;
    struct peri_error err = PERI_ERROR_INIT;
    const char *path = luaL_checkstring(L, 1);
    int missing = peri_error_from_name("ENOENT");
    int rc = 0;
    for (int i = 0; i < TRIES; i++) {
        rc = remove_tree(env, path, DEPTH_MAX, &err);
        if (rc == 0 ||
            (rc == missing && env_path_stat(env, path, &(struct env_stat){0}, NULL) != 0))
            break;
    }
    if (rc != 0 && rc != missing)
        return push_failure(L, rc, &err);
    lua_pushboolean(L, true);
    return 1;
}

static int l_library(lua_State *L)
{
    const struct vm_options *options = vm_state_of(L)->options;
    if (options->lua_path == NULL)
        return 0;
    lua_pushstring(L, options->lua_path);
    return 1;
}

static void make_lock_type(lua_State *L)
{
    static const luaL_Reg methods[] = {{"close", l_unlock}, {NULL, NULL}};
    luaL_newmetatable(L, LOCK_TYPE);
    lua_pushcfunction(L, l_unlock);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_unlock);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_perilune_mr_workspace(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"lock", l_lock}, {"remove", l_remove}, {"library", l_library}, {NULL, NULL}};
    make_lock_type(L);
    luaL_newlib(L, functions);
    return 1;
}
