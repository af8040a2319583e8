#include "vm/scheduler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "vm/compare.h"
#include "vm/coroutine.h"
#include "vm/preempt.h"
#include "vm/program.h"

enum {
    TURN_SWITCHES_MAX = 4096, /* then the core has a look, even where no ticker ticks */
    BATON_WARN_US = 1000000,
    SHUTDOWN_MAX_US = 1000000,
};

/* ---- queues ---- */

static void enqueue(struct fiber_queue *queue, struct fiber *fiber)
{
    fiber->queue_next = NULL;
    if (queue->last != NULL)
        queue->last->queue_next = fiber;
    else
        queue->first = fiber;
    queue->last = fiber;
}

static struct fiber *dequeue(struct fiber_queue *queue)
{
    struct fiber *fiber = queue->first;
    if (fiber == NULL)
        return NULL;
    queue->first = fiber->queue_next;
    if (queue->first == NULL)
        queue->last = NULL;
    return fiber;
}

static void start_turning(struct fiber_scheduler *s)
{
    if (s->is_turning)
        return;
    s->is_turning = true;
    env_turn_start(s->turn);
}

void fiber_make_ready(struct fiber *fiber)
{
    struct fiber_scheduler *s = fiber->scheduler;
    fiber->state = FIBER_READY;
    enqueue(fiber->preemptible ? &s->background : &s->ready, fiber);
    if (!s->is_exiting)
        start_turning(s);
}

/* An interrupted default fiber goes on first. Default fibers come before preemptible ones, but when
 * they used up a whole slice, one preemptible fiber gets the next. */
static struct fiber *take_next(struct fiber_scheduler *s)
{
    struct fiber *fiber = s->baton;
    if (fiber != NULL) {
        s->baton = NULL;
        return fiber;
    }
    if (s->background_owed) {
        s->background_owed = false;
        fiber = dequeue(&s->background);
    }
    if (fiber == NULL)
        fiber = dequeue(&s->ready);
    return fiber != NULL ? fiber : dequeue(&s->background);
}

/* ---- one switch ---- */

static void check_baton(struct fiber *fiber)
{
    struct vm_state *vm = fiber->scheduler->vm;
    char where[FIBER_REASON_SIZE / 2];
    fiber_where(fiber, where, sizeof where);
    double busy_s = (double)fiber->busy_us / 1e6;
    if (fiber->cpu_deadline_us != 0 && fiber->busy_us >= fiber->cpu_deadline_us) {
        env_log(vm->env, ENV_LOG_WARN, "fiber",
                "fiber %s ran %.2f s without blocking, past its CPU deadline, at %s: cancelled",
                fiber->name, busy_s, where);
        char reason[FIBER_REASON_SIZE];
        (void)snprintf(reason, sizeof reason, "it ran %.2f s without blocking, at %s", busy_s,
                       where);
        fiber_cancel(fiber, PERI_ECPU, reason);
    } else if (!fiber->was_named) {
        fiber->was_named = true;
        env_log(vm->env, ENV_LOG_WARN, "fiber",
                "fiber %s has run for %.2f s without blocking, at %s", fiber->name, busy_s, where);
    }
}

/* The slice ended while the fiber ran: it keeps the baton or waits behind its equals. */
static void on_interrupted(struct fiber_scheduler *s, struct fiber *fiber)
{
    s->preemptions++;
    if ((fiber->cpu_deadline_us != 0 && fiber->busy_us >= fiber->cpu_deadline_us) ||
        (!fiber->was_named && !fiber->preemptible && fiber->busy_us >= BATON_WARN_US))
        check_baton(fiber);
    if (fiber->preemptible && s->now_us >= fiber->atomic_until_us)
        fiber_make_ready(fiber);
    else
        s->baton = fiber;
}

static void account(struct fiber_scheduler *s, struct fiber *fiber)
{
    uint64_t now_us = env_now_us(s->vm->env);
    uint64_t used_us = now_us - s->now_us;
    s->now_us = now_us;
    fiber->cpu_us += used_us;
    fiber->busy_us += used_us;
    fiber->switches++;
    fiber->since_us = now_us;
}

static void on_ended(struct fiber *fiber, int status)
{
    if (status == LUA_OK) {
        fiber_finish(fiber, 0);
        return;
    }
    struct fiber_scheduler *s = fiber->scheduler;
    fiber_record_error(fiber);
    s->current = fiber;
    (void)vm_preempt_reset_thread(s->vm, fiber->L); /* leaves the error object */
    s->current = NULL;
    fiber_finish(fiber, PERI_ELUA);
}

