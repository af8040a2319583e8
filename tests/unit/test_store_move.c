/* A hundred groups, of which one is busy: the others' few entries do not keep old generations, and
 * stay what they were, over crashes and starts. */
#include "log_fixture.h"

enum {
    GROUPS = 100,
    ENTRIES = 3, /* of each group that idles */
    PAYLOAD = 200,
    GENERATION = 64 << 10,
    KEPT = 20, /* entries of the busy group */
    ROUNDS = 4000
};

static const struct store_log_entry entries[ENTRIES] = {
    {1, RAFT_COMMAND, {"one", 3}}, {1, RAFT_COMMAND, {"two", 3}}, {1, RAFT_COMMAND, {"three", 5}}};

/* ---- waiting ---- */

struct busy {
    struct log_fixture fixture; /* for its environment */
    struct store_log_write write;
    uint64_t group, last; /* the busy one, and its last entry */
    size_t waiting;       /* writes that are not durable */
    uint64_t lasts[GROUPS + 1];
    size_t found;
    uint64_t disk_max;
};

static void on_move_written(struct store_log_write *write, int status)
{
    struct busy *busy = write->data;
    assert_int_equal(status, 0);
    if (--busy->waiting == 0)
        fixture_done(&busy->fixture);
}

static void await(struct busy *busy)
{
    busy->fixture.is_done = busy->waiting == 0;
    fixture_wait(&busy->fixture);
}

static void on_move_open(void *data, int status, const struct store_log_found *groups, size_t count,
                         const struct peri_error *err)
{
    struct busy *busy = data;
    busy->fixture.status = status;
    busy->fixture.err = *err;
    busy->found = count;
    for (size_t i = 0; i < count; i++) {
        if (groups[i].health != STORE_LOG_CLEAN)
            (void)fprintf(stderr, "group %lu: %s\n", groups[i].group, groups[i].why);
        assert_int_equal(groups[i].health, STORE_LOG_CLEAN);
        busy->lasts[groups[i].group] = groups[i].boot.last_index;
    }
    fixture_done(&busy->fixture);
}

static void open_log(struct busy *busy)
{
    struct log_fixture *fixture = &busy->fixture;
    fixture->is_done = false;
    assert_int_equal(store_log_open(&fixture->log, fixture->env, fixture->path, &fixture->options,
                                    on_move_open, busy, NULL),
                     0);
    fixture_wait(fixture);
    assert_int_equal(fixture->status, 0);
}

/* ---- what happens ---- */

static void begin_groups(struct busy *busy)
{
    static struct store_log_write writes[2 * GROUPS];
    struct raft_record record = {.term = 1, .vote = 1, .first = 1, .last = ENTRIES};
    busy->waiting = 2 * GROUPS;
    for (uint64_t group = 1; group <= GROUPS; group++) {
        struct store_log_write *pair = &writes[2 * group - 2];
        pair[0] = pair[1] = (struct store_log_write){.on_written = on_move_written, .data = busy};
        assert_int_equal(
            store_log_create_group(busy->fixture.log, &pair[0], group, 1, &fixture_members), 0);
        assert_int_equal(store_log_write(busy->fixture.log, &pair[1], group, &record, entries), 0);
    }
    busy->group = 1;
    busy->last = ENTRIES;
    await(busy);
}

/* One entry of the busy group, which then lets go of all but KEPT. */
static void work(struct busy *busy)
{
    static char payload[PAYLOAD];
    struct store_log_entry entry = {1, RAFT_COMMAND, peri_slice_of(payload, sizeof payload)};
    struct raft_record record = {
        .term = 1, .vote = 1, .first = busy->last + 1, .last = busy->last + 1};
    busy->write = (struct store_log_write){.on_written = on_move_written, .data = busy};
    busy->waiting = 1;
    assert_int_equal(store_log_write(busy->fixture.log, &busy->write, busy->group, &record, &entry),
                     0);
    busy->last++;
    if (busy->last > 2 * KEPT && busy->last % KEPT == 0)
        assert_int_equal(
            store_log_cut(busy->fixture.log, busy->group, busy->last - KEPT, 1, &fixture_members),
            0);
    await(busy);
}

/* Groups that idle still have what they had. */
static void on_move_read(struct store_log_read *read, int status,
                         const struct store_log_entry *found, size_t count)
{
    struct busy *busy = read->data;
    assert_int_equal(status, 0);
    assert_int_equal(count, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++)
        assert_int_equal(peri_slice_compare(found[i].payload, entries[i].payload), 0);
    fixture_done(&busy->fixture);
}

static void check_idle(struct busy *busy, uint64_t group)
{
    struct store_log_read read = {.group = group,
                                  .first = 1,
                                  .last = ENTRIES,
                                  .max_bytes = 1000,
                                  .on_read = on_move_read,
                                  .data = busy};
    busy->fixture.is_done = false;
    assert_int_equal(store_log_read(busy->fixture.log, &read), 0);
    fixture_wait(&busy->fixture);
}

/* Goes on until the chores have caught up, which a loaded machine may keep from running. */
static void settle(struct busy *busy)
{
    struct store_log_stats stats;
    store_log_stats(busy->fixture.log, &stats);
    for (int round = 0; stats.generations > 3 && round < 4 * ROUNDS; round++) {
        work(busy);
        store_log_stats(busy->fixture.log, &stats);
    }
    assert_in_range(stats.generations, 1, 3);
}

static void check_stats(struct busy *busy)
{
    struct store_log_stats stats;
    store_log_stats(busy->fixture.log, &stats);
    print_message("  %lu generations, at most %lu KiB; %lu of %lu KiB moved\n", stats.generations,
                  busy->disk_max >> 10, stats.moved_bytes >> 10, stats.stored_bytes >> 10);
    assert_in_range(stats.moved_bytes, 1, stats.stored_bytes / 4);
}

