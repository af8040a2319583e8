/* Memory that runs out, at every allocation: raft_create and raft_load give nothing, a step changes
 * nothing, and the same event later has the effect that it would have had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>

#include "alloc.h"
#include "raft_hostile.h"

enum { SEEDS = 60, EVENTS = 150, ENTRIES = 64 };

static uint64_t state_of_random;
static struct raft_output out, other_out;

static uint64_t draw(void *data, uint64_t below)
{
    (void)data;
    uint64_t z = state_of_random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    return (z ^ z >> 31) % below;
}

static const struct raft_hostile_source RANDOM = {draw, NULL};

static int create(struct raft **raft)
{
    static const struct raft_run RUNS[] = {{1, 1}, {2, 5}};
    struct raft_options options;
    raft_options_init(&options, 1, 1);
    struct raft_history history[2] = {{.index = 0}, {.index = 6}};
    uint64_t voters[] = {1, 2, 3};
    raft_configuration_init(&history[0].configuration, voters, 3, NULL);
    raft_configuration_init(&history[1].configuration, voters, 1, NULL);
    struct raft_boot boot = {.term = 2,
                             .last_index = 8,
                             .runs = RUNS,
                             .run_count = 2,
                             .configurations = history,
                             .configuration_count = 2};
    return raft_create(raft, &options, &boot, NULL);
}

static void test_create(void **state)
{
    (void)state;
    struct raft *const untouched = (struct raft *)&state_of_random;
    struct raft *raft = untouched;
    long n = 0;
    for (bool fails = true; fails;) {
        test_alloc_fail(++n);
        int rc = create(&raft);
        fails = test_alloc_end();
        assert_int_equal(rc, fails ? PERI_ENOMEM : 0);
        assert_true(fails == (raft == untouched));
    }
    assert_true(n > 4); /* the replica, its runs, its sizes, its configurations */
    raft_close(raft);
}

static void test_load(void **state)
{
    (void)state;
    static char dump[8192];
    struct raft *raft, *same = NULL;
    assert_int_equal(create(&raft), 0);
    size_t size = raft_dump(raft, dump, sizeof dump);
    assert_true(size <= sizeof dump);
    long n = 0;
    for (bool fails = true; fails;) {
        test_alloc_fail(++n);
        int rc = raft_load(&same, dump, size, NULL);
        fails = test_alloc_end();
        assert_int_equal(rc, fails ? PERI_ENOMEM : 0);
        assert_true(fails == (same == NULL));
    }
    assert_true(n > 4);
    assert_true(raft_hash(same) == raft_hash(raft));
    raft_close(same);
    raft_close(raft);
}

/* Fails each allocation of the step in turn; returns how many there were. */
static long step(struct raft *raft, const struct raft_event *event)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct raft *other = NULL;
    assert_int_equal(raft_hostile_copy(&other, raft, &err), 0);
    int wanted = raft_step(other, event, &other_out), rc = PERI_ENOMEM;
    long failures = -1;
    for (long n = 1; rc == PERI_ENOMEM; n++) {
        test_alloc_fail(n);
        rc = raft_hostile_step(raft, event, &out, &err);
        test_alloc_end();
        if (err.code != 0)
            fail_msg("event of type %d, allocation %ld: %s", (int)event->type, n, err.text);
        failures++;
    }
    assert_int_equal(rc, wanted);
    assert_int_equal(out.count, other_out.count);
    assert_true(raft_hash(raft) == raft_hash(other));
    raft_close(other);
    return failures;
}

/* The same replica in memory that just suffices, as raft_load finds it: what grows, grows now. */
static void shrink(struct raft **raft)
{
    struct raft *same = NULL;
    assert_int_equal(raft_hostile_copy(&same, *raft, NULL), 0);
    raft_close(*raft);
    *raft = same;
}

static void test_any_step(void **state)
{
    (void)state;
    long failures = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct raft *raft;
        state_of_random = seed;
        assert_int_equal(create(&raft), 0);
        uint64_t now_us = 0;
        for (int i = 0; i < EVENTS; i++) {
            struct raft_hostile hostile;
            now_us += draw(NULL, 60000);
            shrink(&raft);
            raft_hostile_make(&hostile, raft, now_us, &RANDOM);
            failures += step(raft, &hostile.event);
        }
        raft_close(raft);
    }
    print_message("# %ld allocations in %d events\n", failures, SEEDS * EVENTS);
    assert_true(failures > SEEDS * EVENTS / 10);
}

/* What allocates: becoming leader (peers), many entries (sizes), members (peers, configurations),
 * entries of many terms (runs). */
static void test_what_allocates(void **state)
{
    (void)state;
    struct raft *raft;
    assert_int_equal(create(&raft), 0);
    step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN});
    assert_int_equal(step(raft, &(struct raft_event){.type = RAFT_PERSISTED, .seq = 1, .term = 3}),
                     1);
    assert_int_equal(
        step(raft, &(struct raft_event){.type = RAFT_PERSISTED, .seq = 2, .index = 9, .term = 3}),
        0);
    struct raft_entry entries[ENTRIES] = {{.term = 0}};
    assert_int_equal(
        step(raft,
             &(struct raft_event){.type = RAFT_PROPOSE, .entries = entries, .count = ENTRIES}),
        1);
    struct raft_change changes[] = {{RAFT_ADD_LEARNER, 2}, {RAFT_ADD_LEARNER, 3}};
    assert_int_equal(
        step(raft, &(struct raft_event){.type = RAFT_CHANGE, .changes = changes, .count = 2}), 1);
    raft_close(raft);
}

static void test_terms_allocate(void **state)
{
    (void)state;
    struct raft *raft;
    assert_int_equal(create(&raft), 0);
    struct raft_entry entries[ENTRIES] = {{.term = 0}};
    for (size_t i = 0; i < ENTRIES; i++)
        entries[i].term = 3 + i;
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES,
                                   .from = 2,
                                   .to = 1,
                                   .term = 100,
                                   .index = 8,
                                   .log_term = 2,
                                   .last = 8 + ENTRIES};
    assert_int_equal(step(raft, &(struct raft_event){.type = RAFT_MESSAGE,
                                                     .message = &message,
                                                     .entries = entries,
                                                     .count = ENTRIES}),
                     2); /* runs and sizes */
    raft_close(raft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),         cmocka_unit_test(test_load),
        cmocka_unit_test(test_any_step),       cmocka_unit_test(test_what_allocates),
        cmocka_unit_test(test_terms_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