static void run(struct fiber_scheduler *s, struct fiber *fiber)
{
    if (fiber->cancel_code != 0) {
        fiber_close(fiber);
        return;
    }
    struct vm_state *vm = s->vm;
    int argument_count = fiber->argument_count;
    int result_count = 0;
    fiber->argument_count = 0;
    fiber->state = FIBER_RUNNING;
    s->current = fiber;
    vm->to_core = false;
    vm->running = fiber->L;
    struct vm_budget *outer = vm_compare_charge(&vm->budget); /* when the code is a machine's */
    int status = lua_resume(fiber->L, NULL, argument_count, &result_count);
    (void)vm_compare_charge(outer);
    vm->running = NULL;
    s->current = NULL;
    account(s, fiber);
    if (status != LUA_YIELD) {
        on_ended(fiber, status);
    } else if (fiber->state == FIBER_RUNNING) {
        on_interrupted(s, fiber);
    } else { /* it waits or has yielded */
        fiber->busy_us = 0;
        fiber->was_named = false;
    }
}

static bool is_idle(const struct fiber_scheduler *s)
{
    return s->baton == NULL && s->ready.first == NULL && s->background.first == NULL;
}

static void end_program(struct fiber_scheduler *s)
{
    if (s->on_end == NULL) {
        env_stop(s->vm->env);
    } else if (!s->end_was_told) {
        s->end_was_told = true;
        s->on_end(s->on_end_data);
    }
}

static void on_turn(void *data)
{
    struct fiber_scheduler *s = data;
    struct vm_state *vm = s->vm;
    bool was_owed = s->background_owed;
    env_ticker_start(vm->ticker);
    vm_preempt_begin_slice(vm);
    s->now_us = vm->slice_start_us;
    for (int i = 0; i < TURN_SWITCHES_MAX && !vm->attention && !s->is_exiting; i++) {
        struct fiber *fiber = take_next(s);
        if (fiber == NULL)
            break;
        run(s, fiber);
    }
    s->background_owed = !was_owed && s->ready.first != NULL;
    if (s->is_exiting || is_idle(s)) {
        s->is_turning = false;
        env_turn_stop(s->turn);
        env_ticker_stop(vm->ticker);
        vm_program_wait(vm);
    }
    if (s->is_exiting || (s->main != NULL && s->main->state == FIBER_DONE))
        end_program(s); /* last: on_end may close the state */
}

/* ---- life ---- */

static int open_scheduler(lua_State *L)
{
    struct fiber_scheduler *s = lua_touserdata(L, 1);
    luaL_newmetatable(L, FIBER_METATABLE);
    luaL_newmetatable(L, CHANNEL_METATABLE);
    lua_newtable(L);
    s->anchors = luaL_ref(L, LUA_REGISTRYINDEX);
    vm_program_open(L);
    return 0;
}

static int fail_lua(struct vm_state *vm, struct peri_error *err)
{
    int rc = peri_fail(err, PERI_ELUA, "fibers: %s", lua_tostring(vm->L, -1));
    lua_pop(vm->L, 1);
    return rc;
}

int fiber_scheduler_create(struct vm_state *vm, struct peri_error *err)
{
    struct fiber_scheduler *s = calloc(1, sizeof *s);
    if (s == NULL)
        return peri_fail(err, PERI_ENOMEM, "fibers");
    s->vm = vm;
    s->next_id = 1;
    vm->scheduler = s;
    int rc = fiber_timers_init(s);
    if (rc == 0)
        rc = env_turn_create(vm->env, on_turn, s, &s->turn);
    if (rc != 0) {
        fiber_scheduler_close(vm);
        return peri_fail(err, rc, "fibers");
    }
    lua_pushcfunction(vm->L, open_scheduler);
    lua_pushlightuserdata(vm->L, s);
    if (lua_pcall(vm->L, 1, 0, 0) != LUA_OK) {
        rc = fail_lua(vm, err);
        fiber_scheduler_close(vm);
    }
    return rc;
}

static void cancel_all(struct fiber_scheduler *s, const char *reason)
{
    for (struct fiber *fiber = s->first; fiber != NULL; fiber = fiber->all_next)
        fiber_cancel(fiber, PERI_ECANCELLED, reason);
}

/* Closes what is left without running anything but __close handlers. */
static void close_all(struct fiber_scheduler *s)
{
    cancel_all(s, "the program ends");
    if (s->shutdown_until_us == 0)
        s->shutdown_until_us = env_now_us(s->vm->env) + SHUTDOWN_MAX_US;
    vm_preempt_begin_slice(s->vm);
    env_ticker_start(s->vm->ticker);
    while (s->first != NULL)
        fiber_close(s->first);
    env_ticker_stop(s->vm->ticker);
    s->ready = s->background = (struct fiber_queue){NULL, NULL};
    s->baton = NULL;
}

void fiber_scheduler_close(struct vm_state *vm)
{
    struct fiber_scheduler *s = vm->scheduler;
    if (s == NULL)
        return;
    s->is_exiting = true;
    if (s->first != NULL)
        close_all(s);
    env_log_limit_end(vm->env, &s->log_limit, ENV_LOG_WARN, "fiber");
    fiber_timers_deinit(s);
    env_turn_close(s->turn);
    vm->scheduler = NULL;
    free(s);
}