/* Of all files in a directory; some of them go meanwhile. */
static uint64_t bytes_below(struct env *env, const char *path)
{
    char entry[1024];
    const char *name = NULL;
    uint64_t bytes = 0;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    if (env_dir_open(env, path, &dir, NULL) != 0)
        return 0;
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        struct env_stat stat;
        (void)snprintf(entry, sizeof entry, "%s/%s", path, name);
        if (type == ENV_TYPE_DIRECTORY)
            bytes += bytes_below(env, entry);
        else if (env_path_stat(env, entry, &stat, NULL) == 0)
            bytes += stat.size_bytes;
    }
    env_dir_close(dir);
    return bytes;
}

static void note_disk(struct busy *busy)
{
    uint64_t used = bytes_below(busy->fixture.env, busy->fixture.path);
    busy->disk_max = used > busy->disk_max ? used : busy->disk_max;
}

static void run(bool is_simulated)
{
    static struct busy busy;
    memset(&busy, 0, sizeof busy);
    fixture_init(&busy.fixture, is_simulated, 1);
    busy.fixture.options.generation_max_bytes = GENERATION;
    busy.fixture.options.cache_max_bytes = 1000;
    busy.fixture.options.reserve_bytes = 0;
    open_log(&busy);
    begin_groups(&busy);
    for (int round = 0; round < ROUNDS; round++) {
        work(&busy);
        if (round % 10 == 0)
            note_disk(&busy);
        if (round % 100 == 0)
            check_idle(&busy, 2 + (uint64_t)round / 100);
    }
    settle(&busy);
    check_stats(&busy);
    if (is_simulated) /* else what threads are late with counts as well */
        assert_in_range(busy.disk_max, GENERATION, 5 * GENERATION);
    fixture_close(&busy.fixture);
    open_log(&busy);
    assert_int_equal(busy.found, GROUPS);
    for (uint64_t group = 2; group <= GROUPS; group++) {
        assert_int_equal(busy.lasts[group], ENTRIES);
        check_idle(&busy, group);
    }
    assert_int_equal(busy.lasts[1], busy.last);
    fixture_close(&busy.fixture);
    fixture_deinit(&busy.fixture);
}

static void test_idle_groups_keep_no_generations(void **state)
{
    (void)state;
    run(true);
}

static void test_nor_on_a_real_disk(void **state)
{
    (void)state;
    run(false);
}

/* One that was busy when its generation was sealed, and wrote no more: what it has left moves when
 * the generation is old. */
static void test_who_stops_moves_later(void **state)
{
    (void)state;
    for (int is_simulated = 0; is_simulated < 2; is_simulated++) {
        static struct busy busy;
        struct store_log_stats stats;
        memset(&busy, 0, sizeof busy);
        fixture_init(&busy.fixture, is_simulated != 0, 1);
        busy.fixture.options.generation_max_bytes = GENERATION;
        busy.fixture.options.cache_max_bytes = 1000;
        open_log(&busy);
        begin_groups(&busy);
        do {
            work(&busy);
            store_log_stats(busy.fixture.log, &stats);
        } while (stats.generations == 1); /* until the first one is sealed */
        uint64_t stopped_at = busy.last;
        assert_int_equal(store_log_cut(busy.fixture.log, 1, stopped_at - KEPT, 1, &fixture_members),
                         0);
        busy.group = 50;
        busy.last = ENTRIES;
        for (int round = 0; round < ROUNDS / 8; round++)
            work(&busy);
        store_log_stats(busy.fixture.log, &stats);
        assert_true(stats.blocking_group == 1 || is_simulated == 0); /* chores may be late */
        for (int round = 0; round < ROUNDS / 2; round++)
            work(&busy);
        settle(&busy);
        fixture_close(&busy.fixture);
        open_log(&busy);
        assert_int_equal(busy.lasts[1], stopped_at);
        fixture_close(&busy.fixture);
        fixture_deinit(&busy.fixture);
    }
}

/* Power fails at any moment while records move. */
static void test_crashes_while_records_move(void **state)
{
    (void)state;
    enum { CRASH_SEEDS = 60 };
    for (uint64_t seed = 1; seed <= CRASH_SEEDS; seed++) {
        static struct busy busy;
        memset(&busy, 0, sizeof busy);
        fixture_init(&busy.fixture, true, seed);
        busy.fixture.options.generation_max_bytes = GENERATION / 4;
        fixture_fault(&busy.fixture, ENV_FAULT_DISK_GARBLE, 0);
        open_log(&busy);
        begin_groups(&busy);
        for (int crash = 0; crash < 3; crash++) {
            uint64_t rounds = 20 + sim_stream_below(&busy.fixture.stream, 200);
            for (uint64_t i = 0; i < rounds; i++)
                work(&busy);
            uint64_t us = sim_stream_below(&busy.fixture.stream, 20000);
            advance(busy.fixture.world, sim_world_now_us(busy.fixture.world) + us);
            fixture_crash(&busy.fixture, ENV_FAULT_CRASH);
            open_log(&busy);
            assert_int_equal(busy.found, GROUPS);
            assert_int_equal(busy.lasts[1], busy.last);
            for (uint64_t group = 2; group <= GROUPS; group += 7)
                check_idle(&busy, group);
        }
        fixture_close(&busy.fixture);
        fixture_deinit(&busy.fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_groups_keep_no_generations),
        cmocka_unit_test(test_nor_on_a_real_disk),
        cmocka_unit_test(test_who_stops_moves_later),
        cmocka_unit_test(test_crashes_while_records_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
