/* How often ticks may arm a hook, with a clock and a ticker that are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/env.h"
#include "env/ops.h"
#include "env/uv.h"
#include "vm/preempt.h"
#include "vm/state.h"

static struct {
    uint64_t now_us;
    uint64_t step_us; /* that each look at the clock takes */
    void (*tick)(void *data);
    void *data;
    struct env_ticker ticker;
} own;

static uint64_t own_now_us(struct env *env)
{
    (void)env;
    uint64_t now_us = own.now_us;
    own.now_us += own.step_us;
    return now_us;
}

static int own_create(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                      struct env_ticker **out)
{
    (void)period_us;
    own.tick = tick;
    own.data = data;
    own.ticker.env = env;
    *out = &own.ticker;
    return 0;
}

static void own_nothing(struct env_ticker *ticker)
{
    (void)ticker;
}

static struct env *new_env(void)
{
    static struct env_clock_ops clock;
    static struct env_ops ops;
    static const struct env_ticker_ops ticker = {own_create, own_nothing, own_nothing, own_nothing};
    struct env *env = NULL;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    ops = *env->ops;
    clock = *ops.clock;
    clock.now_us = own_now_us;
    ops.clock = &clock;
    ops.ticker = &ticker;
    env->ops = &ops;
    return env;
}

/* A tick at a time: true when it has armed the hook. */
static bool ticks_at(lua_State *L, uint64_t now_us)
{
    own.now_us = now_us;
    lua_sethook(L, NULL, 0, 0);
    own.tick(own.data);
    return lua_gethook(L) != NULL;
}

/* Arming code with 300,000 calls on its stack takes 300 ms here. If ticks, one each 2.5 ms, armed
 * it again before long, nearly nothing else would happen: four fifths of the time are the code's.
 */
static void arming_rests_for_as_long_as_it_takes(void **state)
{
    (void)state;
    enum { TAKES_US = 300000, FIRST_US = 10000 };
    struct env *env = new_env();
    struct vm_options options = {.env = env};
    struct vm_state *vm = NULL;
    assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
    vm_preempt_begin_slice(vm);
    vm->running = vm->L;
    own.step_us = TAKES_US;
    assert_false(ticks_at(vm->L, FIRST_US)); /* the slice is not over */
    assert_true(ticks_at(vm->L, FIRST_US));
    assert_false(ticks_at(vm->L, FIRST_US + TAKES_US + VM_TICK_US));
    assert_false(ticks_at(vm->L, FIRST_US + TAKES_US + 50000 + VM_TICK_US));
    assert_false(ticks_at(vm->L, FIRST_US + 5 * TAKES_US - 1));
    assert_int_equal(vm->attention, 1); /* C code that asks for it need not wait */
    own.step_us = 1;
    assert_true(ticks_at(vm->L, FIRST_US + 5 * TAKES_US));
    assert_false(ticks_at(vm->L, FIRST_US + 5 * TAKES_US + 4));
    assert_true(ticks_at(vm->L, FIRST_US + 5 * TAKES_US + 5)); /* a shallow stack is no matter */
    lua_sethook(vm->L, NULL, 0, 0);
    own.step_us = 0;
    vm->running = NULL;
    vm_state_close(vm);
    env_close(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arming_rests_for_as_long_as_it_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
