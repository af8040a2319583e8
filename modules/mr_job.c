#include "mr_job.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "mr_blame.h"

enum { COPY_DEPTH_MAX = 32, COPY_VALUES_MAX = 1 << 18, TRACEBACK_MAX = 4000, SIDE_MAX = 1 << 30 };

/* Registry fields of the attempt's state. */
static const char KEY_CHUNK[] = "perilune.job.chunk";     /* the job file, compiled */
static const char KEY_TABLE[] = "perilune.job.table";     /* what the job file returned */
static const char KEY_STEP[] = "perilune.job.step";       /* the step that this attempt runs */
static const char KEY_CONTEXT[] = "perilune.job.context"; /* the job argument */
static const char task_key = 't';                         /* its address: the task */

/* ---- errors ---- */

static int keep_traceback(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &task_key);
    struct mr_task *task = lua_touserdata(L, -1);
    const char *message = mr_blame_message(L, 1);
    struct peri_slice text = mr_blame_traceback(L);
    task->traceback.size = 0;
    (void)peri_buffer_append(&task->traceback, text.data,
                             text.size < TRACEBACK_MAX ? text.size : TRACEBACK_MAX);
    lua_pushstring(L, message);
    return 1;
}

void mr_job_push_handler(lua_State *L)
{
    lua_pushcfunction(L, keep_traceback);
}

void mr_job_push_context(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, KEY_CONTEXT);
}

int mr_job_guard(struct mr_task *task, lua_CFunction body, void *data)
{
    lua_State *L = task->L;
    struct peri_error err = PERI_ERROR_INIT;
    int top = lua_gettop(L);
    if (task->failure.code != 0)
        return task->failure.code;
    mr_job_push_handler(L);
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, data);
    int code = vm_task_call(task->state, 1, 0, top + 1, task->timeout_us / 1000);
    if (code != 0) {
        const char *text = lua_tostring(L, -1);
        (void)peri_fail_plain(&err, code, "%s", text != NULL ? text : "(the error is no string)");
        (void)mr_task_fail(task, &err);
    }
    lua_settop(L, top);
    return task->failure.code;
}

/* Calls what stands below the arguments, for work outside the guard: only memory can be short. */
static int call_protected(struct mr_task *task, int argument_count, struct peri_error *err)
{
    int status = lua_pcall(task->L, argument_count, 0, 0);
    return status == LUA_OK ? 0 : mr_task_caught(task, task->L, status, err);
}

/* ---- plain copies between states ---- */

/* Pushes a copy of the scalar at index of from onto to; false when it is no scalar. */
static bool copy_scalar(lua_State *from, int index, lua_State *to)
{
    size_t size;
    const char *text;
    switch (lua_type(from, index)) {
    case LUA_TBOOLEAN:
        lua_pushboolean(to, lua_toboolean(from, index));
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index))
            lua_pushinteger(to, lua_tointeger(from, index));
        else
            lua_pushnumber(to, lua_tonumber(from, index));
        return true;
    case LUA_TSTRING:
        text = lua_tolstring(from, index, &size);
        lua_pushlstring(to, text, size);
        return true;
    default:
        return false;
    }
}

static void copy_function(lua_State *from, int index, lua_State *to)
{
    lua_Debug info;
    lua_pushvalue(from, index);
    lua_getinfo(from, ">S", &info);
    lua_createtable(to, 0, 1);
    lua_pushfstring(to, "%s:%d", info.short_src, info.linedefined);
    lua_setfield(to, -2, "function");
}

/* Pushes a copy of the value at index (absolute) onto to. Raises in from after *left values: a
 * table that contains itself has no end before its depth is reached. */
static void copy_plain(lua_State *from, int index, lua_State *to, int depth, size_t *left)
{
    if ((*left)-- == 0)
        luaL_error(from, "the job's table contains itself, or more than %d values",
                   COPY_VALUES_MAX);
    if (copy_scalar(from, index, to))
        return;
    if (lua_isfunction(from, index)) {
        copy_function(from, index, to);
        return;
    }
    lua_newtable(to);
    if (!lua_istable(from, index) || depth == 0) {
        lua_pushstring(to, depth == 0 ? "table nested too deeply" : luaL_typename(from, index));
        lua_setfield(to, -2, "unknown");
        return;
    }
    luaL_checkstack(from, 4, "job table");
    luaL_checkstack(to, 4, "job table");
    for (lua_pushnil(from); lua_next(from, index) != 0; lua_pop(from, 1)) {
        int key = lua_gettop(from) - 1;
        if (!copy_scalar(from, key, to))
            lua_pushfstring(to, "(a %s)", luaL_typename(from, key));
        copy_plain(from, key + 1, to, depth - 1, left);
        lua_rawset(to, -3);
    }
}

