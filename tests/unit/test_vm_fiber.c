/* Fibers from C: every allocation fails once; waits end by wake, by time and by cancel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/log.h"
#include "env/uv.h"
#include "vm/fiber.h"
#include "vm/preempt.h"
#include "vm/state.h"

int luaopen_perilune_fiber(lua_State *L);
int luaopen_perilune_channel(lua_State *L);

static const struct vm_module modules[] = {{"fiber", luaopen_perilune_fiber},
                                           {"channel", luaopen_perilune_channel}};

struct fixture {
    struct env *env;
    struct vm_options options;
    struct vm_state *vm;
};

static void open_state(struct fixture *fixture)
{
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(env_uv_create(&fixture->env, &err), 0);
    env_log_set_level(fixture->env, ENV_LOG_ERROR + 1);
    fixture->options =
        (struct vm_options){.env = fixture->env, .modules = modules, .module_count = 2};
    assert_int_equal(vm_state_create(&fixture->vm, &fixture->options, &err), 0);
    assert_int_equal(fiber_scheduler_create(fixture->vm, &err), 0);
}

static void close_state(struct fixture *fixture)
{
    vm_state_close(fixture->vm);
    env_close(fixture->env);
}

static struct fiber_result run_text(struct fixture *fixture, const char *text)
{
    assert_int_equal(luaL_loadstring(fixture->vm->L, text), LUA_OK);
    return fiber_scheduler_main(fixture->vm, 0);
}

/* ---- lack of memory ---- */

static const char everything[] =
    "local fiber, channel = require 'perilune.core.fiber', require 'perilune.core.channel'\n"
    "local ch = channel.channel(1)\n"
    "local function work(n)\n"
    "  local guard <close> = setmetatable({}, {__close = function() end})\n"
    "  coroutine.wrap(function() fiber.yield() ch:send(('x'):rep(n)) end)()\n"
    "  return {n}\n"
    "end\n"
    "local fibers = {}\n"
    "for i = 1, 4 do fibers[i] = fiber.spawn({name = 'worker', deadline = 10}, work, i) end\n"
    "for i = 1, 4 do local v = ch:recv() assert(v == nil or #v <= 4) end\n"
    "for i = 1, 4 do local ok, err = fibers[i]:join() if not ok then error(err) end end\n"
    "local failing = fiber.spawn(function() error('expected') end)\n"
    "assert(not failing:join())\n"
    "channel.select { { ch, 'recv' }, timeout = 0.0001 }\n"
    "local victim = fiber.spawn(fiber.sleep, 100)\n"
    "fiber.yield()\n"
    "victim:cancel('enough')\n"
    "assert(select(3, victim:join()) == 'ECANCELLED')\n"
    "return 42\n";

struct failing {
    lua_Alloc function;
    void *data;
    long countdown; /* allocations until the one that fails, together with Lua's second try */
};

static void *fail_nth(void *data, void *block, size_t old_size, size_t new_size)
{
    struct failing *failing = data;
    bool grows = new_size > (block != NULL ? old_size : 0);
    if (grows && (failing->countdown == 0 || failing->countdown == -1)) {
        failing->countdown--;
        return NULL;
    }
    if (grows)
        failing->countdown--;
    return failing->function(failing->data, block, old_size, new_size);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    enum { ROUNDS_MAX = 20000 };
    for (long n = 0; n < ROUNDS_MAX; n++) {
        struct fixture fixture;
        open_state(&fixture);
        lua_State *L = fixture.vm->L;
        assert_int_equal(luaL_loadstring(L, everything), LUA_OK);
        struct failing failing = {.countdown = n};
        failing.function = lua_getallocf(L, &failing.data);
        lua_setallocf(L, fail_nth, &failing);
        struct fiber_result result = fiber_scheduler_main(fixture.vm, 0);
        lua_setallocf(L, failing.function, failing.data);
        bool was_reached = failing.countdown < 0;
        close_state(&fixture);
        if (!was_reached) {
            assert_int_equal(result.exit_status, 42);
            assert_true(n > 100); /* else nothing was tested */
            return;
        }
        assert_true(result.exit_status == 42 || result.exit_status == EXIT_FAILURE);
    }
    fail_msg("no round without a failed allocation");
}