void fiber_scheduler_abandon(struct vm_state *vm)
{
    if (vm->scheduler != NULL)
        vm->scheduler->shutdown_until_us = 1; /* long past */
}

/* ---- the program ---- */

static int spawn_main(lua_State *L)
{
    struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    static const struct fiber_options options = {.name = "main"};
    s->main = fiber_spawn(L, &options, lua_gettop(L) - 1);
    s->main->is_joined = true;
    return 1; /* the handle: it outlives the fiber */
}

static int exit_status_of(struct fiber_scheduler *s)
{
    lua_State *L = s->main->L;
    if (s->has_exit_status)
        return s->exit_status;
    if (s->main->status != 0)
        return EXIT_FAILURE;
    return lua_isinteger(L, 1) ? (int)lua_tointeger(L, 1) : EXIT_SUCCESS;
}

int fiber_scheduler_start(struct vm_state *vm, int argument_count, void (*on_end)(void *data),
                          void *data, struct peri_error *err)
{
    struct fiber_scheduler *s = vm->scheduler;
    lua_State *L = vm->L;
    lua_pushcfunction(L, spawn_main);
    lua_insert(L, -(argument_count + 2));
    if (lua_pcall(L, argument_count + 1, 1, 0) != LUA_OK)
        return fail_lua(vm, err);
    s->on_end = on_end;
    s->on_end_data = data;
    s->end_was_told = false;
    return 0;
}

struct fiber_result fiber_scheduler_finish(struct vm_state *vm)
{
    struct fiber_scheduler *s = vm->scheduler;
    s->end_was_told = true;
    if (s->main->state != FIBER_DONE && !s->is_exiting) {
        if (!s->main->is_settling) /* else what is left serves nobody any more: no error */
            fiber_report_deadlock(s);
        fiber_scheduler_exit(vm, s->main->is_settling ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    s->is_exiting = true;
    bool raised = s->main->status == PERI_ELUA;
    close_all(s);
    if (raised && !s->has_exit_status)
        vm_program_report_error(vm);
    struct fiber_result result = {s->main->status, exit_status_of(s)};
    s->main = NULL;
    lua_pop(vm->L, 1);
    return result;
}

struct fiber_result fiber_scheduler_main(struct vm_state *vm, int argument_count)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (fiber_scheduler_start(vm, argument_count, NULL, NULL, &err) != 0) {
        env_log(vm->env, ENV_LOG_ERROR, "fiber", "%s", err.text);
        return (struct fiber_result){PERI_ELUA, EXIT_FAILURE};
    }
    env_run(vm->env);
    return fiber_scheduler_finish(vm);
}

void fiber_scheduler_exit(struct vm_state *vm, int status)
{
    struct fiber_scheduler *s = vm->scheduler;
    if (!s->has_exit_status) {
        s->has_exit_status = true;
        s->exit_status = status;
    }
    s->is_exiting = true;
    if (s->on_end == NULL)
        env_stop(vm->env);
    else if (!s->end_was_told)
        start_turning(s);
}

void fiber_scheduler_trap(lua_State *L)
{
    struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    luaL_unref(L, LUA_REGISTRYINDEX, s->trap);
    s->trap = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Takes the trap, and spawns the fiber that calls it with a signal. */
static int spring_trap(lua_State *L)
{
    static const struct fiber_options options = {.name = "signal", .detached = true};
    struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->trap);
    luaL_unref(L, LUA_REGISTRYINDEX, s->trap);
    s->trap = 0;
    lua_insert(L, 1);
    (void)fiber_spawn(L, &options, 1);
    return 0;
}

/* False when there is no trap, or no memory for what it does. */
static bool is_trapped(struct fiber_scheduler *s, int signum)
{
    lua_State *L = s->vm->L;
    if (s->trap == 0 || signum == 0 || s->is_exiting)
        return false;
    lua_pushcfunction(L, spring_trap);
    lua_pushinteger(L, signum);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return true;
    lua_pop(L, 1);
    return false;
}

void fiber_scheduler_interrupt(struct vm_state *vm, const char *reason, int signum)
{
    enum { EXIT_SIGNAL_BASE = 128 };
    struct fiber_scheduler *s = vm->scheduler;
    if (is_trapped(s, signum))
        return;
    if (!s->has_exit_status) {
        s->has_exit_status = true;
        s->exit_status = signum != 0 ? EXIT_SIGNAL_BASE + signum : 0;
    }
    s->shutdown_until_us = env_now_us(vm->env) + SHUTDOWN_MAX_US;
    cancel_all(s, reason);
}

uint64_t fiber_random(struct fiber_scheduler *s)
{
    uint64_t value;
    if (s->random_left < sizeof value) {
        env_random(s->vm->env, s->random_pool, sizeof s->random_pool);
        s->random_left = sizeof s->random_pool;
    }
    s->random_left -= sizeof value;
    memcpy(&value, s->random_pool + s->random_left, sizeof value);
    return value;
}
