/* perilune.core.fiber: fibers as Lua sees them; lua/perilune/fiber.lua stands in front. */
#include "vm/fiber.h"

#include <math.h>
#include <string.h>

#include "box.h"
#include "fiber_info.h"
#include "vm/preempt.h"
#include "vm/scheduler.h"

enum { ATOMIC_MAX_US = 1000000 };

static const double seconds_max = 1e10;

static uint64_t to_us(lua_State *L, double seconds, const char *what)
{
    if (!(seconds >= 0)) /* NaN as well */
        luaL_error(L, "%s: a number of seconds, not negative", what);
    return (uint64_t)(fmin(seconds, seconds_max) * 1e6);
}

static struct fiber *check_current(lua_State *L, const char *function)
{
    fiber_check(L, function);
    return fiber_current(L);
}

/* ---- spawn ---- */

static uint64_t option_us(lua_State *L, const char *name, uint64_t otherwise_us)
{
    int type = lua_getfield(L, 1, name);
    uint64_t us = otherwise_us;
    if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        us = 0;
    else if (type != LUA_TNIL)
        us = to_us(L, luaL_checknumber(L, -1), name);
    lua_pop(L, 1);
    return us;
}

static bool option_flag(lua_State *L, const char *name)
{
    (void)lua_getfield(L, 1, name);
    bool flag = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

/* Reads the table at index 1; the name stays on the stack, at index 2, while it is lent. */
static void read_options(lua_State *L, struct fiber_options *options)
{
    const struct fiber *parent = fiber_current(L);
    if (parent != NULL && option_flag(L, "inherit")) {
        options->preemptible = parent->preemptible;
        options->cpu_deadline_us = parent->cpu_deadline_us;
    }
    options->preemptible = options->preemptible || option_flag(L, "preemptible");
    options->detached = option_flag(L, "detached");
    options->deadline_us = option_us(L, "deadline", 0);
    options->cpu_deadline_us = option_us(L, "cpu_deadline", options->cpu_deadline_us);
    (void)lua_getfield(L, 1, "name");
    options->name = luaL_optstring(L, -1, NULL);
    lua_insert(L, 2);
}

static int l_spawn(lua_State *L)
{
    struct fiber_options options = {.cpu_deadline_us = FIBER_CPU_DEADLINE_US};
    int function_index = 1;
    luaL_argcheck(L, vm_state_of(L)->scheduler != NULL, 1, "no fibers in this state");
    if (lua_istable(L, 1)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
        read_options(L, &options);
        function_index = 3;
    }
    luaL_checktype(L, function_index, LUA_TFUNCTION);
    (void)fiber_spawn(L, &options, lua_gettop(L) - function_index);
    return 1;
}

/* ---- join ---- */

static int push_results(lua_State *L, struct fiber *fiber)
{
    int count = lua_gettop(fiber->L);
    luaL_checkstack(L, count + 1, "too many results to join");
    if (!lua_checkstack(fiber->L, 1))
        return luaL_error(L, "not enough memory");
    lua_pushboolean(L, 1);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(fiber->L, i);
        lua_xmove(fiber->L, L, 1);
    }
    return count + 1;
}

static int push_outcome(lua_State *L, struct fiber *fiber)
{
    if (fiber->status == 0)
        return push_results(L, fiber);
    lua_pushnil(L);
    if (fiber->status == PERI_ELUA) {
        (void)push_results(L, fiber);
        lua_remove(L, -2); /* the error object alone */
    } else if (fiber->status == PERI_EDEADLINE) {
        lua_pushfstring(L, "fiber %s passed its deadline: %s", fiber->name, fiber->reason);
    } else {
        lua_pushfstring(L, "fiber %s was cancelled: %s", fiber->name, fiber->reason);
    }
    lua_pushstring(L, peri_error_name(fiber->status));
    return 3;
}

static void leave_joiners(struct fiber_wait *wait)
{
    struct fiber *joiner = container_of(wait, struct fiber, own);
    struct fiber **link = &joiner->joining->joiners;
    while (*link != joiner)
        link = &(*link)->join_next;
    *link = joiner->join_next;
    joiner->joining = NULL;
}

static int wait_for(lua_State *L, struct fiber *target, const char *function, lua_KFunction k)
{
    struct fiber *joiner = check_current(L, function);
    if (joiner == target)
        return luaL_error(L, "%s: a fiber cannot wait for itself", function);
    fiber_add_joiner(target, joiner);
    joiner->own = (struct fiber_wait){.what = function, .on_cancel = leave_joiners};
    return fiber_suspend(L, &joiner->own, k);
}

static int join_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return push_outcome(L, fiber_check_handle(L, 1));
}

static int l_join(lua_State *L)
{
    struct fiber *target = fiber_check_handle(L, 1);
    target->is_joined = true;
    if (target->is_lost) { /* a late one, but somebody */
        target->is_lost = false;
        target->scheduler->lost_count--;
    }
    if (target->state == FIBER_DONE)
        return push_outcome(L, target);
    return wait_for(L, target, "fiber:join", join_continue);
}

static int no_result(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 0;
}

static int await_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    fiber_current(L)->is_settling = false;
    return 0;
}