static void any_memory_limit_ends_in_an_error(void **state)
{
    (void)state;
    enum { STEP = 331, LIMIT_MAX = 200000 };
    int successes = 0;
    for (size_t more = 0; more < LIMIT_MAX; more += STEP) {
        struct fixture fixture;
        open_state(&fixture);
        assert_int_equal(luaL_loadstring(fixture.vm->L, everything), LUA_OK);
        struct vm_alloc *alloc = &fixture.vm->alloc;
        alloc->limit_bytes = alloc->used_bytes + more;
        alloc->peak_bytes = alloc->used_bytes;
        struct fiber_result result = fiber_scheduler_main(fixture.vm, 0);
        assert_true(alloc->peak_bytes <= alloc->limit_bytes);
        assert_true(result.exit_status == 42 || result.exit_status == EXIT_FAILURE);
        successes += result.exit_status == 42;
        close_state(&fixture);
    }
    assert_true(successes > 0);
}

static void nothing_is_left_of_closed_states(void **state)
{
    (void)state;
    struct fixture fixture;
    open_state(&fixture);
    assert_int_equal(run_text(&fixture, everything).exit_status, 42);
    struct vm_alloc *alloc = &fixture.vm->alloc;
    assert_true(alloc->peak_bytes >= alloc->used_bytes);
    close_state(&fixture);
}

/* ---- waits ---- */

struct operation {
    struct fiber_wait wait;
    struct env_timer *timer;
    int woken;
    int cancelled;
};

static void on_timer(void *data)
{
    struct operation *operation = data;
    operation->woken++;
    fiber_wake(&operation->wait);
    fiber_wake(&operation->wait); /* nobody waits any more: no effect */
}

static void on_cancel(struct fiber_wait *wait)
{
    struct operation *operation = (struct operation *)(void *)wait;
    operation->cancelled++;
    env_timer_stop(operation->timer);
}

static int wait_continue(lua_State *L, int status, lua_KContext ctx)
{
    const struct operation *operation = (const struct operation *)ctx;
    assert_int_equal(status, LUA_YIELD);
    assert_null(operation->wait.fiber);
    lua_pushinteger(L, operation->woken);
    return 1;
}

/* wait(operation, delay_us) */
static int l_wait(lua_State *L)
{
    struct operation *operation = lua_touserdata(L, 1);
    fiber_check(L, "wait");
    operation->wait = (struct fiber_wait){.what = "test.wait", .on_cancel = on_cancel};
    env_timer_start(operation->timer, (uint64_t)lua_tointeger(L, 2));
    return fiber_suspend(L, &operation->wait, wait_continue);
}

static struct fiber_result run_waiting(struct operation *operation, const char *text)
{
    struct fixture fixture;
    open_state(&fixture);
    assert_int_equal(env_timer_create(fixture.env, on_timer, operation, &operation->timer), 0);
    lua_register(fixture.vm->L, "wait", l_wait);
    lua_pushlightuserdata(fixture.vm->L, operation);
    lua_setglobal(fixture.vm->L, "operation");
    struct fiber_result result = run_text(&fixture, text);
    env_timer_close(operation->timer);
    close_state(&fixture);
    return result;
}

static void operations_wake_their_fiber(void **state)
{
    (void)state;
    struct operation operation = {0};
    assert_int_equal(run_waiting(&operation, "return 10 + wait(operation, 1000)").exit_status, 11);
    assert_int_equal(operation.cancelled, 0);
    operation = (struct operation){0};
    static const char nested[] = "return 10 + coroutine.wrap(function() return coroutine.wrap("
                                 "function() return wait(operation, 1000) end)() end)()";
    assert_int_equal(run_waiting(&operation, nested).exit_status, 11);
}

static void cancelled_operations_are_abandoned_once(void **state)
{
    (void)state;
    struct operation operation = {0};
    static const char text[] =
        "local fiber = require 'perilune.core.fiber'\n"
        "local f = fiber.spawn(function() pcall(wait, operation, 1000000) went_on = true end)\n"
        "fiber.yield() f:cancel() f:cancel() f:join()\n"
        "return went_on and 1 or 3";
    assert_int_equal(run_waiting(&operation, text).exit_status, 3);
    assert_int_equal(operation.cancelled, 1);
    assert_int_equal(operation.woken, 0);
    operation = (struct operation){0}; /* the end of the program cancels as well */
    assert_int_equal(run_waiting(&operation, "require 'perilune.core.fiber'.spawn(wait, operation, "
                                             "1000000) require 'perilune.core.fiber'.yield()")
                         .exit_status,
                     0);
    assert_int_equal(operation.cancelled, 1);
}

