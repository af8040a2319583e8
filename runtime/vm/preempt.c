#include "vm/preempt.h"

#include <lauxlib.h>

#include "vm/scheduler.h"

/* How many instructions code runs under a C function before the hook looks again. */
enum { REARM_COUNT = 1000 };

enum { REST_FACTOR = 4 };

static void on_hook(lua_State *L, lua_Debug *activation);

static void arm(struct vm_state *vm, lua_State *L, int count)
{
    lua_Hook own = lua_gethook(L);
    if (own != NULL && own != on_hook) {
        vm->hook = own;
        vm->hook_mask = lua_gethookmask(L);
        vm->hook_count = lua_gethookcount(L);
        vm->hooked = L;
    }
    lua_sethook(L, on_hook, LUA_MASKCOUNT, count);
}

static void disarm(struct vm_state *vm, lua_State *L)
{
    if (vm->hooked != L) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    vm->hooked = NULL;
    lua_sethook(L, vm->hook, vm->hook_mask, vm->hook_count);
}

void vm_preempt_arm(struct vm_state *vm, lua_State *L)
{
    if (!vm->budget.is_counting)
        arm(vm, L, 1);
}

/* Arming visits every call on the stack, and code deep in a recursion has 200,000 of them: that
 * takes longer than a tick. So it rests for as long as it takes four times over before it may be
 * done again, or ticks would leave the code no time at all. */
static void arm_bounded(struct vm_state *vm, lua_State *L, int count)
{
    uint64_t begin_us = env_now_us(vm->env);
    if (begin_us < vm->rest_until_us)
        return;
    arm(vm, L, count);
    uint64_t end_us = env_now_us(vm->env);
    vm->rest_until_us = end_us + REST_FACTOR * (end_us - begin_us);
}

/* Runs in a signal handler, between any two instructions of the thread: it reads running once, and
 * arming a coroutine that has not started, or is about to stop, does no harm: the hook looks at
 * attention before it does anything. */
static void on_tick(void *data)
{
    struct vm_state *vm = data;
    lua_State *L = vm->running;
    vm->ticks = vm->ticks + 1;
    if (L == NULL || vm->ticks < VM_SLICE_US / VM_TICK_US)
        return;
    vm->attention = 1;
    if (!vm->budget.is_counting) /* its hook looks at attention by itself */
        arm_bounded(vm, L, 1);
}

bool vm_can_yield(lua_State *L)
{
    const struct vm_state *vm = vm_state_of(L);
    return vm->scheduler != NULL && vm->barriers == 0 && lua_isyieldable(L);
}

/* In a simulated state only the watchdog ticks, when an event has taken too much real time. */
static bool is_watchdogs(const struct vm_state *vm)
{
    return vm->options->simulated != NULL && vm->ticks > 0;
}

/* Why code that cannot yield must not go on, or NULL. */
static const char *overdue(const struct vm_state *vm)
{
    const struct fiber_scheduler *s = vm->scheduler;
    uint64_t now_us = env_now_us(vm->env);
    if (is_watchdogs(vm))
        return "the simulation ends: this code never returns";
    if (vm->closing != NULL)
        return now_us >= vm->close_until_us ? "__close handlers ran too long" : NULL;
    if (s == NULL)
        return vm->deadline_us != 0 && now_us >= vm->deadline_us ? vm->deadline_reason : NULL;
    if (s->is_exiting)
        return "the program ends";
    if (s->current != NULL && s->current->cancel_code != 0)
        return "the fiber was cancelled";
    bool is_timed = !vm->budget.is_counting; /* a machine's call must not depend on the time */
    if (is_timed && now_us - vm->slice_start_us >= VM_UNYIELDABLE_MAX_US)
        return "code inside a function that cannot yield ran longer than 1 s";
    return NULL;
}

/* Tells who wants to know where code is stopped, while it still stands there. */
static void tell_stopped(const struct vm_state *vm, lua_State *L)
{
    const struct vm_simulated *simulated = vm->options->simulated;
    if (is_watchdogs(vm) && simulated->on_stopped != NULL)
        simulated->on_stopped(simulated, L);
}

/* Raises at this instruction and, should a pcall catch that, at every further one: nothing but
 * leaving is left to do. */
static void raise_here(struct vm_state *vm, lua_State *L, lua_Debug *activation, const char *text)
{
    arm(vm, L, 1);
    vm->is_stopping = true;
    (void)lua_getinfo(L, "Sl", activation);
    (void)luaL_error(L, "%s:%d: %s", activation->short_src, activation->currentline, text);
}

bool vm_preempt_attend_in_hook(lua_State *L, lua_Debug *activation)
{
    struct vm_state *vm = vm_state_of(L);
    if (vm_can_yield(L)) {
        vm->to_core = true;
        (void)lua_yield(L, 0);
        return true;
    }
    const char *text = overdue(vm);
    if (text == NULL)
        return false;
    tell_stopped(vm, L);
    raise_here(vm, L, activation, text);
    return false;
}

static void on_hook(lua_State *L, lua_Debug *activation)
{
    struct vm_state *vm = vm_state_of(L);
    disarm(vm, L);
    if (!vm->attention || vm_preempt_attend_in_hook(L, activation))
        return;
    if (vm->scheduler != NULL)
        arm_bounded(vm, L, REARM_COUNT);
    else
        vm->attention = 0;
}

int vm_attend(lua_State *L, lua_KContext ctx, lua_KFunction k)
{
    struct vm_state *vm = vm_state_of(L);
    if (vm_can_yield(L)) {
        vm->to_core = true;
        return lua_yieldk(L, 0, ctx, k);
    }
    const char *text = overdue(vm);
    if (text != NULL) {
        tell_stopped(vm, L);
        arm(vm, L, 1);
        vm->is_stopping = true;
        return luaL_error(L, "%s", text);
    }
    vm->attention = 0; /* the next tick sets it again */
    return k(L, LUA_OK, ctx);
}

int vm_preempt_create(struct vm_state *vm)
{
    return env_ticker_create(vm->env, VM_TICK_US, on_tick, vm, &vm->ticker);
}

void vm_preempt_begin_slice(struct vm_state *vm)
{
    vm->attention = 0;
    vm->is_stopping = false;
    vm->ticks = 0;
    vm->slice_start_us = env_now_us(vm->env);
}

int vm_preempt_pcall(struct vm_state *vm, int argument_count, int result_count, int handler)
{
    vm_preempt_begin_slice(vm);
    vm->running = vm->L;
    env_ticker_start(vm->ticker);
    int status = lua_pcall(vm->L, argument_count, result_count, handler);
    env_ticker_stop(vm->ticker);
    vm->running = NULL;
    return status;
}

int vm_preempt_reset_thread(struct vm_state *vm, lua_State *co)
{
    lua_State *running = vm->running;
    lua_State *closing = vm->closing;
    uint64_t until_us = vm->close_until_us;
    if (closing == NULL) /* handlers that close further coroutines share the time of the first */
        vm->close_until_us = env_now_us(vm->env) + VM_CLOSE_MAX_US;
    vm->closing = co;
    vm->running = co;
    vm->barriers++;
    int status = lua_resetthread(co);
    vm->barriers--;
    vm->running = running;
    vm->closing = closing;
    vm->close_until_us = until_us;
    if (running != NULL && vm->attention)
        vm_preempt_arm(vm, running);
    return status;
}
