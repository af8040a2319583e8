#include "vm/fiber.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "env/log_limit.h"
#include "vm/coroutine.h"
#include "vm/preempt.h"
#include "vm/scheduler.h"

/* ---- who runs ---- */

struct fiber *fiber_current(lua_State *L)
{
    const struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    return s != NULL ? s->current : NULL;
}

void fiber_set_owner(struct fiber *fiber, void *owner, uint64_t due_us)
{
    fiber->owner = owner;
    fiber->due_us = due_us;
}

void *fiber_owner(lua_State *L)
{
    const struct fiber *fiber = fiber_current(L);
    while (fiber != NULL && fiber->owner == NULL)
        fiber = fiber->parent;
    return fiber != NULL ? fiber->owner : NULL;
}

static uint64_t earlier(uint64_t a_us, uint64_t b_us)
{
    return a_us == 0 || (b_us != 0 && b_us < a_us) ? b_us : a_us;
}

uint64_t fiber_due_us(lua_State *L)
{
    uint64_t due_us = 0;
    for (const struct fiber *f = fiber_current(L); f != NULL; f = f->parent) {
        due_us = earlier(due_us, f->due_us);
        if (f->deadline.slot != 0)
            due_us = earlier(due_us, f->deadline.due_us);
    }
    return due_us;
}

bool fiber_is_base(lua_State *L)
{
    const struct fiber *fiber = fiber_current(L);
    return fiber != NULL && fiber->L == L;
}

bool fiber_is_main(lua_State *L)
{
    const struct fiber *fiber = fiber_current(L);
    return fiber_is_base(L) && fiber == fiber->scheduler->main;
}

void fiber_check(lua_State *L, const char *function)
{
    if (fiber_current(L) == NULL)
        luaL_error(L, "%s: call from inside a fiber", function);
    if (!vm_can_yield(L))
        luaL_error(L,
                   "%s: cannot wait here: a function that cannot yield (a metamethod of C, a "
                   "__close handler, ...) is in between",
                   function);
}

/* ---- suspend and wake ---- */

int fiber_to_core(lua_State *L, lua_KFunction k)
{
    struct fiber *fiber = fiber_current(L);
    vm_state_of(L)->to_core = true;
    return lua_yieldk(L, 0, (lua_KContext)fiber->wait, k);
}

int fiber_yield(lua_State *L, lua_KFunction k)
{
    fiber_make_ready(fiber_current(L));
    return fiber_to_core(L, k);
}

int fiber_suspend(lua_State *L, struct fiber_wait *wait, lua_KFunction k)
{
    struct fiber *fiber = fiber_current(L);
    PERI_ASSERT(fiber->state == FIBER_RUNNING);
    wait->fiber = fiber;
    fiber->wait = wait;
    fiber->state = FIBER_WAITING;
    return fiber_to_core(L, k);
}

int fiber_suspend_until(lua_State *L, struct fiber_wait *wait, uint64_t due_us, lua_KFunction k)
{
    struct fiber *fiber = fiber_current(L);
    if (due_us != 0)
        fiber_timer_start(fiber->scheduler, &fiber->sleep, due_us);
    return fiber_suspend(L, wait, k);
}

void fiber_wake(struct fiber_wait *wait)
{
    struct fiber *fiber = wait->fiber;
    if (fiber == NULL)
        return;
    wait->fiber = NULL;
    fiber->wait = NULL;
    fiber_timer_stop(fiber->scheduler, &fiber->sleep);
    fiber_make_ready(fiber);
}

/* The time that a wait was limited to is over: the operation is abandoned as by a cancel, and the
 * fiber goes on; it sees by its own record that nothing was done. */
static void on_sleep_over(struct fiber_timer *timer)
{
    struct fiber *fiber = container_of(timer, struct fiber, sleep);
    struct fiber_wait *wait = fiber->wait;
    PERI_ASSERT(wait != NULL);
    if (wait->on_cancel != NULL)
        wait->on_cancel(wait);
    fiber_wake(wait);
}

/* ---- spawn ---- */

static void link_fiber(struct fiber *fiber)
{
    struct fiber_scheduler *s = fiber->scheduler;
    fiber->all_previous = s->last;
    if (s->last != NULL)
        s->last->all_next = fiber;
    else
        s->first = fiber;
    s->last = fiber;
    s->fiber_count++;
}

