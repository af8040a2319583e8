/* Crashes and faults of a simulated disk under the log: nothing acknowledged is lost, nothing that
 * was never written appears, and what cannot be known is said. */
#include "log_fixture.h"

enum { MAX_BYTES = 200, CRASHES = 5, STEPS = 30, PPM = 1000000 };

/* How many seeds, and the first of them: STORE_SEEDS=A..B in the environment of the test. */
static void seeds(uint64_t *from, uint64_t *until)
{
    const char *text = getenv("STORE_SEEDS");
    *from = 1;
    *until = 200;
    if (text != NULL) {
        char *end = NULL;
        *from = strtoul(text, &end, 10);
        assert_int_equal(strncmp(end, "..", 2), 0);
        *until = strtoul(end + 2, NULL, 10);
    }
}

/* One request to a group that is drawn. Returns what the log said. */
static int random_request(struct log_fixture *fixture)
{
    uint64_t group = 1 + sim_stream_below(&fixture->stream, MODEL_GROUPS);
    if (!fixture->groups[group].is_there)
        return fixture_create(fixture, group, 1);
    struct model_state state = *newest(fixture, group);
    uint64_t term = state.term + sim_stream_below(&fixture->stream, 2);
    uint64_t dice = sim_stream_below(&fixture->stream, 20);
    size_t room = MODEL_ENTRIES - state.count;
    size_t count = (size_t)sim_stream_below(&fixture->stream, 6);
    term = term == 0 ? 1 : term;
    if (dice == 0 && state.count < MODEL_ENTRIES / 2)
        return fixture_install(fixture, group, state.base + state.count + 10, term);
    if ((dice < 4 && state.count > 0) || room < 6)
        return fixture_cut(fixture, group,
                           state.base + 1 + sim_stream_below(&fixture->stream, state.count));
    if (dice < 8 && state.count > 0)
        return fixture_write(fixture, group, state.term + 1, dice, /* (index, term) stays unique */
                             state.base + 1 + sim_stream_below(&fixture->stream, state.count),
                             count);
    return fixture_write(fixture, group, term, dice, 0, count);
}

static void check_all(struct log_fixture *fixture, uint64_t seed)
{
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
        if (fixture->groups[group].is_there) {
            int rc = fixture_check(fixture, group, MAX_BYTES);
            if (rc != 0)
                (void)fprintf(stderr, "seed %lu: reading group %lu: %s\n", seed, group,
                              peri_strerror(rc));
            assert_int_equal(rc, 0);
        }
}

static void some_time(struct log_fixture *fixture)
{
    uint64_t us = sim_stream_below(&fixture->stream, 3000);
    advance(fixture->world, sim_world_now_us(fixture->world) + us);
}

static size_t count_health(const struct log_fixture *fixture, enum store_log_health health)
{
    size_t count = 0;
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
        count += fixture->health[group] == health;
    return count;
}

struct totals {
    size_t crashes, suspect, fenced, full, requests;
};

/* Requests until the log refuses them, then a crash, some times over. */
static void run_seed(uint64_t seed, void (*begin)(struct log_fixture *fixture),
                     struct totals *totals)
{
    static struct log_fixture fixture;
    fixture_init(&fixture, true, seed);
    fixture.options.generation_max_bytes = 500 + sim_stream_below(&fixture.stream, 4000);
    fixture.options.cache_max_bytes = sim_stream_below(&fixture.stream, 3000);
    fixture.options.reserve_bytes = sim_stream_below(&fixture.stream, 20000);
    for (int crash = 0; crash < CRASHES; crash++) {
        fixture_fault(&fixture, ENV_FAULT_DISK_SYNC_ERROR, 0);
        fixture_fault(&fixture, ENV_FAULT_DISK_WRITE_ERROR, 0);
        fixture_fault(&fixture, ENV_FAULT_DISK_CAPACITY, 0);
        assert_int_equal(fixture_open(&fixture), 0);
        if (fixture.failures > 0)
            (void)fprintf(stderr, "seed %lu, start %d\n", seed, crash);
        assert_int_equal(fixture.failures, 0);
        if (count_health(&fixture, STORE_LOG_DAMAGED) > 0)
            (void)fprintf(stderr, "seed %lu, start %d: %s\n", seed, crash, fixture.why);
        assert_int_equal(count_health(&fixture, STORE_LOG_DAMAGED), 0);
        totals->suspect += count_health(&fixture, STORE_LOG_SUSPECT) > 0;
        check_all(&fixture, seed);
        for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
            if (fixture.health[group] != STORE_LOG_CLEAN)
                assert_int_equal(store_log_set_repaired(fixture.log, group), 0);
        begin(&fixture);
        uint64_t steps = sim_stream_below(&fixture.stream, STEPS);
        int rc = 0;
        for (uint64_t i = 0; i < steps && rc == 0; i++) {
            rc = random_request(&fixture);
            if (rc != 0 && rc != PERI_EFENCED)
                (void)fprintf(stderr, "seed %lu: %s\n", seed, peri_strerror(rc));
            assert_true(rc == 0 || rc == PERI_EFENCED);
            totals->requests++;
            some_time(&fixture);
        }
        totals->fenced += rc == PERI_EFENCED;
        totals->full += store_log_is_full(fixture.log);
        totals->crashes++;
        fixture_crash(&fixture,
                      sim_stream_below(&fixture.stream, 3) == 0 ? ENV_FAULT_KILL : ENV_FAULT_CRASH);
        assert_int_equal(fixture.writes_open, 0);
    }
    fixture_deinit(&fixture);
}

