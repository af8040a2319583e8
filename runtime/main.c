/* main.c - the program: one environment, one Lua state, and perilune.cli as its main fiber. */
#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"
#include "env/uv.h"
#include "vm/embedded.h"
#include "vm/fiber.h"
#include "vm/state.h"

enum { SIGNAL_COUNT = 3, EXIT_USAGE = 2 };

/* How long ending in order may take: the process must be gone in 2 s. */
enum { SIGNAL_MAX_US = 1600000 };

struct program {
    struct env *env;
    struct vm_state *vm;
    struct env_signal *watches[SIGNAL_COUNT];
};

static int report(const struct peri_error *err, int status)
{
    (void)fprintf(stderr, "perilune: %s\n", err->text);
    return status;
}

/* Ends the watches: from then on a signal ends the process at once, as it does by default. */
static void stop_watching(struct program *program)
{
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        env_signal_close(program->watches[i]);
        program->watches[i] = NULL;
    }
}

static void on_signal(void *data, int signum)
{
    struct program *program = data;
    stop_watching(program);
    fiber_scheduler_interrupt(program->vm, signum == SIGINT ? "interrupted" : "terminated", signum);
}

static int watch_signals(struct program *program, struct peri_error *err)
{
    static const int signals[SIGNAL_COUNT] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        int rc =
            env_signal_watch(program->env, signals[i], on_signal, program, &program->watches[i]);
        if (rc != 0)
            return peri_fail(err, rc, "watching signals");
    }
    int rc = env_signal_guard(program->env, signals, SIGNAL_COUNT, SIGNAL_MAX_US);
    return rc == 0 ? 0 : peri_fail(err, rc, "guarding signals");
}

/* Takes --lua-path DIR from the front of the arguments. Returns how many it took, or negative. */
static int take_lua_path(int argc, char **argv, const char **lua_path)
{
    static const char flag[] = "--lua-path";
    if (argc < 2 || strncmp(argv[1], flag, strlen(flag)) != 0)
        return 0;
    if (argv[1][strlen(flag)] == '=') {
        *lua_path = argv[1] + strlen(flag) + 1;
        return 1;
    }
    if (argv[1][strlen(flag)] != '\0')
        return 0;
    if (argc < 3)
        return -1;
    *lua_path = argv[2];
    return 2;
}

/* Pushes the function of the main fiber, which is Lua so that everything below it may yield, and
 * its argument, the table of command line arguments. */
static int push_main(lua_State *L)
{
    char **argv = lua_touserdata(L, 1);
    if (luaL_loadstring(L, "return require 'perilune.cli' (...)") != LUA_OK)
        return lua_error(L);
    lua_newtable(L);
    for (int i = 0; argv[i] != NULL; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 2;
}

/* A full disk under standard output is an error like any other; a reader that left is none. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0 || errno == EPIPE || status != EXIT_SUCCESS)
        return status;
    (void)fprintf(stderr, "perilune: cannot write to standard output: %s\n", strerror(errno));
    return EXIT_FAILURE;
}

/* True for the verbs that compute in C for as long as their input lasts: no callback of the loop
 * could serve a signal, so signals end them as they end any program. */
static bool is_deaf(char **argv)
{
    static const char *const verbs[] = {"stream", "mr-worker", "sim-worker"};
    for (size_t i = 0; argv[0] != NULL && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(argv[0], verbs[i]) == 0)
            return true;
    return false;
}

static int run(struct program *program, char **argv, struct peri_error *err)
{
    if (fiber_scheduler_create(program->vm, err) != 0)
        return report(err, EXIT_FAILURE);
    if (!is_deaf(argv) && watch_signals(program, err) != 0)
        return report(err, EXIT_FAILURE);
    lua_State *L = program->vm->L;
    lua_pushcfunction(L, push_main);
    lua_pushlightuserdata(L, argv);
    if (lua_pcall(L, 1, 2, 0) != LUA_OK) {
        (void)peri_fail_plain(err, PERI_ELUA, "%s", lua_tostring(L, -1));
        return report(err, EXIT_FAILURE);
    }
    int status = fiber_scheduler_main(program->vm, 1).exit_status;
    stop_watching(program);
    return flush_output(status);
}

int main(int argc, char **argv)
{
    struct program program = {0};
    struct peri_error err = PERI_ERROR_INIT;
    struct vm_options options = {.embedded = vm_embedded_table,
                                 .embedded_count = vm_embedded_count,
                                 .modules = vm_module_table,
                                 .module_count = vm_module_count};
    int taken = take_lua_path(argc, argv, &options.lua_path);
    if (taken < 0) {
        (void)fputs("perilune: --lua-path: needs a directory\n", stderr);
        return EXIT_USAGE;
    }
    if (env_uv_create(&program.env, &err) != 0)
        return report(&err, EXIT_FAILURE);
    options.env = program.env;
    int status;
    if (vm_state_create(&program.vm, &options, &err) == 0)
        status = run(&program, argv + (argc > 0 ? 1 : 0) + taken, &err);
    else
        status = report(&err, EXIT_FAILURE);
    stop_watching(&program);
    vm_state_close(program.vm);
    env_close(program.env);
    return status;
}