/* ---- loading ---- */

void mr_job_push_spec(lua_State *L, struct mr_task *task, const char *field)
{
    lua_State *H = task->host;
    size_t left = SIZE_MAX; /* it came here as a tree */
    if (lua_getfield(H, MR_HOST_SPEC, field) == LUA_TNIL)
        lua_pushnil(L);
    else
        copy_plain(H, lua_gettop(H), L, COPY_DEPTH_MAX, &left);
    lua_pop(H, 1);
}

/* Sets job.side[name] to the file's bytes. */
static int read_side(struct mr_task *task, lua_State *L, const char *name, const char *path)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct env_file *file;
    struct env_stat stat;
    int rc = env_file_open(task->env, path, ENV_FILE_READ, &file, &err);
    if (rc != 0)
        return mr_task_fail(task, &err);
    rc = env_file_stat(file, &stat, &err);
    if (rc == 0 && stat.size_bytes > SIDE_MAX)
        rc = peri_fail_plain(&err, PERI_ETOOBIG, "side file %s has %llu bytes, more than 1 GiB",
                             path, (unsigned long long)stat.size_bytes);
    size_t limit = vm_state_of(L)->alloc.limit_bytes;
    if (rc == 0 && limit > 0 && stat.size_bytes > limit / 2)
        rc = peri_fail_plain(&err, PERI_EMEMORY,
                             "side file %s has %llu bytes, more than half of Lua's %zu MiB", path,
                             (unsigned long long)stat.size_bytes, limit >> 20);
    struct peri_buffer bytes = {0};
    if (rc == 0 && peri_buffer_reserve(&bytes, (size_t)stat.size_bytes + 1) != 0)
        rc = peri_fail(&err, PERI_ENOMEM, "side file %s", path);
    int64_t size = 0;
    if (rc == 0 && (size = env_file_pread(file, bytes.data, (size_t)stat.size_bytes, 0, &err)) < 0)
        rc = (int)size;
    (void)env_file_close(file, NULL);
    if (rc != 0) {
        peri_buffer_deinit(&bytes);
        return mr_task_fail(task, &err);
    }
    bytes.size = (size_t)size;
    (void)box_take_buffer(L, &bytes);
    lua_setfield(L, -2, name);
    return 0;
}

static int make_side(struct mr_task *task, lua_State *L)
{
    lua_State *H = task->host;
    int rc = 0;
    lua_newtable(L);
    if (lua_getfield(H, MR_HOST_SPEC, "side") == LUA_TTABLE) {
        for (lua_pushnil(H); lua_next(H, -2) != 0; lua_pop(H, 1)) {
            if (rc == 0 && lua_type(H, -2) == LUA_TSTRING && lua_type(H, -1) == LUA_TSTRING)
                rc = read_side(task, L, lua_tostring(H, -2), lua_tostring(H, -1));
        }
    }
    lua_pop(H, 1);
    lua_setfield(L, -2, "side");
    return rc;
}

/* The job argument: what does not change between the calls of one attempt. */
static void make_context(struct mr_task *task, lua_State *L)
{
    lua_newtable(L);
    static const char *const fields[] = {"name", "args", "task", "attempt", "partitions"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        mr_job_push_spec(L, task, fields[i]);
        lua_setfield(L, -2, fields[i]);
    }
    (void)make_side(task, L);
    lua_setfield(L, LUA_REGISTRYINDEX, KEY_CONTEXT);
}

/* Walks the path in the description from the job's table to the step. */
static void find_step(struct mr_task *task, lua_State *L)
{
    lua_State *H = task->host;
    lua_getfield(L, LUA_REGISTRYINDEX, KEY_TABLE);
    if (lua_getfield(H, MR_HOST_SPEC, "path") == LUA_TTABLE) {
        lua_Integer count = (lua_Integer)lua_rawlen(H, -1);
        for (lua_Integer i = 1; i <= count && lua_istable(L, -1); i++) {
            lua_geti(H, -1, i);
            (void)copy_scalar(H, lua_gettop(H), L);
            lua_pop(H, 1);
            lua_gettable(L, -2);
        }
    }
    lua_pop(H, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, KEY_STEP);
}

