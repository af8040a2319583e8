/* mr_task.c - require "perilune.mr_task": attempts, and the frames of a worker.
 *
 *   run(spec, is_reporting)  runs one attempt; a result table, or nil, error table. When reporting,
 *                            progress frames are sent meanwhile
 *   describe(spec)           loads a job file; a plain copy of its table, or nil, error table
 *   ask(spec)                the answer of a loop's until_ function
 *   receive(), send(bytes)   frames between a worker and its parent, on standard input and output
 *
 * An error table has message, code, traceback, file, offset, record; skipped: bad records before
 * it. */
#include "mr_task.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mr_job.h"

int luaopen_perilune_mr_task(lua_State *L);

enum { MEMORY_DEFAULT = 512 << 20, TIMEOUT_DEFAULT_MS = 60000, REPORT_US = 100000 };
enum { FRAME_MAX = 1 << 30 };

const char *mr_spec_string(struct mr_task *task, const char *field, const char *absent)
{
    lua_State *H = task->host;
    const char *text =
        lua_getfield(H, MR_HOST_SPEC, field) == LUA_TSTRING ? lua_tostring(H, -1) : absent;
    lua_pop(H, 1);
    return text;
}

uint64_t mr_spec_integer(struct mr_task *task, const char *field, uint64_t absent)
{
    lua_State *H = task->host;
    lua_getfield(H, MR_HOST_SPEC, field);
    int is_integer = 0;
    lua_Integer value = lua_tointegerx(H, -1, &is_integer);
    lua_pop(H, 1);
    return is_integer ? (uint64_t)value : absent;
}

bool mr_spec_boolean(struct mr_task *task, const char *field)
{
    lua_getfield(task->host, MR_HOST_SPEC, field);
    bool value = lua_toboolean(task->host, -1);
    lua_pop(task->host, 1);
    return value;
}

int mr_spec_reducer(struct mr_task *task, const char *field, struct mr_reducer *out,
                    struct peri_error *err)
{
    lua_State *H = task->host;
    *out = (struct mr_reducer){.kind = MR_REDUCE_NONE};
    int rc = 0;
    int top = lua_gettop(H);
    if (lua_getfield(H, MR_HOST_SPEC, field) == LUA_TTABLE &&
        lua_getfield(H, -1, "name") == LUA_TSTRING) {
        rc = mr_reducer_parse(out, lua_tostring(H, -1), err);
        if (lua_getfield(H, top + 1, "count") == LUA_TNUMBER)
            out->limit = (uint64_t)lua_tointeger(H, -1);
        if (lua_getfield(H, top + 1, "limit") == LUA_TNUMBER)
            out->limit = (uint64_t)lua_tointeger(H, -1);
        if (lua_getfield(H, top + 1, "separator") == LUA_TSTRING) {
            size_t size;
            const char *text = lua_tolstring(H, -1, &size);
            out->sep = peri_slice_of(text, size);
        }
    }
    lua_settop(H, top);
    return rc;
}

int mr_task_fail(struct mr_task *task, const struct peri_error *err)
{
    if (task->failure.code == 0)
        task->failure = *err;
    return task->failure.code;
}

bool mr_task_is_user_error(int code)
{
    return code == PERI_EINVAL || code == PERI_ETOOBIG || code == PERI_ELUA || code == PERI_EFORMAT;
}

int mr_task_caught(struct mr_task *task, lua_State *L, int status, struct peri_error *err)
{
    int code = PERI_ELUA;
    if (status == LUA_ERRMEM) {
        code = peri_fail_plain(err, PERI_EMEMORY, "Lua's memory limit of %zu MiB was reached",
                               vm_state_of(L)->alloc.limit_bytes >> 20);
    } else {
        if (env_now_us(task->env) - task->looked_us >= task->timeout_us)
            code = PERI_EDEADLINE;
        const char *text = lua_tostring(L, -1);
        (void)peri_fail_plain(err, code, "%s", text != NULL ? text : "(the error is no string)");
    }
    lua_pop(L, 1);
    return code;
}

/* Writes one frame to the parent: u32 little-endian length, then the bytes. */
static int write_frame(struct env *env, const char *bytes, size_t size, struct peri_error *err)
{
    struct env_file *out = env_file_stdout(env);
    unsigned char head[4] = {(unsigned char)size, (unsigned char)(size >> 8),
                             (unsigned char)(size >> 16), (unsigned char)(size >> 24)};
    int rc = env_file_write(out, head, sizeof head, err);
    return rc == 0 ? env_file_write(out, bytes, size, err) : rc;
}