static void waits_outside_fibers_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    open_state(&fixture);
    lua_State *L = fixture.vm->L;
    lua_register(L, "wait", l_wait);
    assert_int_equal(luaL_dostring(L, "wait()"), 1);
    assert_non_null(strstr(lua_tostring(L, -1), "wait: call from inside a fiber"));
    close_state(&fixture);
}

/* ---- programs that share a loop ---- */

struct shared {
    struct vm_options options;
    struct vm_state *vm;
    struct fiber_result result;
    int ends;
    int *running;
};

static void on_shared_end(void *data)
{
    struct shared *shared = data;
    struct env *env = shared->options.env;
    shared->ends++;
    shared->result = fiber_scheduler_finish(shared->vm);
    vm_state_close(shared->vm);
    if (--*shared->running == 0)
        env_stop(env);
}

static void start_shared(struct shared *shared, struct env *env, int *running, const char *text)
{
    *shared = (struct shared){.running = running};
    shared->options = (struct vm_options){.env = env, .modules = modules, .module_count = 2};
    assert_int_equal(vm_state_create(&shared->vm, &shared->options, NULL), 0);
    assert_int_equal(fiber_scheduler_create(shared->vm, NULL), 0);
    assert_int_equal(luaL_loadstring(shared->vm->L, text), LUA_OK);
    assert_int_equal(fiber_scheduler_start(shared->vm, 0, on_shared_end, shared, NULL), 0);
    ++*running;
}

static void on_exit_timer(void *data)
{
    struct shared *shared = data;
    fiber_scheduler_exit(shared->vm, 9);
    fiber_scheduler_exit(shared->vm, 10); /* the first one counts */
}

static void programs_on_one_loop_end_one_by_one(void **state)
{
    (void)state;
    static const char sleeps[] = "require 'perilune.core.fiber'.sleep(%s) return %d";
    struct env *env = NULL;
    struct shared shared[3];
    struct env_timer *timer = NULL;
    char text[100];
    int running = 0;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    env_log_set_level(env, ENV_LOG_ERROR + 1);
    (void)snprintf(text, sizeof text, sleeps, "0.03", 7);
    start_shared(&shared[0], env, &running, text);
    (void)snprintf(text, sizeof text, sleeps, "100", 8);
    start_shared(&shared[1], env, &running, text);
    start_shared(&shared[2], env, &running, "error 'expected'");
    assert_int_equal(env_timer_create(env, on_exit_timer, &shared[1], &timer), 0);
    env_timer_start(timer, 10000);
    env_run(env);
    for (int i = 0; i < 3; i++)
        assert_int_equal(shared[i].ends, 1);
    assert_int_equal(shared[0].result.exit_status, 7);
    assert_int_equal(shared[1].result.exit_status, 9);
    assert_int_equal(shared[2].result.status, PERI_ELUA);
    env_timer_close(timer);
    env_close(env);
}

/* ---- states without fibers ---- */

static void tasks_are_stopped_at_their_deadline(void **state)
{
    (void)state;
    static const char *const spins[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
        "xpcall(error, function() while true do end end)",
    };
    struct env *env = NULL;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    struct vm_options options = {.env = env};
    for (size_t i = 0; i < sizeof spins / sizeof spins[0]; i++) {
        struct vm_state *vm = NULL;
        assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
        assert_int_equal(luaL_loadstring(vm->L, spins[i]), LUA_OK);
        vm->deadline_us = env_now_us(env) + 30000;
        vm->deadline_reason = "the task took too long";
        (void)vm_preempt_pcall(vm, 0, 0, 0); /* that it returns is what matters */
        assert_true(env_now_us(env) >= vm->deadline_us);
        vm_state_close(vm);
    }
    env_close(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(any_memory_limit_ends_in_an_error),
        cmocka_unit_test(nothing_is_left_of_closed_states),
        cmocka_unit_test(operations_wake_their_fiber),
        cmocka_unit_test(cancelled_operations_are_abandoned_once),
        cmocka_unit_test(waits_outside_fibers_are_refused),
        cmocka_unit_test(programs_on_one_loop_end_one_by_one),
        cmocka_unit_test(tasks_are_stopped_at_their_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
