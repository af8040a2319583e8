/* The log of all groups, on a real disk and on a simulated one: what is acknowledged stays. */
#include "alloc.h"
#include "log_fixture.h"

#include <errno.h>
#include <stdatomic.h>

enum { MAX_BYTES = 100, SEEDS = 150, STEPS = 60 };

static void both(void (*body)(struct log_fixture *fixture))
{
    static struct log_fixture fixture;
    for (int is_simulated = 0; is_simulated < 2; is_simulated++) {
        fixture_init(&fixture, is_simulated != 0, 1);
        body(&fixture);
        fixture_deinit(&fixture);
    }
}

/* ---- the ordinary ---- */

static void body_keeps_what_was_written(struct log_fixture *fixture)
{
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture->found, 0);
    assert_int_equal(fixture_create(fixture, 1, 5), 0);
    assert_int_equal(fixture_create(fixture, 1, 6), -EEXIST);
    assert_int_equal(fixture_create(fixture, 2, 7), 0);
    assert_int_equal(fixture_write(fixture, 1, 1, 5, 0, 3), 0);
    assert_int_equal(fixture_write(fixture, 2, 4, 0, 0, 5), 0);
    assert_int_equal(fixture_write(fixture, 1, 2, 5, 2, 4), 0);
    fixture_flush(fixture);
    assert_int_equal(fixture_check(fixture, 1, MAX_BYTES), 0);
    for (int i = 0; i < 3; i++) {
        fixture_close(fixture);
        assert_int_equal(fixture_open(fixture), 0);
        assert_int_equal(fixture->found, 2);
        assert_int_equal(fixture->failures, 0);
        assert_int_equal(fixture->health[1], STORE_LOG_CLEAN);
        assert_int_equal(fixture_check(fixture, 1, MAX_BYTES), 0);
        assert_int_equal(fixture_check(fixture, 2, MAX_BYTES), 0);
        assert_int_equal(fixture_write(fixture, 2, 5, 1, 0, 2), 0);
        fixture_flush(fixture);
        assert_int_equal(fixture_check(fixture, 2, MAX_BYTES), 0);
    }
    fixture_close(fixture);
}

static void test_keeps_what_was_written(void **state)
{
    (void)state;
    both(body_keeps_what_was_written);
}

static void body_one_batch_for_all(struct log_fixture *fixture)
{
    struct store_log_stats before, after;
    assert_int_equal(fixture_open(fixture), 0);
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
        assert_int_equal(fixture_create(fixture, group, 1), 0);
    fixture_flush(fixture);
    store_log_stats(fixture->log, &before);
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
        for (int i = 0; i < 3; i++)
            assert_int_equal(fixture_write(fixture, group, 1, 1, 0, 2), 0);
    fixture_flush(fixture);
    store_log_stats(fixture->log, &after);
    assert_int_equal(after.batches, before.batches + 1);
    assert_int_equal(after.batch_records, 3 * MODEL_GROUPS);
    assert_int_equal(after.pending, 0);
    fixture_close(fixture);
}

static void test_one_batch_for_all(void **state)
{
    (void)state;
    both(body_one_batch_for_all);
}