/* Sends { type = "progress", done = done } in MessagePack. In C, because Lua on the host's side
 * would be taken for code that holds the process for too long. */
static void report(struct mr_task *task, double done)
{
    static const char text[] = "\x82\xa4type\xa8progress\xa4"
                               "done\xcb";
    enum { TEXT_SIZE = sizeof text - 1, DOUBLE_SIZE = 8 };
    struct peri_error err = PERI_ERROR_INIT;
    char frame[TEXT_SIZE + DOUBLE_SIZE];
    uint64_t bits;
    if (!lua_toboolean(task->host, MR_HOST_PROGRESS))
        return;
    memcpy(frame, text, TEXT_SIZE);
    memcpy(&bits, &done, sizeof bits);
    for (int i = 0; i < DOUBLE_SIZE; i++)
        frame[TEXT_SIZE + i] = (char)(bits >> (8 * (DOUBLE_SIZE - 1 - i)));
    if (write_frame(task->env, frame, sizeof frame, &err) != 0)
        (void)mr_task_fail(task, &err); /* the parent is gone */
}

void mr_task_report(struct mr_task *task, double done)
{
    enum { SOON_US = 5000, LATE_US = 50000, STRIDE_MAX = 4096 };
    uint64_t now = env_now_us(task->env);
    uint64_t elapsed = now - task->looked_us;
    if (elapsed > LATE_US)
        task->stride = 1; /* records are slow: look at the clock for each of them */
    else if (elapsed < SOON_US && task->stride < STRIDE_MAX)
        task->stride *= 2;
    task->looked_us = now;
    task->countdown = task->stride;
    if (now - task->reported_us >= REPORT_US) {
        task->reported_us = now;
        report(task, done);
    }
}

/* The line that the record at offset stands on, or 0 where lines mean nothing. */
static uint64_t line_of(struct mr_task *task)
{
    enum { STEP = 1 << 16 };
    struct env_file *file = NULL;
    char *block = malloc(STEP);
    uint64_t line = 1;
    uint64_t at = 0;
    if (block == NULL ||
        env_file_open(task->env, task->where.file, ENV_FILE_READ, &file, NULL) != 0)
        line = 0;
    while (line > 0 && at < task->where.offset) {
        uint64_t left = task->where.offset - at;
        int64_t size = env_file_pread(file, block, left < STEP ? (size_t)left : STEP, at, NULL);
        if (size <= 0)
            line = 0; /* the file is gone, or shorter than it was */
        for (int64_t i = 0; i < size && line > 0; i++)
            line += block[i] == '\n';
        at += size > 0 ? (uint64_t)size : 0;
    }
    (void)env_file_close(file, NULL);
    free(block);
    return line;
}

static void set_string(lua_State *L, const char *field, const char *data, size_t size)
{
    lua_pushlstring(L, data, size);
    lua_setfield(L, -2, field);
}

static void push_error(lua_State *L, struct mr_task *task)
{
    lua_createtable(L, 0, 8);
    set_string(L, "message", task->failure.text, strlen(task->failure.text));
    lua_pushstring(L, peri_error_name(task->failure.code));
    lua_setfield(L, -2, "code");
    if (task->traceback.size > 0 && mr_task_is_user_error(task->failure.code))
        set_string(L, "traceback", task->traceback.data, task->traceback.size);
    if (task->where.file != NULL && task->where.has_offset) {
        lua_pushstring(L, task->where.file);
        lua_setfield(L, -2, "file");
        lua_pushinteger(L, (lua_Integer)task->where.offset);
        lua_setfield(L, -2, "offset");
        uint64_t line = mr_spec_boolean(task, "has_lines") ? line_of(task) : 0;
        if (line > 0) {
            lua_pushinteger(L, (lua_Integer)line);
            lua_setfield(L, -2, "line");
        }
    }
    if (task->where.has_record) {
        set_string(L, "record", task->where.record, task->where.record_size);
        lua_pushinteger(L, (lua_Integer)task->where.record_full);
        lua_setfield(L, -2, "record_size");
    }
    if (task->skipped > 0) {
        lua_pushinteger(L, (lua_Integer)task->skipped);
        lua_setfield(L, -2, "skipped");
    }
    if (task->damaged_input >= 0) {
        lua_pushinteger(L, (lua_Integer)task->damaged_input + 1);
        lua_setfield(L, -2, "damaged_input");
    }
}

