/* perilune.core.process: child processes; lua/perilune/process.lua stands in front. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "box.h"
#include "stream.h"
#include "vm/fiber.h"

#define PROCESS_METATABLE "perilune.process"

enum { STDIO_COUNT = 3 };

struct box_process {
    struct env_process *process; /* NULL when closed */
    bool has_exited;
    struct env_process_exit exit;
    struct peri_list waiters; /* struct exit_waiter */
};

/* A fiber in wait(): lives in a userdata on its stack. */
struct exit_waiter {
    struct fiber_wait wait;
    struct peri_list link;
};

static struct box_process *check_process(lua_State *L)
{
    return luaL_checkudata(L, 1, PROCESS_METATABLE);
}

/* ---- waiting ---- */

static void wake_waiters(struct box_process *box)
{
    while (!peri_list_is_empty(&box->waiters)) {
        struct exit_waiter *waiter = container_of(box->waiters.next, struct exit_waiter, link);
        peri_list_remove(&waiter->link);
        fiber_wake(&waiter->wait);
    }
}

static void on_exit_(void *data, const struct env_process_exit *exit)
{
    struct box_process *box = data;
    box->has_exited = true;
    box->exit = *exit;
    wake_waiters(box);
}

/* status or signal, never both: a child that was killed has no status. */
static int push_exit(lua_State *L, const struct env_process_exit *exit)
{
    lua_createtable(L, 0, 3);
    if (exit->signal != 0)
        box_set_integer(L, "signal", exit->signal);
    else
        box_set_integer(L, "status", exit->status);
    box_set_integer(L, "cpu_us", (lua_Integer)exit->cpu_us);
    box_set_integer(L, "max_rss_bytes", (lua_Integer)exit->max_rss_bytes);
    return 1;
}

static int wait_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    const struct box_process *box = lua_touserdata(L, 1);
    if (box->has_exited)
        return push_exit(L, &box->exit);
    return box_fail(L, PERI_ECLOSED, "the process handle was closed");
}

static void on_wait_cancel(struct fiber_wait *wait)
{
    peri_list_remove(&container_of(wait, struct exit_waiter, wait)->link);
}

static int l_wait(lua_State *L)
{
    struct box_process *box = check_process(L);
    lua_settop(L, 1);
    if (box->has_exited || box->process == NULL)
        return wait_continue(L, LUA_OK, 0);
    fiber_check(L, "process:wait");
    struct exit_waiter *waiter = lua_newuserdatauv(L, sizeof *waiter, 0);
    *waiter = (struct exit_waiter){.wait = {.what = "process.wait", .on_cancel = on_wait_cancel}};
    peri_list_append(&box->waiters, &waiter->link);
    return fiber_suspend(L, &waiter->wait, wait_continue);
}

static int l_pid(lua_State *L)
{
    const struct box_process *box = check_process(L);
    if (box->process == NULL)
        return box_fail(L, PERI_ECLOSED, "the process handle was closed");
    lua_pushinteger(L, env_process_pid(box->process));
    return 1;
}

static int l_kill(lua_State *L)
{
    const struct box_process *box = check_process(L);
    lua_Integer signum = luaL_optinteger(L, 2, SIGTERM);
    luaL_argcheck(L, signum >= 0 && signum < NSIG, 2, "no such signal");
    int rc = box->process == NULL ? -ESRCH : env_process_kill(box->process, (int)signum);
    if (rc == -ESRCH)
        return box_fail(L, rc, "kill: the process has ended");
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int l_close(lua_State *L)
{
    struct box_process *box = check_process(L);
    env_process_close(box->process);
    box->process = NULL;
    wake_waiters(box);
    return 0;
}

/* ---- starting ---- */

/* The strings of the list at index, ended by NULL, in Lua's memory: the array is pushed, the
 * strings stay the list's. */
static const char *const *push_strings(lua_State *L, int index, const char *what)
{
    size_t count = lua_rawlen(L, index);
    const char **strings = lua_newuserdatauv(L, (count + 1) * sizeof *strings, 0);
    for (size_t i = 0; i < count; i++) {
        size_t size;
        if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TSTRING)
            (void)luaL_error(L, "spawn: %s[%d] is not a string", what, (int)i + 1);
        strings[i] = lua_tolstring(L, -1, &size);
        if (strlen(strings[i]) != size)
            (void)luaL_error(L, "spawn: %s[%d] contains a zero byte", what, (int)i + 1);
        lua_pop(L, 1);
    }
    strings[count] = NULL;
    return strings;
}

static struct box_process *push_process(lua_State *L)
{
    struct box_process *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct box_process){.process = NULL};
    peri_list_init(&box->waiters);
    luaL_setmetatable(L, PROCESS_METATABLE);
    return box;
}

static enum env_stdio check_stdio(lua_State *L, int index)
{
    static const char *const names[] = {"null", "inherit", "pipe", NULL};
    static const enum env_stdio kinds[] = {ENV_STDIO_NULL, ENV_STDIO_INHERIT, ENV_STDIO_PIPE};
    return kinds[luaL_checkoption(L, index, NULL, names)];
}