/* Waits for the end of a fiber, whose error stays its own to report. */
static int l_await(lua_State *L)
{
    struct fiber *target = fiber_check_handle(L, 1);
    if (target->state == FIBER_DONE)
        return 0;
    check_current(L, "fiber.settle")->is_settling = true;
    return wait_for(L, target, "fiber.settle", await_continue);
}

/* Says that the result will be asked for, so that an error is not logged as nobody's. */
static int l_expect(lua_State *L)
{
    fiber_check_handle(L, 1)->is_joined = true;
    return 0;
}

/* How many fibers have ended in an error that nobody asked for. */
static int l_lost(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)vm_state_of(L)->scheduler->lost_count);
    return 1;
}

/* ---- cancel ---- */

static int l_cancel(lua_State *L)
{
    struct fiber *target = fiber_check_handle(L, 1);
    fiber_cancel(target, PERI_ECANCELLED, luaL_optstring(L, 2, "no reason given"));
    const struct fiber *self = fiber_current(L);
    if (self != NULL && self->cancel_code != 0 && vm_can_yield(L))
        return fiber_to_core(L, no_result); /* it was cancelled itself: it does not come back */
    return 0;
}

/* ---- time and chance ---- */

static int l_yield(lua_State *L)
{
    (void)check_current(L, "fiber.yield");
    return fiber_yield(L, no_result);
}

/* In simulation, sleeps in a row that are too short to get anywhere. */
static void count_nap(lua_State *L, struct fiber *fiber)
{
    const struct vm_simulated *simulated = vm_state_of(L)->options->simulated;
    fiber->naps = fiber->switches == fiber->nap_switches + 1 ? fiber->naps + 1 : 1;
    fiber->nap_switches = fiber->switches;
    if (fiber->naps == FIBER_NAPS_MAX && simulated != NULL && simulated->on_naps != NULL)
        simulated->on_naps(simulated, L);
}

static int l_sleep(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    uint64_t delay_us = to_us(L, seconds, "fiber.sleep");
    struct fiber *fiber = check_current(L, "fiber.sleep");
    if (delay_us == 0)
        return fiber_yield(L, no_result);
    if (delay_us <= FIBER_NAP_US)
        count_nap(L, fiber);
    fiber->own = (struct fiber_wait){.what = "fiber.sleep"};
    return fiber_suspend_until(L, &fiber->own, env_now_us(vm_state_of(L)->env) + delay_us,
                               no_result);
}

static int l_now(lua_State *L)
{
    lua_pushnumber(L, fiber_seconds(env_now_us(vm_state_of(L)->env)));
    return 1;
}

static int l_wall(lua_State *L)
{
    lua_pushnumber(L, (double)env_wall_us(vm_state_of(L)->env) / 1e6);
    return 1;
}

/* A number from 0 to limit, each as likely as any other. */
static uint64_t random_up_to(struct fiber_scheduler *s, uint64_t limit)
{
    if (limit == UINT64_MAX)
        return fiber_random(s);
    uint64_t count = limit + 1;
    uint64_t usable = UINT64_MAX - UINT64_MAX % count;
    uint64_t value = fiber_random(s);
    while (value >= usable)
        value = fiber_random(s);
    return value % count;
}

static int l_random(lua_State *L)
{
    struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    luaL_argcheck(L, s != NULL, 1, "no fibers in this state");
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, (double)(fiber_random(s) >> 11) * 0x1p-53);
        return 1;
    }
    bool is_range = lua_gettop(L) >= 2;
    lua_Integer low = is_range ? luaL_checkinteger(L, 1) : 1;
    lua_Integer high = luaL_checkinteger(L, is_range ? 2 : 1);
    luaL_argcheck(L, low <= high, is_range ? 2 : 1, "interval is empty");
    uint64_t offset = random_up_to(s, (uint64_t)high - (uint64_t)low);
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + offset));
    return 1;
}

/* ---- atomic ---- */

static int atomic_finish(lua_State *L, int status, lua_KContext ctx)
{
    fiber_current(L)->atomic_until_us = (uint64_t)ctx;
    if (status != LUA_OK && status != LUA_YIELD)
        return lua_error(L);
    return lua_gettop(L);
}

static int l_atomic(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct fiber *fiber = check_current(L, "fiber.atomic");
    uint64_t outer_us = fiber->atomic_until_us;
    if (outer_us == 0)
        fiber->atomic_until_us = env_now_us(vm_state_of(L)->env) + ATOMIC_MAX_US;
    int status =
        lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, (lua_KContext)outer_us, atomic_finish);
    return atomic_finish(L, status, (lua_KContext)outer_us);
}

int luaopen_perilune_fiber(lua_State *L);

int luaopen_perilune_fiber(lua_State *L)
{
    static const luaL_Reg methods[] = {{"join", l_join}, {"cancel", l_cancel}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"spawn", l_spawn},   {"await", l_await},   {"expect", l_expect}, {"lost", l_lost},
        {"yield", l_yield},   {"sleep", l_sleep},   {"now", l_now},       {"wall", l_wall},
        {"random", l_random}, {"atomic", l_atomic}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    luaL_setfuncs(L, fiber_info_functions, 0);
    luaL_getmetatable(L, FIBER_METATABLE);
    luaL_newlib(L, methods);
    luaL_setfuncs(L, fiber_info_methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    return 1;
}
