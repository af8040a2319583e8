/* One replica against anything: events with random fields, most of which no correct host or peer
 * would send. It may refuse them, and must then not change; it must never crash or break an
 * invariant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raft_hostile.h"

/* More: test_raft_hostile FIRST LAST runs those seeds. */
enum { SEEDS = 300, EVENTS = 400 };

static uint64_t first = 1, last = SEEDS;
static uint64_t state_of_random;
static struct raft_output out;

static uint64_t draw(uint64_t below)
{
    uint64_t z = state_of_random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

static uint64_t draw_for(void *data, uint64_t below)
{
    (void)data;
    return draw(below);
}

static const struct raft_hostile_source RANDOM = {draw_for, NULL};

static struct raft *create(void)
{
    struct raft_options options;
    raft_options_init(&options, 1, state_of_random);
    options.has_leases = draw(2) == 0;
    options.sleep_after_us = draw(2) * 100000;
    options.sizes_max = 16;
    options.message_max_bytes = 1 + draw(200);
    struct raft_history history = {0};
    uint64_t voters[] = {1, 2, 3};
    assert_int_equal(raft_configuration_init(&history.configuration, voters, 1 + draw(3), NULL), 0);
    struct raft_boot boot = {.configurations = &history,
                             .configuration_count = 1,
                             .is_impaired = options.message_max_bytes % 4 == 0};
    struct raft *raft;
    assert_int_equal(raft_create(&raft, &options, &boot, NULL), 0);
    return raft;
}

static int check_dump(const struct raft *raft, struct peri_error *err)
{
    struct raft *same = NULL;
    int rc = raft_hostile_copy(&same, raft, err);
    raft_close(same);
    return rc != 0 ? rc : raft_hostile_load(raft, &RANDOM, err);
}

static void run(uint64_t seed, uint64_t *taken)
{
    state_of_random = seed * 0x2545f4914f6cdd1d;
    struct raft *raft = create();
    struct peri_error err = PERI_ERROR_INIT;
    uint64_t now_us = 0;
    for (int i = 0; i < EVENTS; i++) {
        struct raft_hostile h;
        now_us += draw(60000);
        raft_hostile_make(&h, raft, now_us, &RANDOM);
        *taken += raft_hostile_step(raft, &h.event, &out, &err) == 0;
        if (err.code == 0 && draw(20) == 0)
            check_dump(raft, &err);
        if (err.code != 0)
            fail_msg("seed %" PRIu64 ", event %d of type %d: %s", seed, i, (int)h.event.type,
                     err.text);
    }
    raft_close(raft);
}

static void test_anything(void **state)
{
    (void)state;
    uint64_t taken = 0;
    for (uint64_t seed = first; seed <= last; seed++)
        run(seed, &taken);
    print_message("# %" PRIu64 " events, %" PRIu64 " taken\n", (last - first + 1) * EVENTS, taken);
    assert_true(taken > 0);
}

/* A dump's options are as good as those of a start: a damaged recorder file must not make timeouts
 * out of an empty range. */
static void test_dumped_options(void **state)
{
    enum { ELECTION_MIN = 4, ELECTION_MAX = 5, PRIORITY = 15, WORD = 8, SIZE_MAX_BYTES = 8192 };
    static char good[SIZE_MAX_BYTES], bad[SIZE_MAX_BYTES];
    static const struct {
        size_t word;
        uint64_t from; /* another word's value, or this one */
        bool is_word;
    } cases[] = {{ELECTION_MAX, ELECTION_MIN, true}, {PRIORITY, 5, false}};
    (void)state;
    struct raft *raft = create(), *made = NULL;
    size_t size = raft_dump(raft, good, sizeof good);
    assert_true(size <= sizeof good);
    assert_int_equal(raft_load(&made, good, size, NULL), 0);
    raft_close(made);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bad, good, size);
        uint64_t value = cases[i].from; /* little-endian, as we all are */
        memcpy(bad + cases[i].word * WORD, cases[i].is_word ? good + value * WORD : (char *)&value,
               WORD);
        assert_int_equal(raft_load(&made, bad, size, NULL), PERI_EFORMAT);
    }
    raft_close(raft);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        first = strtoull(argv[1], NULL, 10);
        last = strtoull(argv[2], NULL, 10);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_anything),
                                       cmocka_unit_test(test_dumped_options)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