static void task_init(struct mr_task *task, lua_State *L)
{
    *task = (struct mr_task){
        .env = vm_state_of(L)->env, .host = L, .damaged_input = -1, .stride = 1, .countdown = 1};
    lua_settop(L, 2);
    luaL_checktype(L, MR_HOST_SPEC, LUA_TTABLE);
    task->memory_bytes = mr_spec_integer(task, "memory_bytes", MEMORY_DEFAULT);
    task->timeout_us = mr_spec_integer(task, "timeout_ms", TIMEOUT_DEFAULT_MS) * 1000;
    task->looked_us = env_now_us(task->env);
}

static int finish(lua_State *L, struct mr_task *task, int rc)
{
    if (rc != 0) {
        lua_pushnil(L);
        push_error(L, task);
    }
    mr_job_close(task);
    peri_buffer_deinit(&task->traceback);
    return rc != 0 ? 2 : 1;
}

static int l_run(lua_State *L)
{
    struct mr_task task;
    task_init(&task, L);
    const char *kind = mr_spec_string(&task, "kind", "");
    bool is_map = strcmp(kind, "map") == 0;
    luaL_argcheck(L, is_map || strcmp(kind, "reduce") == 0, 1, "kind must be map or reduce");
    lua_createtable(L, 0, 16);
    int rc = is_map ? mr_map_run(&task) : mr_reduce_run(&task);
    if (rc == 0) {
        lua_pushinteger(L, (lua_Integer)task.skipped);
        lua_setfield(L, -2, "skipped");
        lua_pushinteger(L, (lua_Integer)env_max_rss_bytes(task.env));
        lua_setfield(L, -2, "rss_bytes");
    }
    return finish(L, &task, rc);
}

static int l_describe(lua_State *L)
{
    struct mr_task task;
    task_init(&task, L);
    int rc = mr_job_open(&task);
    if (rc == 0)
        rc = mr_job_describe(&task);
    return finish(L, &task, rc);
}

/* Calls the until_ function of the loop with counters and round; leaves its answer on the host. */
static int ask_body(lua_State *L)
{
    struct mr_task *task = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, mr_job_function(task, "until_"));
    mr_job_push_spec(L, task, "counters");
    mr_job_push_spec(L, task, "round");
    lua_call(L, 2, 1);
    lua_pushboolean(task->host, lua_toboolean(L, -1));
    return 0;
}

static int l_ask(lua_State *L)
{
    struct mr_task task;
    task_init(&task, L);
    int rc = mr_job_open(&task);
    if (rc == 0)
        rc = mr_job_guard(&task, ask_body, &task);
    return finish(L, &task, rc);
}

/* ---- frames: u32 little-endian length, then the bytes ---- */

static bool read_exactly(struct env_file *file, char *out, size_t size)
{
    while (size > 0) {
        int64_t count = env_file_read(file, out, size, NULL);
        if (count <= 0)
            return false;
        out += count;
        size -= (size_t)count;
    }
    return true;
}

/* receive() -> bytes; nil when the parent has closed the pipe. Blocks the whole process. */
static int l_receive(lua_State *L)
{
    struct env_file *in = env_file_stdin(vm_state_of(L)->env);
    unsigned char head[4];
    if (!read_exactly(in, (char *)head, sizeof head))
        return 0;
    size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (size > FRAME_MAX)
        return luaL_error(L, "a frame of %d bytes is not from our parent", (int)size);
    luaL_Buffer bytes;
    char *room = luaL_buffinitsize(L, &bytes, size);
    if (!read_exactly(in, room, size))
        return 0;
    luaL_pushresultsize(&bytes, size);
    return 1;
}

static int l_send(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    luaL_argcheck(L, size <= FRAME_MAX, 1, "too long for a frame");
    if (write_frame(vm_state_of(L)->env, bytes, size, &err) != 0)
        return luaL_error(L, "%s", err.text);
    return 0;
}

int luaopen_perilune_mr_task(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run", l_run},         {"describe", l_describe}, {"ask", l_ask},
        {"receive", l_receive}, {"send", l_send},         {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