/* Gives a job that the caller trusts files and processes. */
static void open_world(lua_State *L)
{
    luaL_requiref(L, "os", luaopen_os, 1);
    luaL_requiref(L, "io", luaopen_io, 1);
    lua_pop(L, 2);
}

/* Keeps the chunk, its first argument, and the task, its second. */
static int keep_chunk(lua_State *L)
{
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_key);
    lua_setfield(L, LUA_REGISTRYINDEX, KEY_CHUNK);
    return 0;
}

/* Calls the chunk, and keeps what it returns. */
static int run_file(lua_State *L)
{
    struct mr_task *task = lua_touserdata(L, 1);
    if (mr_spec_boolean(task, "trusted"))
        open_world(L);
    lua_getfield(L, LUA_REGISTRYINDEX, KEY_CHUNK);
    mr_job_push_spec(L, task, "args");
    mr_blame_unknown_globals(L, mr_spec_string(task, "job", ""));
    lua_call(L, 1, 1);
    mr_blame_release_globals(L);
    lua_setfield(L, LUA_REGISTRYINDEX, KEY_TABLE);
    find_step(task, L);
    make_context(task, L);
    return 0;
}

static void print_line(void *data, const char *line, size_t size)
{
    struct mr_task *task = data;
    (void)env_file_write(env_file_stderr(task->env), line, size, NULL);
}

/* Folder of path, "." when it has none; NULL when memory is short. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static int open_state(struct mr_task *task, const char *path, struct peri_error *err)
{
    task->job_directory = folder_of(path);
    if (task->job_directory == NULL)
        return peri_fail(err, PERI_ENOMEM, "job %s", path);
    struct vm_task_options options = {
        .env = task->env,
        .memory_limit_bytes = (size_t)mr_spec_integer(task, "lua_bytes", 0),
        .sandbox = {.directory = task->job_directory,
                    .seed = mr_spec_integer(task, "task", 0),
                    .print = print_line,
                    .print_data = task},
    };
    int rc = vm_task_create(&task->state, &options, err);
    if (rc != 0)
        return rc;
    task->L = vm_task_lua(task->state);
    task->progress = vm_task_progress(task->state);
    rc = vm_task_load(task->state, path, err);
    if (rc != 0)
        return rc;
    lua_pushcfunction(task->L, keep_chunk);
    lua_insert(task->L, -2);
    lua_pushlightuserdata(task->L, task);
    return call_protected(task, 2, err);
}

int mr_job_open(struct mr_task *task)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *path = mr_spec_string(task, "job", "");
    if (open_state(task, path, &err) != 0)
        return mr_task_fail(task, &err);
    return mr_job_guard(task, run_file, task);
}

static int describe(lua_State *L)
{
    struct mr_task *task = lua_touserdata(L, 1);
    size_t left = COPY_VALUES_MAX;
    lua_getfield(L, LUA_REGISTRYINDEX, KEY_TABLE);
    if (lua_isnil(L, -1))
        lua_pushnil(task->host);
    else
        copy_plain(L, lua_gettop(L), task->host, COPY_DEPTH_MAX, &left);
    return 0;
}

int mr_job_describe(struct mr_task *task)
{
    return mr_job_guard(task, describe, task);
}

struct lookup {
    const char *field;
    int reference;
};

static int look_up(lua_State *L)
{
    struct lookup *lookup = lua_touserdata(L, 1);
    if (lua_getfield(L, LUA_REGISTRYINDEX, KEY_STEP) != LUA_TTABLE)
        return 0;
    lua_pushstring(L, lookup->field);
    lua_rawget(L, -2);
    if (lua_isfunction(L, -1))
        lookup->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int mr_job_function(struct mr_task *task, const char *field)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct lookup lookup = {field, LUA_NOREF};
    lua_pushcfunction(task->L, look_up);
    lua_pushlightuserdata(task->L, &lookup);
    if (call_protected(task, 1, &err) != 0)
        (void)mr_task_fail(task, &err);
    return lookup.reference;
}

void mr_job_hook(lua_State *L, struct mr_task *task, const char *name, int context, int out)
{
    int hook = mr_job_function(task, name);
    if (hook == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, hook);
    lua_pushvalue(L, context);
    lua_pushvalue(L, out);
    lua_call(L, 2, 0);
}

void mr_job_close(struct mr_task *task)
{
    vm_task_close(task->state);
    task->state = NULL;
    task->L = NULL;
    free(task->job_directory);
    task->job_directory = NULL;
}
