/* The state store and its snapshots, on LevelDB and in simulation: rounds are whole, the barrier
 * holds, installs flip at once, chunks that do not belong are refused. */
#include <errno.h>

#include "log_fixture.h"
#include "store/snapshot.h"
#include "store/state.h"

enum { KEYS = 3000, VALUE_BYTES = 1000, ROUNDS = 40, SEEDS = 60 };

struct bench {
    struct log_fixture *host;
    struct store_state *state;
    void (*job)(struct bench *bench);
    uint64_t last; /* of the round that was written, the one before the barrier, what was found */
    uint64_t durable, found;
    bool is_torn, is_cut_off; /* the machine goes down meanwhile */
};

/* ---- jobs run where blocking calls belong ---- */

static void on_run(void *data)
{
    struct bench *bench = data;
    bench->job(bench);
}

static void on_done(void *data, int status)
{
    struct bench *bench = data;
    assert_true(status == 0 || bench->is_cut_off);
    fixture_done(bench->host);
}

static void perform(struct bench *bench, void (*job)(struct bench *bench))
{
    bench->job = job;
    bench->host->is_done = false;
    assert_int_equal(env_work(bench->host->env, on_run, on_done, bench), 0);
    fixture_wait(bench->host);
}

static struct peri_slice slice(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

static void open_state(struct bench *bench)
{
    struct store_state_options options;
    struct peri_error err = PERI_ERROR_INIT;
    store_state_options_init(&options, 77, 5);
    options.write_buffer_bytes = bench->host->world != NULL ? 4000 : 1 << 20;
    int rc = store_state_open(&bench->state, bench->host->env, bench->host->path, &options, &err);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", err.text);
    assert_int_equal(rc, 0);
}

/* ---- rounds ---- */

static struct store_applied applied_at(uint64_t group, uint64_t epoch, uint64_t index)
{
    return (struct store_applied){.group = group,
                                  .epoch = epoch,
                                  .index = index,
                                  .term = 3,
                                  .members = fixture_members,
                                  .extra = slice("sessions")};
}

/* One round of two groups: each key is set to the index, so that a torn state shows. */
static void write_round(struct bench *bench, uint64_t index)
{
    struct store_round round = {0};
    char value[32], key[32];
    (void)snprintf(value, sizeof value, "%lu", index);
    (void)snprintf(key, sizeof key, "only-%lu", index % 5);
    for (uint64_t group = 1; group <= 2; group++) {
        struct store_applied applied = applied_at(group, 1, index);
        assert_int_equal(store_round_put(&round, &applied, slice("a"), slice(value)), 0);
        assert_int_equal(store_round_put(&round, &applied, slice("b"), slice(value)), 0);
        assert_int_equal(store_round_put(&round, &applied, slice(key), slice(value)), 0);
        assert_int_equal(store_round_applied(&round, &applied), 0);
    }
    assert_int_equal(store_state_write(bench->state, &round, NULL), 0);
    store_batch_deinit(&round.changes);
}

static uint64_t value_of(struct bench *bench, uint64_t group, const char *key)
{
    char text[32] = "";
    struct peri_buffer value = {0};
    struct store_applied of = applied_at(group, 1, 0);
    int rc = store_state_get(bench->state, NULL, &of, slice(key), &value, NULL);
    assert_in_range(rc, 0, 1);
    if (rc == 1) {
        assert_in_range(value.size, 1, sizeof text - 1);
        memcpy(text, value.data, value.size);
    }
    peri_buffer_deinit(&value);
    return strtoul(text, NULL, 10);
}

static void job_write_some(struct bench *bench)
{
    struct sim_stream *stream = &bench->host->stream;
    open_state(bench);
    uint64_t rounds = sim_stream_below(stream, ROUNDS);
    for (uint64_t i = 0; i < rounds; i++) {
        write_round(bench, ++bench->last);
        if (sim_stream_below(stream, 8) == 0) {
            assert_int_equal(store_state_barrier(bench->state, NULL), 0);
            bench->durable = bench->last;
        }
    }
}

static void job_check(struct bench *bench)
{
    struct store_applied applied;
    struct peri_buffer extra = {0};
    open_state(bench);
    bench->found = 0;
    for (uint64_t group = 1; group <= 2; group++) {
        int rc = store_state_applied(bench->state, NULL, group, &applied, &extra, NULL);
        uint64_t index = rc == 1 ? applied.index : 0;
        assert_in_range(rc, 0, 1);
        if (rc == 1)
            assert_int_equal(peri_slice_compare(applied.extra, slice("sessions")), 0);
        if (group == 1)
            bench->found = index;
        bench->is_torn = bench->is_torn || index != bench->found ||
                         value_of(bench, group, "a") != index ||
                         value_of(bench, group, "b") != index;
        for (uint64_t back = 0; back < 5 && index > back; back++) {
            char key[32];
            (void)snprintf(key, sizeof key, "only-%lu", (index - back) % 5);
            bench->is_torn = bench->is_torn || value_of(bench, group, key) != index - back;
        }
    }
    peri_buffer_deinit(&extra);
    store_state_close(bench->state);
    bench->state = NULL;
}

/* Power failures at any time: what is there is some whole round, and none before the barrier. */
static void test_rounds_are_whole(void **state)
{
    (void)state;
    static struct log_fixture host;
    uint64_t lost = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        fixture_init(&host, true, seed);
        struct bench bench = {.host = &host};
        for (int crash = 0; crash < 5; crash++) {
            perform(&bench, job_write_some);
            store_state_close(bench.state);
            fixture_crash(&host, crash == 2 ? ENV_FAULT_KILL : ENV_FAULT_CRASH);
            perform(&bench, job_check);
            if (bench.is_torn || bench.found < bench.durable || bench.found > bench.last)
                (void)fprintf(stderr, "seed %lu: found %lu, barrier %lu, written %lu\n", seed,
                              bench.found, bench.durable, bench.last);
            assert_false(bench.is_torn);
            assert_in_range(bench.found, bench.durable, bench.last);
            lost += bench.last - bench.found;
            bench.last = bench.durable = bench.found;
        }
        fixture_deinit(&host);
    }
    assert_true(lost > 0);
}