static void body_refuses_records_that_do_not_fit(struct log_fixture *fixture)
{
    struct store_log_entry entry = {1, RAFT_COMMAND, {NULL, 0}},
                           future = {9, RAFT_COMMAND, {NULL, 0}};
    const struct {
        struct raft_record record;
        const struct store_log_entry *entry;
        int rc;
    } rows[] = {
        {{.term = 0}, NULL, PERI_EINVAL},                           /* a term that shrinks */
        {{.term = 1, .first = 5, .last = 5}, &entry, PERI_EINVAL},  /* a hole */
        {{.term = 1, .first = 3, .last = 3}, &entry, PERI_EINVAL},  /* over an entry */
        {{.term = 1, .truncate_from = 9}, NULL, PERI_EINVAL},       /* nothing there */
        {{.term = 1, .truncate_from = 1}, NULL, PERI_EINVAL},       /* below the base */
        {{.term = 1, .first = 4, .last = 3}, NULL, PERI_EINVAL},    /* backwards */
        {{.term = 1, .first = 4, .last = 4}, &future, PERI_EINVAL}, /* from the future */
        {{.term = 1, .snapshot_index = 1, .configuration = &fixture_members}, NULL, PERI_EINVAL},
        {{.term = 1, .snapshot_index = 9}, NULL, PERI_EINVAL}, /* without members */
    };
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture_create(fixture, 1, 5), 0);
    assert_int_equal(fixture_write(fixture, 1, 1, 5, 0, 3), 0);
    fixture_flush(fixture);
    assert_int_equal(fixture_cut(fixture, 1, 1), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct store_log_write *write = new_write(fixture, 1, 0);
        assert_int_equal(store_log_write(fixture->log, write, 1, &rows[i].record, rows[i].entry),
                         rows[i].rc);
        assert_int_equal(store_log_write(fixture->log, write, 2, &rows[i].record, rows[i].entry),
                         -ENOENT);
        cancel_write(write);
    }
    assert_int_equal(store_log_cut(fixture->log, 1, 4, 1, &fixture_members), PERI_EINVAL);
    assert_int_equal(store_log_cut(fixture->log, 1, 1, 1, &fixture_members), 0);
    assert_int_equal(fixture_check(fixture, 1, MAX_BYTES), 0);
    fixture_close(fixture);
}

static void test_refuses_records_that_do_not_fit(void **state)
{
    (void)state;
    both(body_refuses_records_that_do_not_fit);
}

static void body_dropped_groups_stay_away(struct log_fixture *fixture)
{
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture_create(fixture, 1, 5), 0);
    assert_int_equal(fixture_write(fixture, 1, 1, 5, 0, 3), 0);
    struct store_log_write *write = new_write(fixture, 1, 0);
    assert_int_equal(store_log_drop_group(fixture->log, write, 1), 0);
    assert_int_equal(fixture_create(fixture, 1, 5), PERI_EINVAL);
    fixture_flush(fixture);
    fixture->groups[1].is_created = false;
    for (int i = 0; i < 3; i++) {
        fixture_close(fixture);
        assert_int_equal(fixture_open(fixture), 0);
        assert_int_equal(fixture->found, 0);
        assert_int_equal(fixture_create(fixture, 1, 5), PERI_EINVAL);
    }
    assert_int_equal(fixture_create(fixture, 1, 8), 0);
    fixture_flush(fixture);
    fixture_close(fixture);
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture->found, 1);
    assert_int_equal(fixture->failures, 0);
    fixture_close(fixture);
}

static void test_dropped_groups_stay_away(void **state)
{
    (void)state;
    both(body_dropped_groups_stay_away);
}

static void body_refuses_a_strange_disk(struct log_fixture *fixture)
{
    assert_int_equal(fixture_open(fixture), 0);
    fixture_close(fixture);
    fixture->options.cluster = 78;
    assert_int_equal(fixture_open(fixture), PERI_ECLUSTER);
    assert_non_null(strstr(fixture->err.text, "belongs to cluster"));
    fixture->options.cluster = 77;
    fixture->options.node = 6;
    assert_int_equal(fixture_open(fixture), PERI_ECLUSTER);
    assert_non_null(strstr(fixture->err.text, "belongs to node 5"));
}

static void test_refuses_a_strange_disk(void **state)
{
    (void)state;
    both(body_refuses_a_strange_disk);
}

static void body_a_snapshot_empties_the_log(struct log_fixture *fixture)
{
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture_create(fixture, 1, 5), 0);
    assert_int_equal(fixture_write(fixture, 1, 1, 5, 0, 3), 0);
    assert_int_equal(fixture_install(fixture, 1, 50, 2), 0);
    fixture_flush(fixture);
    fixture_close(fixture);
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture->failures, 0);
    assert_int_equal(newest(fixture, 1)->base, 50);
    assert_int_equal(fixture_write(fixture, 1, 3, 5, 0, 3), 0);
    fixture_flush(fixture);
    fixture_close(fixture);
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture->failures, 0);
    assert_int_equal(newest(fixture, 1)->count, 3);
    assert_int_equal(fixture_check(fixture, 1, MAX_BYTES), 0);
    fixture_close(fixture);
}

static void test_a_snapshot_empties_the_log(void **state)
{
    (void)state;
    both(body_a_snapshot_empties_the_log);
}