static void unlink_fiber(struct fiber *fiber)
{
    struct fiber_scheduler *s = fiber->scheduler;
    if (fiber->all_previous != NULL)
        fiber->all_previous->all_next = fiber->all_next;
    else
        s->first = fiber->all_next;
    if (fiber->all_next != NULL)
        fiber->all_next->all_previous = fiber->all_previous;
    else
        s->last = fiber->all_previous;
    s->fiber_count--;
}

static void adopt(struct fiber *parent, struct fiber *child)
{
    child->parent = parent;
    child->sibling_previous = NULL;
    child->sibling_next = parent != NULL ? parent->children : NULL;
    if (child->sibling_next != NULL)
        child->sibling_next->sibling_previous = child;
    if (parent != NULL)
        parent->children = child;
}

static void leave_parent(struct fiber *child)
{
    if (child->sibling_previous != NULL)
        child->sibling_previous->sibling_next = child->sibling_next;
    else if (child->parent != NULL)
        child->parent->children = child->sibling_next;
    if (child->sibling_next != NULL)
        child->sibling_next->sibling_previous = child->sibling_previous;
}

static void set_name(lua_State *L, struct fiber *fiber, const char *name, int function_index)
{
    if (name != NULL) {
        (void)snprintf(fiber->name, sizeof fiber->name, "%s", name);
        return;
    }
    lua_Debug function;
    lua_pushvalue(L, function_index);
    (void)lua_getinfo(L, ">S", &function);
    (void)snprintf(fiber->name, sizeof fiber->name, "%s:%d", function.short_src,
                   function.linedefined);
}

static void on_deadline(struct fiber_timer *timer)
{
    struct fiber *fiber = container_of(timer, struct fiber, deadline);
    char where[FIBER_REASON_SIZE / 2];
    char reason[FIBER_REASON_SIZE];
    fiber_where(fiber, where, sizeof where);
    (void)snprintf(reason, sizeof reason, "started %.3f s ago with a deadline of %g s, %s at %s",
                   (double)(env_now_us(fiber->scheduler->vm->env) - fiber->started_us) / 1e6,
                   (double)fiber->deadline_us / 1e6, fiber_doing(fiber), where);
    fiber_cancel(fiber, PERI_EDEADLINE, reason);
}

/* Makes the handle, its coroutine and its anchor; whatever can raise happens here. */
static struct fiber *create(lua_State *L, struct fiber_scheduler *s)
{
    struct fiber *fiber = lua_newuserdatauv(L, sizeof *fiber, FIBER_USER_VALUES);
    memset(fiber, 0, sizeof *fiber);
    fiber->scheduler = s;
    fiber->state = FIBER_DONE; /* until it is linked */
    luaL_setmetatable(L, FIBER_METATABLE);
    fiber->L = lua_newthread(L);
    (void)lua_setiuservalue(L, -2, FIBER_COROUTINE);
    if (fiber_timers_reserve(s) != 0)
        luaL_error(L, "not enough memory");
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
    lua_pushvalue(L, -2);
    fiber->anchor = luaL_ref(L, -2);
    lua_pop(L, 1);
    return fiber;
}

struct fiber *fiber_spawn(lua_State *L, const struct fiber_options *options, int argument_count)
{
    struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    int function_index = lua_gettop(L) - argument_count;
    luaL_checkstack(L, 4, "to spawn a fiber");
    struct fiber *fiber = create(L, s);
    set_name(L, fiber, options->name, function_index);
    if (!lua_checkstack(fiber->L, argument_count + 1)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
        luaL_unref(L, -1, fiber->anchor);
        luaL_error(L, "too many arguments to a fiber");
    }
    lua_insert(L, function_index); /* the handle goes below what moves away */
    lua_xmove(L, fiber->L, argument_count + 1);
    vm_coroutine_hold(fiber->L, true);
    fiber->argument_count = argument_count;
    fiber->preemptible = options->preemptible;
    fiber->detached = options->detached;
    fiber->cpu_deadline_us = options->cpu_deadline_us;
    fiber->deadline_us = options->deadline_us;
    fiber->started_us = fiber->since_us = env_now_us(s->vm->env);
    fiber->id = s->next_id++;
    fiber->sleep.on_due = on_sleep_over;
    fiber->deadline.on_due = on_deadline;
    link_fiber(fiber);
    adopt(options->detached ? NULL : s->current, fiber);
    if (options->deadline_us != 0)
        fiber_timer_start(s, &fiber->deadline, fiber->started_us + options->deadline_us);
    fiber_make_ready(fiber);
    return fiber;
}

