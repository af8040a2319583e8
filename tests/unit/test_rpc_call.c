/* Calls and streams through a network that loses, repeats and reorders messages, and with
 * allocations and sends that fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "rpc_fixture.h"

static void test_a_network_with_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world *world = world_create(seed, 3);
        assert_int_equal(open_both(world, NULL), 0);
        while (world->started < AT_A_TIME)
            start_call(world);
        env_run(world->env);
        if (world->is_late || world->ended != CALLS)
            fail_msg("seed %u: %u of %u calls ended", (unsigned)seed, world->ended, CALLS);
        for (unsigned i = 0; i < CALLS; i++) {
            assert_int_equal(world->calls[i].ended, 1);
            assert_true(world->ran[i] <= 1); /* at most once */
        }
        assert_true(world->succeeded > CALLS / 4);
        assert_true(world->succeeded < CALLS);
        world_close(world);
    }
}

/* ---- streams ---- */

struct reading {
    struct rpc_stream stream;
    struct env *env;
    unsigned items;
    enum rpc_stream_outcome outcome;
};

static void on_change(struct rpc_stream *stream)
{
    struct reading *reading = container_of(stream, struct reading, stream);
    struct peri_buffer values = {NULL, 0, 0};
    for (;;) {
        reading->outcome = rpc_stream_take(stream, &values);
        if (reading->outcome != RPC_STREAM_ITEM)
            break;
        assert_int_equal(values.size, 2);
        reading->items++;
        peri_buffer_deinit(&values);
    }
    if (reading->outcome == RPC_STREAM_WAIT)
        rpc_stream_expect(stream, env_now_us(reading->env) + DEADLINE_US);
    else
        env_stop(reading->env);
}

/* Ends, with every item or with an error: never with a hole. */
static void test_streams_have_no_holes(void **state)
{
    (void)state;
    unsigned whole = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        static const char none[] = {'\x90'};
        struct world *world = world_create(seed, seed <= 2 ? 0 : 1);
        struct reading reading = {.env = world->env};
        assert_int_equal(open_both(world, NULL), 0);
        rpc_stream_open(&reading.stream, world->client, peri_slice_of("items", 5),
                        peri_slice_of(none, sizeof none), env_now_us(world->env) + 2 * DEADLINE_US,
                        true, NULL, on_change);
        env_run(world->env);
        assert_false(world->is_late);
        if (reading.outcome == RPC_STREAM_END)
            assert_int_equal(reading.items, ITEMS);
        else
            assert_int_equal(reading.outcome, RPC_STREAM_FAILED);
        whole += reading.outcome == RPC_STREAM_END;
        rpc_stream_close(&reading.stream);
        world_close(world);
    }
    assert_true(whole >= 2);
}

/* ---- failures of our own side ---- */

/* One call of a fresh client and server; whatever fails, it ends. Returns how, or what opening
 * gave.
 */
static int one_call(struct world *world, unsigned number, uint64_t deadline_us)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct outcome outcome = {.env = world->env};
    struct peri_slice args = peri_buffer_slice(&world->args);
    int rc = open_both(world, &err);
    outcome.request.name = peri_slice_of("echo", 4);
    outcome.request.due_us = env_now_us(world->env) + deadline_us;
    outcome.request.on_done = on_outcome;
    if (rc == 0)
        rc = rpc_client_call(world->client, &outcome.request, args, true, &err);
    if (rc != 0) {
        assert_true(err.text[0] != '\0');
        return rc;
    }
    env_run(world->env);
    assert_true(outcome.is_done);
    assert_true(world->ran[number] <= 1);
    return outcome.code;
}

/* Runs a long call with the n-th of something failing, for every n until nothing is left to fail;
 * then it must succeed, given time enough. Returns how often something failed. */
static long fail_each(void (*start_failing)(long n), bool (*end_failing)(void))
{
    unsigned number = 9; /* in chunks */
    uint64_t deadline_us = 200000;
    for (long n = 1;; n++) {
        struct world *world = world_create(1, 0);
        (void)arguments(world, number);
        start_failing(n);
        int rc = one_call(world, number, deadline_us);
        bool has_failed = end_failing();
        world_close(world);
        if (!has_failed && rc == 0)
            return n - 1;
        if (!has_failed) { /* the machine was busy */
            assert_int_equal(rc, PERI_EDEADLINE);
            assert_true(deadline_us < 10000000);
            deadline_us *= 4;
            n--;
        }
    }
}

static void test_allocations_that_fail(void **state)
{
    (void)state;
    assert_true(fail_each(test_alloc_fail, test_alloc_end) > 20);
}

static void start_failing_sends(long n)
{
    network.countdown = n;
}

static bool end_failing_sends(void)
{
    return network.has_failed;
}

static void test_sends_that_fail(void **state)
{
    (void)state;
    assert_true(fail_each(start_failing_sends, end_failing_sends) > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_network_with_faults),
        cmocka_unit_test(test_streams_have_no_holes),
        cmocka_unit_test(test_allocations_that_fail),
        cmocka_unit_test(test_sends_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