/* ---- snapshots ---- */

static const struct store_applied GROUP_1 = {.group = 1};

static void key_of(uint64_t i, char *out, size_t size)
{
    (void)snprintf(out, size, "key-%08lu", i * 7919 % KEYS);
}

static void fill_group(struct bench *bench, uint64_t group, uint64_t epoch, uint64_t index, char c)
{
    static char value[VALUE_BYTES];
    char key[32];
    struct store_round round = {0};
    struct store_applied applied = applied_at(group, epoch, index);
    memset(value, c, sizeof value);
    for (uint64_t i = 0; i < KEYS; i++) {
        key_of(i, key, sizeof key);
        assert_int_equal(
            store_round_put(&round, &applied, slice(key), peri_slice_of(value, sizeof value)), 0);
    }
    assert_int_equal(store_round_applied(&round, &applied), 0);
    assert_int_equal(store_state_write(bench->state, &round, NULL), 0);
    store_batch_deinit(&round.changes);
}

struct count {
    uint64_t keys;
    char c;
};

static int count_key(void *data, struct peri_slice key, struct peri_slice value)
{
    struct count *count = data;
    (void)key;
    assert_int_equal(value.size, VALUE_BYTES);
    assert_int_equal(value.data[0], count->c);
    assert_int_equal(value.data[VALUE_BYTES - 1], count->c);
    count->keys++;
    return 0;
}

/* Takes a hundred keys, each below the one before. */
static int count_back(void *data, struct peri_slice key, struct peri_slice value)
{
    static char last[64];
    static size_t last_size;
    struct count *count = data;
    assert_true(value.size == VALUE_BYTES && key.size <= sizeof last);
    if (count->keys > 0)
        assert_true(peri_slice_compare(key, peri_slice_of(last, last_size)) < 0);
    memcpy(last, key.data, key.size);
    last_size = key.size;
    return ++count->keys == 100;
}

static void assert_group(struct bench *bench, uint64_t group, uint64_t index, char c)
{
    struct count count = {.c = c};
    struct store_applied applied;
    struct peri_buffer extra = {0};
    assert_int_equal(store_state_applied(bench->state, NULL, group, &applied, &extra, NULL), 1);
    assert_int_equal(applied.index, index);
    assert_int_equal(peri_slice_compare(applied.extra, slice("sessions")), 0);
    assert_int_equal(
        store_state_scan(bench->state, NULL, &applied, slice(""), count_key, &count, NULL), 0);
    assert_int_equal(count.keys, KEYS);
    count.keys = 0;
    assert_int_equal(store_state_scan_back(bench->state, NULL, &applied, slice("\xff"), count_back,
                                           &count, NULL),
                     1);
    peri_buffer_deinit(&extra);
}