struct fiber *fiber_check_handle(lua_State *L, int index)
{
    return luaL_checkudata(L, index, FIBER_METATABLE);
}

/* ---- end ---- */

void fiber_add_joiner(struct fiber *fiber, struct fiber *joiner)
{
    joiner->joining = fiber;
    joiner->join_next = fiber->joiners;
    fiber->joiners = joiner;
}

static void wake_joiners(struct fiber *fiber)
{
    while (fiber->joiners != NULL) {
        struct fiber *joiner = fiber->joiners;
        fiber->joiners = joiner->join_next;
        joiner->joining = NULL;
        fiber_wake(&joiner->own);
    }
}

void fiber_finish(struct fiber *fiber, int status)
{
    struct fiber_scheduler *s = fiber->scheduler;
    lua_State *L = s->vm->L;
    fiber->state = FIBER_DONE;
    fiber->status = status;
    fiber_timer_stop(s, &fiber->sleep);
    fiber_timer_stop(s, &fiber->deadline);
    vm_coroutine_hold(fiber->L, false);
    while (fiber->children != NULL) {
        struct fiber *child = fiber->children;
        leave_parent(child);
        adopt(fiber->parent, child);
    }
    leave_parent(fiber);
    fiber->parent = NULL;
    unlink_fiber(fiber);
    wake_joiners(fiber);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->anchors);
    luaL_unref(L, -1, fiber->anchor); /* last: a collection may free the fiber now */
    lua_pop(L, 1);
}

static void close_coroutines(struct fiber *fiber, lua_State *co)
{
    struct vm_state *vm = fiber->scheduler->vm;
    lua_State *inner = vm_coroutine_inner(co);
    if (inner != NULL) {
        close_coroutines(fiber, inner);
        vm_coroutine_hold(inner, false);
    }
    int status = vm_preempt_reset_thread(vm, co);
    if (status != LUA_OK)
        env_log_limited(vm->env, &fiber->scheduler->log_limit,
                        peri_slice_of(fiber->name, strlen(fiber->name)), status, ENV_LOG_WARN,
                        "fiber", "fiber %s: error in a __close handler: %s", fiber->name,
                        lua_isstring(co, -1) ? lua_tostring(co, -1) : luaL_typename(co, -1));
    lua_settop(co, 0);
}

void fiber_close(struct fiber *fiber)
{
    struct fiber_scheduler *s = fiber->scheduler;
    s->current = fiber;
    if (s->shutdown_until_us == 0 || env_now_us(s->vm->env) < s->shutdown_until_us)
        close_coroutines(fiber, fiber->L);
    s->current = NULL;
    fiber_finish(fiber, fiber->cancel_code);
}

/* The next fiber of the tree below root, parents first; NULL at the end. */
static struct fiber *next_in_tree(const struct fiber *root, struct fiber *fiber)
{
    if (fiber->children != NULL)
        return fiber->children;
    while (fiber != root && fiber->sibling_next == NULL)
        fiber = fiber->parent;
    return fiber == root ? NULL : fiber->sibling_next;
}

static void cancel_one(struct fiber *fiber, int code, const char *reason)
{
    struct vm_state *vm = fiber->scheduler->vm;
    if (fiber->state == FIBER_DONE || fiber->cancel_code != 0)
        return;
    fiber->cancel_code = code;
    (void)snprintf(fiber->reason, sizeof fiber->reason, "%s", reason);
    struct fiber_wait *wait = fiber->wait;
    if (wait != NULL) {
        if (wait->on_cancel != NULL)
            wait->on_cancel(wait);
        fiber_wake(wait);
    }
    if (fiber == fiber->scheduler->current && vm->running != NULL) {
        vm->attention = 1; /* it stops at its next instruction that can yield */
        vm_preempt_arm(vm, vm->running);
    }
}

void fiber_cancel(struct fiber *fiber, int code, const char *reason)
{
    char inherited[FIBER_REASON_SIZE];
    (void)snprintf(inherited, sizeof inherited, "its parent %s was cancelled: %.100s", fiber->name,
                   reason);
    cancel_one(fiber, code, reason);
    for (struct fiber *f = next_in_tree(fiber, fiber); f != NULL; f = next_in_tree(fiber, f))
        cancel_one(f, PERI_ECANCELLED, inherited);
}
