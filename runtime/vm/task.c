/* task.c - the Lua state of one MapReduce attempt: sandbox, memory limit and progress watch. */
#include <lauxlib.h>

#include <stdio.h>
#include <stdlib.h>

#include "vm/preempt.h"
#include "vm/sandbox.h"
#include "vm/state.h"

enum { WATCH_US = 20000, US_PER_MS = 1000, MS_PER_S = 1000 };

struct vm_task {
    struct vm_state *vm;
    struct vm_options options;
    struct vm_sandbox sandbox;
    struct env_ticker *watch;
    volatile uint64_t progress;
    uint64_t seen; /* progress at the watch's last look */
    uint64_t limit_us;
    char reason[64];
};

/* Runs in a signal handler: while the counter moves, the deadline moves with it. */
static void on_watch(void *data)
{
    struct vm_task *task = data;
    uint64_t progress = task->progress;
    if (progress == task->seen)
        return;
    task->seen = progress;
    task->vm->deadline_us = env_now_us(task->options.env) + task->limit_us;
}

static int open_sandbox(lua_State *L)
{
    vm_sandbox_open(L, lua_touserdata(L, 1));
    return 0;
}

int vm_task_create(struct vm_task **out, const struct vm_task_options *options,
                   struct peri_error *err)
{
    struct vm_task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return peri_fail(err, PERI_ENOMEM, "the state of a task");
    task->sandbox = options->sandbox;
    task->options = (struct vm_options){
        .env = options->env, .memory_limit_bytes = options->memory_limit_bytes, .bare = true};
    int rc = vm_state_create(&task->vm, &task->options, err);
    if (rc == 0) {
        rc = env_ticker_create(options->env, WATCH_US, on_watch, task, &task->watch);
        if (rc != 0)
            (void)peri_fail(err, rc, "the watch of a task");
    }
    if (rc == 0) {
        lua_State *L = task->vm->L;
        lua_pushcfunction(L, open_sandbox);
        lua_pushlightuserdata(L, &task->sandbox);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            rc = peri_fail_plain(err, PERI_ELUA, "cannot open the task's libraries: %s",
                                 lua_tostring(L, -1));
    }
    if (rc != 0) {
        vm_task_close(task);
        return rc;
    }
    *out = task;
    return 0;
}

lua_State *vm_task_lua(struct vm_task *task)
{
    return task->vm->L;
}

volatile uint64_t *vm_task_progress(struct vm_task *task)
{
    return &task->progress;
}

static int load_file(lua_State *L)
{
    if (luaL_loadfilex(L, lua_touserdata(L, 1), "t") != LUA_OK)
        return lua_error(L);
    return 1;
}

int vm_task_load(struct vm_task *task, const char *path, struct peri_error *err)
{
    lua_State *L = task->vm->L;
    struct env_stat stat;
    int rc = env_path_stat(task->options.env, path, &stat, err);
    if (rc != 0)
        return rc;
    lua_pushcfunction(L, load_file);
    lua_pushlightuserdata(L, (void *)path); /* read only, by load_file */
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
        return 0;
    rc = peri_fail_plain(err, PERI_ELUA, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return rc;
}

static int push_memory_text(lua_State *L)
{
    size_t limit_bytes = vm_state_of(L)->alloc.limit_bytes;
    lua_pushfstring(L, "memory limit of %I %s reached",
                    (LUAI_UACINT)(limit_bytes >= 1 << 20 ? limit_bytes >> 20 : limit_bytes),
                    limit_bytes >= 1 << 20 ? "MiB" : "bytes");
    return 1;
}

/* The error value on top becomes the limit's text, unless not even that fits. */
static void name_memory_limit(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    lua_pushcfunction(L, push_memory_text);
    if (lua_pcall(L, 0, 1, 0) == LUA_OK)
        lua_remove(L, -2);
    else
        lua_pop(L, 1);
}

static void begin_watch(struct vm_task *task, uint64_t no_progress_ms)
{
    task->limit_us = no_progress_ms * US_PER_MS;
    task->seen = task->progress;
    if (no_progress_ms == 0)
        return;
    if (no_progress_ms % MS_PER_S == 0)
        (void)snprintf(task->reason, sizeof task->reason, "no progress for %llu s",
                       (unsigned long long)no_progress_ms / MS_PER_S);
    else
        (void)snprintf(task->reason, sizeof task->reason, "no progress for %llu ms",
                       (unsigned long long)no_progress_ms);
    task->vm->deadline_reason = task->reason;
    task->vm->deadline_us = env_now_us(task->options.env) + task->limit_us;
    env_ticker_start(task->watch);
}

/* True when the call was past its deadline. */
static bool end_watch(struct vm_task *task)
{
    struct vm_state *vm = task->vm;
    env_ticker_stop(task->watch);
    bool is_late = vm->deadline_us != 0 && env_now_us(task->options.env) >= vm->deadline_us;
    vm->deadline_us = 0;
    lua_sethook(vm->L, NULL, 0, 0); /* the one that raised stays armed */
    return is_late;
}

int vm_task_call(struct vm_task *task, int argument_count, int result_count, int handler,
                 uint64_t no_progress_ms)
{
    begin_watch(task, no_progress_ms);
    int status = vm_preempt_pcall(task->vm, argument_count, result_count, handler);
    bool is_late = end_watch(task);
    if (status == LUA_OK)
        return 0;
    if (status == LUA_ERRMEM) {
        name_memory_limit(task->vm->L);
        return PERI_EMEMORY;
    }
    return is_late ? PERI_ECPU : PERI_ELUA;
}

void vm_task_close(struct vm_task *task)
{
    if (task == NULL)
        return;
    env_ticker_close(task->watch);
    vm_state_close(task->vm);
    free(task);
}