static struct totals run_seeds(void (*begin)(struct log_fixture *fixture))
{
    struct totals totals = {0};
    uint64_t from, until;
    seeds(&from, &until);
    for (uint64_t seed = from; seed <= until; seed++)
        run_seed(seed, begin, &totals);
    print_message("  %zu crashes, %zu requests, %zu times fenced, %zu starts with doubts\n",
                  totals.crashes, totals.requests, totals.fenced, totals.suspect);
    return totals;
}

static void begin_clean(struct log_fixture *fixture)
{
    fixture_fault(fixture, ENV_FAULT_DISK_GARBLE, 0);
}

/* Torn writes, lost writes, writes that survive: nothing is in doubt. */
static void test_survives_crashes(void **state)
{
    (void)state;
    struct totals totals = run_seeds(begin_clean);
    assert_int_equal(totals.suspect, 0);
    assert_int_equal(totals.fenced, 0);
}

static void begin_garbled(struct log_fixture *fixture)
{
    fixture_fault(fixture, ENV_FAULT_DISK_GARBLE, PPM);
    fixture_fault(fixture, ENV_FAULT_DISK_KEEP, 0);
    fixture_fault(fixture, ENV_FAULT_DISK_TEAR, PPM / 2);
}

/* A torn write that ends in garbage looks like one that was synced and went bad. */
static void test_garbage_leaves_doubts(void **state)
{
    (void)state;
    struct totals totals = run_seeds(begin_garbled);
    assert_true(totals.suspect > 0);
}

static void begin_failing(struct log_fixture *fixture)
{
    begin_clean(fixture);
    fixture_fault(fixture, ENV_FAULT_DISK_SYNC_ERROR, 30000);
    fixture_fault(fixture, ENV_FAULT_DISK_WRITE_ERROR, 10000);
}

/* A sync or write that fails fences the log; what it had acknowledged is there after a restart. */
static void test_fences_when_the_disk_fails(void **state)
{
    (void)state;
    struct totals totals = run_seeds(begin_failing);
    assert_true(totals.fenced > 0);
}

static uint64_t used_bytes(const struct log_fixture *fixture)
{
    struct sim_disk_usage usage = sim_disk_usage(fixture->node);
    return usage.bytes + usage.reserved_bytes;
}

static void begin_full(struct log_fixture *fixture)
{
    begin_clean(fixture);
    fixture_fault(fixture, ENV_FAULT_DISK_CAPACITY,
                  (int64_t)used_bytes(fixture) + (int64_t)sim_stream_below(&fixture->stream, 3000));
}

/* Room ends at any moment, also that of the reserve, and the machine loses power: what was
 * acknowledged is there. Nothing is fenced. */
static void test_survives_a_full_disk(void **state)
{
    (void)state;
    struct totals totals = run_seeds(begin_full);
    assert_int_equal(totals.fenced, 0);
    assert_int_equal(totals.suspect, 0);
    assert_true(totals.full > 100);
}

static void fill_disk(struct log_fixture *fixture)
{
    fixture_fault(fixture, ENV_FAULT_DISK_CAPACITY, (int64_t)used_bytes(fixture) + 100);
}

static void write_one(struct log_fixture *fixture)
{
    const struct model_state *state = newest(fixture, 1);
    if (state->count > 20)
        assert_int_equal(fixture_cut(fixture, 1, state->base + state->count - 10), 0);
    assert_int_equal(fixture_write(fixture, 1, 1, 1, 0, 5), 0);
}