static uint64_t all_keys(struct bench *bench)
{
    uint64_t keys = 0;
    int rc;
    while ((rc = store_state_collect(bench->state, 1000, NULL)) > 0)
        keys += (uint64_t)rc;
    assert_int_equal(rc, 0);
    return keys;
}

/* Group 1 is sent to group 1 of the same name in another store; here: its own, under a new epoch.
 */
static void job_send_and_install(struct bench *bench)
{
    struct store_source *source = NULL;
    struct store_sink *sink = NULL;
    struct peri_buffer chunk = {0}, again = {0};
    uint64_t next = 0, same = 0, chunks = 0, epoch = 0;
    struct store_applied staged;
    struct peri_buffer extra = {0};
    bool is_complete = false;
    open_state(bench);
    assert_int_equal(store_state_fresh_epoch(bench->state, &GROUP_1, &epoch, NULL), 0);
    fill_group(bench, 1, epoch, 10, 'x');
    assert_int_equal(store_source_open(&source, bench->state, 2, NULL), -ENOENT);
    assert_int_equal(store_source_open(&source, bench->state, 1, NULL), 0);
    fill_group(bench, 1, epoch, 20, 'y'); /* goes on meanwhile */
    assert_int_equal(store_source_applied(source)->index, 10);
    while (next != UINT64_MAX) {
        /* The receiver begins again with every chunk. */
        assert_int_equal(store_sink_open(&sink, bench->state, &GROUP_1, 10, 3, NULL), 0);
        assert_int_equal(store_sink_position(sink), next);
        assert_int_equal(store_sink_finish(sink, NULL), PERI_EINVAL);
        assert_int_equal(store_state_install(bench->state, 1, NULL), -ENOENT);
        uint64_t position = next;
        chunk.size = again.size = 0;
        assert_int_equal(store_source_read(source, position, &chunk, &next, NULL), 0);
        assert_int_equal(store_source_read(source, position, &again, &same, NULL), 0);
        assert_int_equal(same, next);
        assert_int_equal(peri_slice_compare(peri_buffer_slice(&chunk), peri_buffer_slice(&again)),
                         0);
        assert_in_range(chunk.size, 1, STORE_CHUNK_BYTES + 2 * VALUE_BYTES);
        assert_int_equal(store_sink_write(sink, peri_buffer_slice(&chunk), NULL), 0);
        assert_int_equal(store_sink_write(sink, peri_buffer_slice(&chunk), NULL), 0);
        /* A byte turned over anywhere does not pass. */
        for (size_t at = 0; at < chunk.size; at += 1 + chunk.size / 50) {
            chunk.data[at] = (char)(chunk.data[at] ^ 0x40);
            assert_int_equal(store_sink_write(sink, peri_buffer_slice(&chunk), NULL), PERI_EFORMAT);
            chunk.data[at] = (char)(chunk.data[at] ^ 0x40);
        }
        store_sink_close(sink);
        chunks++;
    }
    assert_int_equal(chunks, 3);
    assert_int_equal(store_source_read(source, 77, &chunk, &next, NULL), PERI_EINVAL);
    store_source_close(source);
    assert_group(bench, 1, 20, 'y'); /* nothing is installed yet */
    assert_int_equal(store_state_staged(bench->state, 1, &staged, &is_complete, &extra, NULL), 1);
    assert_true(is_complete);
    assert_int_equal(staged.index, 10);
    assert_int_equal(all_keys(bench), 0); /* both epochs are in use */
    assert_int_equal(store_sink_open(&sink, bench->state, &GROUP_1, 10, 3, NULL), 0);
    assert_int_equal(store_sink_finish(sink, NULL), 0);
    store_sink_close(sink);
    assert_int_equal(store_state_install(bench->state, 1, NULL), 0);
    assert_int_equal(store_state_install(bench->state, 1, NULL), -ENOENT);
    assert_group(bench, 1, 10, 'x');
    assert_int_equal(all_keys(bench), KEYS); /* of the old epoch */
    assert_group(bench, 1, 10, 'x');
    peri_buffer_deinit(&chunk);
    peri_buffer_deinit(&again);
    peri_buffer_deinit(&extra);
    store_state_close(bench->state);
}