/* Small generations: many of them begin, and go when nobody needs them. */
static void body_generations_come_and_go(struct log_fixture *fixture)
{
    struct store_log_stats stats;
    fixture->options.generation_max_bytes = 2000;
    fixture->options.cache_max_bytes = 500;
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture_create(fixture, 1, 5), 0);
    assert_int_equal(fixture_create(fixture, 2, 5), 0);
    assert_int_equal(fixture_write(fixture, 2, 3, 2, 0, 4), 0);
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 8; i++)
            assert_int_equal(fixture_write(fixture, 1, 1 + (uint64_t)round, 5, 0, 5), 0);
        fixture_flush(fixture);
        assert_int_equal(fixture_check(fixture, 1, MAX_BYTES), 0);
        const struct model_state *state = newest(fixture, 1);
        assert_int_equal(fixture_cut(fixture, 1, state->base + state->count - 7), 0);
    }
    fixture_flush(fixture);
    store_log_stats(fixture->log, &stats);
    assert_in_range(stats.generations, 1, 8);
    assert_true(stats.moved_bytes > 0);
    assert_int_equal(fixture_check(fixture, 2, MAX_BYTES), 0);
    fixture_close(fixture);
    assert_int_equal(fixture_open(fixture), 0);
    assert_int_equal(fixture->failures, 0);
    assert_int_equal(fixture_check(fixture, 1, MAX_BYTES), 0);
    assert_int_equal(fixture_check(fixture, 2, MAX_BYTES), 0);
    fixture_close(fixture);
}

static void test_generations_come_and_go(void **state)
{
    (void)state;
    both(body_generations_come_and_go);
}

/* ---- beside slow work ---- */

enum { POOL_JOBS = 8, LIMIT_US = 5000000 };

struct busy {
    struct env *env;
    atomic_bool is_free; /* the pool's jobs may end */
    atomic_int early;    /* pool jobs that gave up before that */
};

static void occupy(void *data)
{
    struct busy *busy = data;
    uint64_t until_us = env_now_us(busy->env) + LIMIT_US;
    while (!atomic_load(&busy->is_free) && env_now_us(busy->env) < until_us)
        continue;
    atomic_fetch_add(&busy->early, !atomic_load(&busy->is_free));
}

static void on_occupied(void *data, int status)
{
    (void)data;
    (void)status;
}

/* As many slow jobs as may be: records become durable all the same. */
static void test_slow_work_does_not_delay_writes(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    fixture_init(&fixture, false, 1);
    assert_int_equal(fixture_open(&fixture), 0);
    struct busy busy = {.env = fixture.env};
    for (int i = 0; i < POOL_JOBS; i++)
        assert_int_equal(env_work(fixture.env, occupy, on_occupied, &busy), 0);
    assert_int_equal(fixture_create(&fixture, 1, 5), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fixture_write(&fixture, 1, 1, 5, 0, 3), 0);
        fixture_flush(&fixture);
    }
    assert_int_equal(atomic_load(&busy.early), 0);
    atomic_store(&busy.is_free, true);
    fixture_close(&fixture);
    assert_int_equal(fixture_open(&fixture), 0);
    assert_int_equal(fixture.failures, 0);
    fixture_close(&fixture);
    fixture_deinit(&fixture);
}

/* ---- without memory ---- */

struct lean {
    struct store_log_write write;
    struct log_fixture *fixture;
    int status;
};

static void on_lean(struct store_log_write *write, int status)
{
    struct lean *lean = container_of(write, struct lean, write);
    lean->status = status;
    fixture_done(lean->fixture);
}

static int write_lean(struct log_fixture *fixture, struct lean *lean)
{
    static const struct store_log_entry entries[2] = {{1, RAFT_COMMAND, {"one", 3}},
                                                      {1, RAFT_COMMAND, {"two", 3}}};
    struct raft_record record = {.term = 1, .vote = 1, .first = 1, .last = 2};
    *lean = (struct lean){.write = {.on_written = on_lean}, .fixture = fixture, .status = 1};
    fixture->is_done = false;
    int rc = store_log_write(fixture->log, &lean->write, 1, &record, entries);
    if (rc == 0)
        fixture_wait(fixture);
    return rc == 0 ? lean->status : rc;
}