static void write_some(struct log_fixture *fixture, int count)
{
    for (int i = 0; i < count; i++) {
        write_one(fixture);
        fixture_flush(fixture);
    }
}

/* The generation has some room that it took before the disk was full. */
static void write_until_stuck(struct log_fixture *fixture)
{
    for (int i = 0; fixture->writes_open == 0 && i < 300; i++) {
        write_one(fixture);
        advance(fixture->world, sim_world_now_us(fixture->world) + 100000);
    }
    assert_int_equal(fixture->writes_open, 1);
}

/* A full disk is no failure: the log goes on in the room that it kept, says so, and waits when that
 * is used up; it takes what waited as soon as there is room, and keeps some again. */
static void test_a_full_disk_is_survived(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    struct store_log_stats stats;
    fixture_init(&fixture, true, 1);
    fixture.options.reserve_bytes = 100000;
    assert_int_equal(fixture_open(&fixture), 0);
    assert_int_equal(fixture_create(&fixture, 1, 1), 0);
    write_some(&fixture, 3);
    assert_false(store_log_is_full(fixture.log));
    uint64_t used = used_bytes(&fixture);
    assert_true(used > 100000);
    fill_disk(&fixture);
    write_some(&fixture, 60);
    assert_true(store_log_is_full(fixture.log));
    assert_int_equal(fixture_check(&fixture, 1, MAX_BYTES), 0);

    fill_disk(&fixture); /* of the reserve nothing is left either */
    write_until_stuck(&fixture);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fixture_write(&fixture, 1, 1, 1, 0, 5), 0);
    advance(fixture.world, sim_world_now_us(fixture.world) + 10000000);
    store_log_stats(fixture.log, &stats);
    assert_int_equal(fixture.writes_open, 5);
    assert_in_range(stats.pending_us, 9000000, 11000000);
    assert_in_range(stats.generations, 1, 4); /* tries leave nothing behind */

    fixture_fault(&fixture, ENV_FAULT_DISK_CAPACITY, 0);
    fixture_flush(&fixture);
    assert_int_equal(fixture_check(&fixture, 1, MAX_BYTES), 0);
    advance(fixture.world, sim_world_now_us(fixture.world) + 3000000);
    assert_false(store_log_is_full(fixture.log));
    assert_true(used_bytes(&fixture) > 100000);
    fixture_close(&fixture);

    fixture_fault(&fixture, ENV_FAULT_DISK_CAPACITY, (int64_t)used_bytes(&fixture) - 50000);
    assert_int_equal(fixture_open(&fixture), 0); /* in the room of the reserve that was */
    assert_int_equal(fixture.failures, 0);
    assert_int_equal(fixture.health[1], STORE_LOG_CLEAN);
    assert_true(store_log_is_full(fixture.log));
    write_some(&fixture, 3);
    fixture_fault(&fixture, ENV_FAULT_DISK_CAPACITY, 0);
    advance(fixture.world, sim_world_now_us(fixture.world) + 3000000);
    assert_false(store_log_is_full(fixture.log));
    fixture_close(&fixture);
    fixture_deinit(&fixture);
}

/* While the disk does not answer, the figures say for how long. */
static void test_stalls_are_seen(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    struct store_log_stats stats;
    fixture_init(&fixture, true, 1);
    assert_int_equal(fixture_open(&fixture), 0);
    assert_int_equal(fixture_create(&fixture, 1, 1), 0);
    fixture_flush(&fixture);
    fixture_fault(&fixture, ENV_FAULT_DISK_STALL, 5000000);
    assert_int_equal(fixture_write(&fixture, 1, 1, 1, 0, 3), 0);
    advance(fixture.world, sim_world_now_us(fixture.world) + 3000000);
    store_log_stats(fixture.log, &stats);
    assert_int_equal(stats.pending, 1);
    assert_in_range(stats.pending_us, 2900000, 3000000);
    fixture_flush(&fixture);
    store_log_stats(fixture.log, &stats);
    assert_int_equal(stats.pending_us, 0);
    assert_in_range(stats.sync_us, 2900000, 6000000);
    fixture_close(&fixture);
    fixture_deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_survives_crashes),
        cmocka_unit_test(test_garbage_leaves_doubts),
        cmocka_unit_test(test_fences_when_the_disk_fails),
        cmocka_unit_test(test_survives_a_full_disk),
        cmocka_unit_test(test_a_full_disk_is_survived),
        cmocka_unit_test(test_stalls_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