/* spawn(argv, env|nil, cwd|nil, stdin, stdout, stderr, dies_with_parent, detached, output|nil):
 * process, and a stream for each pipe, false for the others. */
static int l_spawn(lua_State *L)
{
    static const char *const names[STDIO_COUNT] = {"the child's input", "the child's output",
                                                   "the child's error output"};
    enum { ARGV = 1, ENVIRONMENT, CWD, STDIO, DIES = STDIO + STDIO_COUNT, DETACHED, OUTPUT };
    struct env_process_options options = {.cwd = luaL_optstring(L, CWD, NULL)};
    struct box_stream *boxes[STDIO_COUNT] = {NULL, NULL, NULL};
    struct env_stream *streams[STDIO_COUNT] = {NULL, NULL, NULL};
    struct peri_error err = PERI_ERROR_INIT;
    luaL_checktype(L, ARGV, LUA_TTABLE);
    luaL_argcheck(L, lua_rawlen(L, ARGV) > 0, ARGV, "no command");
    for (int i = 0; i < STDIO_COUNT; i++)
        options.stdio[i] = check_stdio(L, STDIO + i);
    options.dies_with_parent = lua_toboolean(L, DIES);
    options.is_detached = lua_toboolean(L, DETACHED);
    options.output = luaL_optstring(L, OUTPUT, NULL);
    options.argv = push_strings(L, ARGV, "argument");
    options.envp = lua_isnil(L, ENVIRONMENT) ? NULL : push_strings(L, ENVIRONMENT, "env");
    struct box_process *box = push_process(L);
    for (int i = 0; i < STDIO_COUNT; i++) {
        if (options.stdio[i] == ENV_STDIO_PIPE)
            boxes[i] = stream_push(L, names[i]);
        else
            lua_pushboolean(L, 0);
    }
    if (env_process_spawn(vm_state_of(L)->env, &options, on_exit_, box, streams, &box->process,
                          &err) != 0)
        return box_error(L, &err);
    for (int i = 0; i < STDIO_COUNT; i++)
        if (boxes[i] != NULL)
            stream_adopt(boxes[i], streams[i]);
    return 1 + STDIO_COUNT;
}

/* ---- the process itself ---- */

static int l_self_pid(lua_State *L)
{
    lua_pushinteger(L, env_pid(vm_state_of(L)->env));
    return 1;
}

static int l_is_alive(lua_State *L)
{
    lua_pushboolean(L, env_pid_is_alive(vm_state_of(L)->env, luaL_checkinteger(L, 1)));
    return 1;
}

/* signal(pid, signal): to any process. */
static int l_signal(lua_State *L)
{
    lua_Integer signum = luaL_checkinteger(L, 2);
    luaL_argcheck(L, signum >= 0 && signum < NSIG, 2, "no such signal");
    int rc = env_pid_kill(vm_state_of(L)->env, luaL_checkinteger(L, 1), (int)signum);
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushboolean(L, 1);
    return 1;
}

/* notify(path, text): a datagram to a Unix socket. */
static int l_notify(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    int rc = env_notify(vm_state_of(L)->env, path, luaL_checkstring(L, 2));
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int l_variables(lua_State *L)
{
    const char *const *variables = env_variables(vm_state_of(L)->env);
    lua_newtable(L);
    for (lua_Integer i = 0; variables[i] != NULL; i++) {
        lua_pushstring(L, variables[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int l_processors(lua_State *L)
{
    lua_pushinteger(L, env_processors(vm_state_of(L)->env));
    return 1;
}

static int l_executable(lua_State *L)
{
    char *path = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct env *env = vm_state_of(L)->env;
    return env_executable(env, &path, &err) == 0 ? box_take_string(L, path) : box_error(L, &err);
}

/* on_signal(fn, seconds): fn(signal) in a fiber of its own, instead of the end of the program. */
static int l_on_signal(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e6, 2, "seconds from 0 to 1000000");
    env_signal_guard_limit(vm_state_of(L)->env, (uint64_t)(seconds * 1e6));
    lua_settop(L, 1);
    fiber_scheduler_trap(L);
    return 0;
}

int luaopen_perilune_process(lua_State *L);

int luaopen_perilune_process(lua_State *L)
{
    static const luaL_Reg methods[] = {{"wait", l_wait},   {"pid", l_pid},    {"kill", l_kill},
                                       {"close", l_close}, {"__gc", l_close}, {"__close", l_close},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"spawn", l_spawn},           {"on_signal", l_on_signal},
                                         {"pid", l_self_pid},          {"is_alive", l_is_alive},
                                         {"signal", l_signal},         {"notify", l_notify},
                                         {"variables", l_variables},   {"processors", l_processors},
                                         {"executable", l_executable}, {NULL, NULL}};
    if (luaL_newmetatable(L, PROCESS_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    luaL_newlib(L, functions);
    return 1;
}