/* A record is either acknowledged and there, or refused and not, or the log is fenced. */
static void test_allocations_of_a_write_may_fail(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    bool was_reached = true;
    for (long n = 1; was_reached; n++) {
        struct lean lean;
        fixture_init(&fixture, false, 1);
        fixture.checks_states = false;
        assert_int_equal(fixture_open(&fixture), 0);
        assert_int_equal(fixture_create(&fixture, 1, 1), 0);
        fixture_flush(&fixture);
        test_alloc_fail(n);
        int rc = write_lean(&fixture, &lean);
        was_reached = test_alloc_end();
        assert_true(rc == 0 || rc == PERI_ENOMEM || rc == PERI_EFENCED);
        fixture_close(&fixture);
        assert_int_equal(fixture_open(&fixture), 0);
        assert_int_equal(fixture.health[1], STORE_LOG_CLEAN);
        if (rc == 0)
            assert_int_equal(fixture.boots[1].last_index, 2);
        else
            assert_true(fixture.boots[1].last_index == 0 || rc == PERI_EFENCED);
        fixture_close(&fixture);
        fixture_deinit(&fixture);
    }
}

/* An open that lacks memory says so, and the next one finds everything. */
static void test_allocations_of_an_open_may_fail(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    bool was_reached = true;
    struct lean lean;
    fixture_init(&fixture, false, 1);
    fixture.checks_states = false;
    assert_int_equal(fixture_open(&fixture), 0);
    assert_int_equal(fixture_create(&fixture, 1, 1), 0);
    fixture_flush(&fixture);
    assert_int_equal(write_lean(&fixture, &lean), 0);
    fixture_close(&fixture);
    for (long n = 1; was_reached; n += 1 + n / 20) {
        test_alloc_fail(n);
        int rc = fixture_open(&fixture);
        was_reached = test_alloc_end();
        assert_true(rc == 0 || rc == PERI_ENOMEM);
        if (rc != 0) {
            env_run(fixture.env); /* until it is closed */
            assert_int_equal(fixture_open(&fixture), 0);
        }
        assert_int_equal(fixture.health[1], STORE_LOG_CLEAN);
        assert_int_equal(fixture.boots[1].last_index, 2);
        fixture_close(&fixture);
    }
    fixture_deinit(&fixture);
}

/* A log that an earlier build wrote, which had other stores for its generations. */
static void test_older_logs_go_on(void **state)
{
    (void)state;
    for (int is_simulated = 0; is_simulated < 2; is_simulated++) {
        static struct log_fixture fixture;
        fixture_init(&fixture, is_simulated != 0, 1);
        fixture.options.generation_max_bytes = 3000;
        fixture.options.cache_max_bytes = 0;
        fixture.options.backend = is_simulated ? STORE_MEMORY : STORE_LEVELDB;
        assert_int_equal(fixture_open(&fixture), 0);
        for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
            assert_int_equal(fixture_create(&fixture, group, 1), 0);
        for (int start = 0; start < 3; start++) {
            for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
                for (int i = 0; i < 5; i++) {
                    assert_int_equal(fixture_write(&fixture, group, 1, 1, 0, 3), 0);
                    fixture_flush(&fixture);
                }
                assert_int_equal(fixture_check(&fixture, group, 1000), 0);
            }
            fixture_close(&fixture);
            fixture.options.backend = STORE_BY_ENV;
            assert_int_equal(fixture_open(&fixture), 0);
            assert_int_equal(fixture.failures, 0);
            for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
                assert_int_equal(fixture.health[group], STORE_LOG_CLEAN);
                assert_int_equal(fixture_check(&fixture, group, 1000), 0);
            }
        }
        fixture_close(&fixture);
        fixture_deinit(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_what_was_written),
        cmocka_unit_test(test_one_batch_for_all),
        cmocka_unit_test(test_refuses_records_that_do_not_fit),
        cmocka_unit_test(test_dropped_groups_stay_away),
        cmocka_unit_test(test_refuses_a_strange_disk),
        cmocka_unit_test(test_a_snapshot_empties_the_log),
        cmocka_unit_test(test_slow_work_does_not_delay_writes),
        cmocka_unit_test(test_allocations_of_a_write_may_fail),
        cmocka_unit_test(test_allocations_of_an_open_may_fail),
        cmocka_unit_test(test_generations_come_and_go),
        cmocka_unit_test(test_older_logs_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