/* Chunks of another snapshot, out of order, or after a gap. */
static void job_refuse_chunks(struct bench *bench)
{
    struct store_source *source = NULL, *other = NULL;
    struct store_sink *sink = NULL;
    struct peri_buffer first = {0}, second = {0}, wrong = {0};
    uint64_t next = 0, end = 0, epoch = 0;
    open_state(bench);
    assert_int_equal(store_state_fresh_epoch(bench->state, &GROUP_1, &epoch, NULL), 0);
    fill_group(bench, 1, epoch, 10, 'x');
    assert_int_equal(store_source_open(&source, bench->state, 1, NULL), 0);
    fill_group(bench, 1, epoch, 10,
               'z'); /* the same index, but not the same state: a bug of hers */
    assert_int_equal(store_source_open(&other, bench->state, 1, NULL), 0);
    assert_int_equal(store_source_read(source, 0, &first, &next, NULL), 0);
    assert_int_equal(store_source_read(source, next, &second, &end, NULL), 0);
    assert_int_equal(store_source_read(other, 0, &wrong, &end, NULL), 0);
    wrong.size = 0;
    assert_int_equal(store_source_read(other, next, &wrong, &end, NULL), 0);
    assert_int_equal(store_sink_open(&sink, bench->state, &GROUP_1, 11, 3, NULL), 0);
    assert_int_equal(store_sink_write(sink, peri_buffer_slice(&first), NULL), PERI_EINVAL);
    store_sink_close(sink);
    assert_int_equal(store_sink_open(&sink, bench->state, &GROUP_1, 10, 3, NULL), 0);
    assert_int_equal(store_sink_write(sink, peri_buffer_slice(&second), NULL), PERI_EINVAL);
    assert_int_equal(store_sink_write(sink, peri_buffer_slice(&first), NULL), 0);
    assert_int_equal(store_sink_write(sink, peri_buffer_slice(&wrong), NULL), PERI_EFORMAT);
    assert_int_equal(store_sink_write(sink, peri_buffer_slice(&second), NULL), 0);
    assert_int_equal(store_sink_write(sink, slice("PSC1"), NULL), PERI_EFORMAT);
    /* The other one from its beginning takes the place of both. */
    wrong.size = 0;
    for (next = 0; next != UINT64_MAX;) {
        wrong.size = 0;
        assert_int_equal(store_source_read(other, next, &wrong, &next, NULL), 0);
        assert_int_equal(store_sink_write(sink, peri_buffer_slice(&wrong), NULL), 0);
    }
    assert_int_equal(store_sink_write(sink, peri_buffer_slice(&first), NULL), 0);
    assert_int_equal(store_sink_finish(sink, NULL), 0);
    store_sink_close(sink);
    assert_int_equal(store_state_install(bench->state, 1, NULL), 0);
    assert_group(bench, 1, 10, 'z');
    /* Another snapshot takes its place, and what came is rubbish. */
    assert_int_equal(store_sink_open(&sink, bench->state, &GROUP_1, 12, 3, NULL), 0);
    assert_int_equal(store_sink_position(sink), 0);
    store_sink_close(sink);
    store_source_close(source);
    store_source_close(other);
    peri_buffer_deinit(&first);
    peri_buffer_deinit(&second);
    peri_buffer_deinit(&wrong);
    store_state_close(bench->state);
}

/* A state that no round has written yet has an epoch, too: what it writes while a snapshot comes in
 * is not part of that. */
static void job_install_over_new(struct bench *bench)
{
    struct store_source *source = NULL;
    struct store_sink *sink = NULL;
    struct store_round round = {0};
    struct peri_buffer chunk = {0};
    struct store_applied began = applied_at(1, 0, 1);
    uint64_t next = 0;
    open_state(bench);
    fill_group(bench, 1, 1, 10, 'x');
    assert_int_equal(store_source_open(&source, bench->state, 1, NULL), 0);
    assert_int_equal(store_round_drop(&round, 1), 0);
    assert_int_equal(store_state_write(bench->state, &round, NULL), 0);
    assert_int_equal(all_keys(bench), KEYS);
    assert_int_equal(store_state_fresh_epoch(bench->state, &GROUP_1, &began.epoch, NULL), 0);
    assert_int_equal(store_sink_open(&sink, bench->state, &began, 10, 3, NULL), 0);
    store_batch_clear(&round.changes);
    assert_int_equal(store_round_put(&round, &began, slice("dropped since"), slice("1")), 0);
    assert_int_equal(store_round_applied(&round, &began), 0);
    assert_int_equal(store_state_write(bench->state, &round, NULL), 0);
    while (next != UINT64_MAX) {
        chunk.size = 0;
        assert_int_equal(store_source_read(source, next, &chunk, &next, NULL), 0);
        assert_int_equal(store_sink_write(sink, peri_buffer_slice(&chunk), NULL), 0);
    }
    assert_int_equal(store_sink_finish(sink, NULL), 0);
    assert_int_equal(store_state_install(bench->state, 1, NULL), 0);
    assert_group(bench, 1, 10, 'x');
    assert_int_equal(all_keys(bench), 1);
    store_sink_close(sink);
    store_source_close(source);
    store_batch_deinit(&round.changes);
    peri_buffer_deinit(&chunk);
    store_state_close(bench->state);
}

