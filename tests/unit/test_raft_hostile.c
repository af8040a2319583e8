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

#include "raft/invariants.h"
#include "raft/raft.h"

/* More: test_raft_hostile FIRST LAST runs those seeds. */
enum { SEEDS = 300, EVENTS = 400, ENTRIES = 4, CHANGES = 3, SMALL = 8 };

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

/* Mostly a number that means something, sometimes one at the end of the world. */
static uint64_t any(void)
{
    return draw(50) == 0 ? UINT64_MAX - draw(3) : draw(SMALL);
}

static uint64_t near(uint64_t value)
{
    return draw(3) == 0 ? any() : value + draw(3) - (value > 0 ? draw(2) : 0);
}

static struct raft_configuration any_configuration(void)
{
    static const uint8_t MEMBERS[] = {RAFT_VOTER,
                                      RAFT_VOTER,
                                      RAFT_LEARNER,
                                      RAFT_VOTER_OLD,
                                      RAFT_VOTER | RAFT_VOTER_OLD,
                                      RAFT_LEARNER | RAFT_PROMOTE,
                                      255};
    struct raft_configuration made = {{0}, {0}, 1 + draw(4)};
    for (size_t i = 0; i < made.count; i++) {
        made.ids[i] = i + draw(10) / 9 + 1;
        made.members[i] = MEMBERS[draw(draw(10) == 0 ? 7 : 6)];
    }
    return made;
}

static struct raft_message any_message(const struct raft_status *status)
{
    return (struct raft_message){.type = (enum raft_message_type)draw(draw(30) == 0 ? 15 : 12),
                                 .success = draw(2) == 0,
                                 .is_transfer = draw(4) == 0,
                                 .from = 1 + draw(4),
                                 .to = draw(20) == 0 ? any() : 1,
                                 .term = near(status->term),
                                 .index =
                                     near(draw(2) == 0 ? status->last_index : status->commit_index),
                                 .log_term = near(status->term),
                                 .commit = near(status->commit_index),
                                 .round = near(draw(SMALL)),
                                 .sent_us = draw(2000000)};
}

/* One event; what it points to lives here. */
struct hostile {
    struct raft_event event;
    struct raft_message message;
    struct raft_entry entries[ENTRIES];
    struct raft_configuration members[ENTRIES], snapshot;
    struct raft_change changes[CHANGES];
};

static void make_entries(struct hostile *h)
{
    h->event.count = draw(ENTRIES + 1);
    h->message.last = draw(20) == 0 ? any() : h->message.index + h->event.count;
    uint64_t term = h->message.log_term;
    for (size_t i = 0; i < ENTRIES; i++) {
        term = draw(20) == 0 ? any() : term + (draw(4) == 0);
        h->members[i] = any_configuration();
        h->entries[i] = (struct raft_entry){.term = term,
                                            .size_bytes = (uint32_t)draw(100),
                                            .type = (enum raft_entry_type)draw(draw(9) ? 3 : 5)};
        if ((h->entries[i].type == RAFT_CONFIGURATION) != (draw(30) == 0))
            h->entries[i].configuration = &h->members[i];
        if (h->event.type == RAFT_PROPOSE && draw(10) > 0)
            h->entries[i].type = RAFT_COMMAND;
    }
    h->event.entries = h->entries;
}

static void make(struct hostile *h, const struct raft_status *status, uint64_t now_us)
{
    *h = (struct hostile){0};
    h->event.type = draw(3) == 0 ? RAFT_MESSAGE : (enum raft_event_type)draw(16);
    h->event.now_us = draw(300) == 0 ? any() : now_us;
    h->event.success = draw(2) == 0;
    h->event.peer = draw(5);
    h->event.seq = near(status->durable_seq + 1);
    h->event.index = near(draw(2) == 0 ? status->last_index : status->commit_index);
    h->event.last = near(status->last_applied);
    h->event.term = near(status->term);
    h->event.size_bytes = draw(100);
    h->message = any_message(status);
    h->event.message = draw(50) == 0 ? NULL : &h->message;
    make_entries(h);
    h->snapshot = any_configuration();
    h->event.configuration = draw(10) == 0 ? NULL : &h->snapshot;
    for (size_t i = 0; i < CHANGES; i++)
        h->changes[i] = (struct raft_change){(enum raft_change_type)draw(4), draw(6)};
    if (h->event.type == RAFT_CHANGE) {
        h->event.count = draw(CHANGES + 1);
        h->event.changes = h->changes;
    }
}

static struct raft *create(void)
{
    struct raft_options options;
    raft_options_init(&options, 1, state_of_random);
    options.has_leases = draw(2) == 0;
    options.sizes_max = 16;
    options.message_max_bytes = 1 + draw(200);
    struct raft_history history = {0};
    uint64_t voters[] = {1, 2, 3};
    assert_int_equal(raft_configuration_init(&history.configuration, voters, 1 + draw(3), NULL), 0);
    struct raft_boot boot = {.configurations = &history, .configuration_count = 1};
    struct raft *raft;
    assert_int_equal(raft_create(&raft, &options, &boot, NULL), 0);
    return raft;
}

static void check_dump(const struct raft *raft, uint64_t seed)
{
    size_t size = raft_dump(raft, NULL, 0);
    char *bytes = malloc(size);
    assert_non_null(bytes);
    raft_dump(raft, bytes, size);
    struct raft *same = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (raft_load(&same, bytes, size, &err) != 0 || raft_hash(same) != raft_hash(raft))
        fail_msg("seed %" PRIu64 ": a dump does not load: %s", seed, err.text);
    raft_close(same);
    same = NULL;
    if (size > 8 && draw(4) == 0) { /* a damaged one loads as something valid, or not at all */
        bytes[draw(size)] ^= (char)(1 << draw(8));
        if (raft_load(&same, bytes, draw(2) == 0 ? size : draw(size), NULL) == 0)
            assert_int_equal(raft_check(same, NULL), 0);
        raft_close(same);
    }
    free(bytes);
}

static void run(uint64_t seed, uint64_t *taken)
{
    state_of_random = seed * 0x2545f4914f6cdd1d;
    struct raft *raft = create();
    uint64_t now_us = 0;
    for (int i = 0; i < EVENTS; i++) {
        struct hostile h;
        struct raft_status status;
        struct peri_error err = PERI_ERROR_INIT;
        raft_status(raft, &status);
        now_us += draw(60000);
        make(&h, &status, now_us);
        if (h.event.type == RAFT_PERSIST_FAILED && draw(20) > 0)
            h.event.type = RAFT_TIME;
        uint64_t before = raft_hash(raft);
        int rc = raft_step(raft, &h.event, &out);
        if (rc != 0 && (raft_hash(raft) != before || out.count != 0))
            fail_msg("seed %" PRIu64 ", event %d: refused (%d), but something changed", seed, i,
                     rc);
        if (raft_check(raft, &err) != 0)
            fail_msg("seed %" PRIu64 ", event %d of type %d: %s", seed, i, (int)h.event.type,
                     err.text);
        *taken += rc == 0;
        if (draw(20) == 0)
            check_dump(raft, seed);
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

int main(int argc, char **argv)
{
    if (argc == 3) {
        first = strtoull(argv[1], NULL, 10);
        last = strtoull(argv[2], NULL, 10);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_anything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