static void both(void (*job)(struct bench *bench))
{
    static struct log_fixture host;
    for (int is_simulated = 0; is_simulated < 2; is_simulated++) {
        fixture_init(&host, is_simulated != 0, 1);
        struct bench bench = {.host = &host};
        perform(&bench, job);
        fixture_deinit(&host);
    }
}

static void test_snapshots_travel_in_chunks(void **state)
{
    (void)state;
    both(job_send_and_install);
}

static void test_install_over_new_state(void **state)
{
    (void)state;
    both(job_install_over_new);
}

static void test_strange_chunks_are_refused(void **state)
{
    (void)state;
    both(job_refuse_chunks);
}

/* ---- an install that breaks off ---- */

static void job_install(struct bench *bench)
{
    open_state(bench);
    struct store_source *source = NULL;
    struct store_sink *sink = NULL;
    struct peri_buffer chunk = {0};
    uint64_t next = 0;
    fill_group(bench, 1, 1, 10, 'x');
    assert_int_equal(store_source_open(&source, bench->state, 1, NULL), 0);
    fill_group(bench, 1, 1, 5, 'y');
    assert_int_equal(store_state_barrier(bench->state, NULL), 0);
    assert_int_equal(store_sink_open(&sink, bench->state, &GROUP_1, 10, 3, NULL), 0);
    while (next != UINT64_MAX) {
        chunk.size = 0;
        assert_int_equal(store_source_read(source, next, &chunk, &next, NULL), 0);
        /* Once the machine has gone down nothing can be written. */
        int rc = store_sink_write(sink, peri_buffer_slice(&chunk), NULL);
        assert_true(rc == 0 || rc == PERI_ECANCELLED);
    }
    (void)store_sink_finish(sink, NULL);
    (void)store_state_install(bench->state, 1, NULL);
    store_sink_close(sink);
    store_source_close(source);
    peri_buffer_deinit(&chunk);
}

static void job_look(struct bench *bench)
{
    struct store_applied applied;
    struct peri_buffer extra = {0};
    open_state(bench);
    int rc = store_state_applied(bench->state, NULL, 1, &applied, &extra, NULL);
    assert_in_range(rc, 0, 1);
    bench->found = rc == 1 ? applied.index : 0;
    if (rc == 1)
        assert_group(bench, 1, bench->found, bench->found == 10 ? 'x' : 'y');
    peri_buffer_deinit(&extra);
    store_state_close(bench->state);
}

/* A crash at any moment of it leaves the old state or the new one. */
static void test_installs_are_whole(void **state)
{
    (void)state;
    static struct log_fixture host;
    uint64_t old = 0, new = 0;
    for (uint64_t at_us = 500; at_us < 100000; at_us += 1000) {
        fixture_init(&host, true, at_us);
        struct bench bench = {.host = &host, .job = job_install, .is_cut_off = true};
        uint64_t begin_us = sim_world_now_us(host.world);
        assert_int_equal(env_work(host.env, on_run, on_done, &bench), 0);
        advance(host.world, begin_us + at_us);
        store_state_close(bench.state);
        bench.host->is_done = false;
        fixture_crash(&host, ENV_FAULT_CRASH);
        perform(&bench, job_look);
        old += bench.found == 5;
        new += bench.found == 10;
        fixture_deinit(&host);
    }
    print_message("  %lu times the old state, %lu times the new one\n", old, new);
    assert_true(old > 0);
    assert_true(new > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds_are_whole),
        cmocka_unit_test(test_snapshots_travel_in_chunks),
        cmocka_unit_test(test_install_over_new_state),
        cmocka_unit_test(test_strange_chunks_are_refused),
        cmocka_unit_test(test_installs_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
