/* Merges of more inputs than can be open at once, secondary sort, and states through many runs. */
#include "mr_fixture.h"

#include "mapreduce/emit.h"

enum { INPUTS = 150, GROUPS = 20 };

static void input_path(struct fixture *fixture, int input, char out[128])
{
    (void)snprintf(out, 128, "%s/in-%d", fixture->dir, input);
}

/* Input i holds, for each group g, the key (g, i % 7) with the value i. */
static void write_input(struct fixture *fixture, int input)
{
    struct mr_spill_options options = {.partitions = 2};
    struct mr_spill_writer *writer = NULL;
    struct peri_buffer key = {0};
    struct peri_buffer value = {0};
    char path[128];
    input_path(fixture, input, path);
    assert_int_equal(mr_spill_writer_open(&writer, fixture->env, path, &options, NULL), 0);
    for (int group = 0; group < GROUPS; group++) {
        const struct mr_datum parts[2] = {integer_of(group), integer_of(input % 7)};
        key.size = 0;
        assert_int_equal(mr_key_encode(parts, 2, &key, NULL), 0);
        assert_int_equal(mr_spill_writer_add(writer, 1, peri_buffer_slice(&key),
                                             value_of(&value, integer_of(input)), NULL),
                         0);
    }
    assert_int_equal(mr_spill_writer_finish(writer, NULL), 0);
    mr_spill_writer_close(writer);
    peri_buffer_deinit(&key);
    peri_buffer_deinit(&value);
}

/* Values of a group come by the key's second part, then by input. */
static void check_values(struct mr_values *values)
{
    struct peri_slice value;
    int64_t before = -1;
    int count = 0;
    while (mr_values_next(values, &value, NULL) == 1) {
        int64_t input;
        assert_true(mr_value_read_integer(value, &input));
        int64_t rank = input % 7 * INPUTS + input;
        assert_true(rank > before);
        before = rank;
        count++;
    }
    assert_int_equal(count, INPUTS);
}

/* The same pairs one by one: all of them, by key, then by input. */
static void check_pairs(struct fixture *fixture, const struct mr_merge_options *options)
{
    struct mr_merge *merge = NULL;
    struct peri_buffer before = {0};
    struct peri_slice key;
    struct peri_slice value;
    int64_t input_before = -1;
    int64_t failed;
    int pairs = 0;
    int rc;
    assert_int_equal(mr_merge_open(&merge, fixture->env, options, &failed, NULL), 0);
    while ((rc = mr_merge_pair(merge, &key, &value, NULL)) == 1) {
        int order = peri_slice_compare(peri_buffer_slice(&before), key);
        int64_t input;
        assert_true(mr_value_read_integer(value, &input));
        assert_true(order < 0 || (order == 0 && input_before < input));
        before.size = 0;
        assert_int_equal(peri_buffer_append(&before, key.data, key.size), 0);
        input_before = input;
        pairs++;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(pairs, INPUTS * GROUPS);
    mr_merge_close(merge);
    peri_buffer_deinit(&before);
}

static void test_secondary_sort(void **state)
{
    struct fixture *fixture = *state;
    static char paths[INPUTS][128];
    struct mr_merge_input inputs[INPUTS] = {{0}};
    struct mr_merge_options options = {.inputs = inputs,
                                       .inputs_count = INPUTS,
                                       .part = 1,
                                       .group_parts = 1,
                                       .memory_bytes = MR_MERGE_MEMORY_MIN,
                                       .temp_path = fixture->path[0]};
    struct mr_merge *merge = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice key;
    struct mr_values *values;
    int64_t failed;
    int groups = 0;
    for (int i = 0; i < INPUTS; i++) {
        write_input(fixture, i);
        input_path(fixture, i, paths[i]);
        inputs[i].path = paths[i];
    }
    if (mr_merge_open(&merge, fixture->env, &options, &failed, &err) != 0)
        fail_msg("%s", err.text);
    while (mr_merge_next(merge, &key, &values, &err) == 1) {
        if (groups++ % 2 == 0) /* every other group is skipped unread */
            check_values(values);
    }
    assert_int_equal(groups, GROUPS);
    assert_int_equal(mr_merge_sum(merge).records, INPUTS * GROUPS);
    mr_merge_close(merge);
    check_pairs(fixture, &options);
    for (int i = 0; i < INPUTS; i++)
        assert_int_equal(unlink(paths[i]), 0);
}

/* ---- named reducers through emit, many runs, and merge ---- */

static void emit_values(struct fixture *fixture, const struct mr_reducer *reducer, size_t memory,
                        int from, int to, const char *path)
{
    struct mr_emit_options options = {.partitioner = {.partitions = 1},
                                      .reducer = *reducer,
                                      .memory_bytes = memory,
                                      .path = path};
    struct mr_emit *emit = NULL;
    struct mr_emit_stats stats;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buffer key = {0};
    struct peri_buffer value = {0};
    assert_int_equal(mr_emit_create(&emit, fixture->env, &options, &err), 0);
    for (int i = from; i < to; i++) {
        struct mr_datum number = i % 5 == 0 ? float_of(i * 0.1) : integer_of(i % 1000);
        mr_emit_at(emit, 0, (uint64_t)i);
        struct peri_slice bytes = key_of(&key, integer_of((int64_t)i * 7919 % 3000));
        if (mr_emit_add(emit, bytes, value_of(&value, number), &err) != 0)
            fail_msg("%s", err.text);
    }
    if (mr_emit_finish(emit, &err) != 0)
        fail_msg("%s", err.text);
    mr_emit_stats(emit, &stats);
    assert_true(stats.memory_peak_bytes <= memory);
    mr_emit_close(emit);
    peri_buffer_deinit(&key);
    peri_buffer_deinit(&value);
}

/* The checksum of all results. */
static struct mr_sum results_of(struct fixture *fixture, const struct mr_reducer *reducer,
                                size_t inputs_count)
{
    struct mr_merge_input inputs[4] = {{0}};
    struct mr_merge_options options = {.inputs = inputs,
                                       .inputs_count = inputs_count,
                                       .reducer = *reducer,
                                       .memory_bytes = MR_MERGE_MEMORY_MIN,
                                       .temp_path = fixture->path[7]};
    struct mr_merge *merge = NULL;
    struct mr_sum sum = {0};
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice key;
    struct peri_slice value;
    int64_t failed;
    int rc;
    for (size_t i = 0; i < inputs_count; i++)
        inputs[i].path = fixture->path[i];
    if (mr_merge_open(&merge, fixture->env, &options, &failed, &err) != 0)
        fail_msg("%s", err.text);
    while ((rc = mr_merge_reduce(merge, &key, &value, &err)) == 1)
        mr_sum_add(&sum, key, value);
    if (rc != 0)
        fail_msg("%s", err.text);
    mr_merge_close(merge);
    return sum;
}

/* One task with much memory, and four with little, give the same bytes. */
static void test_reducers(void **state)
{
    static const char *const names[] = {"sum",     "count", "avg",   "min", "max",
                                        "first",   "last",  "any",   "all", "distinct",
                                        "topk(3)", "set",   "concat"};
    enum { COUNT = 100000, TASKS = 4, PLENTY = 64 << 20 };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct mr_reducer reducer;
        assert_int_equal(mr_reducer_parse(&reducer, names[i], NULL), 0);
        emit_values(fixture, &reducer, PLENTY, 0, COUNT, fixture->path[0]);
        struct mr_sum one = results_of(fixture, &reducer, 1);
        assert_int_equal(one.records, 3000);
        assert_int_equal(unlink(fixture->path[0]), 0);
        for (int task = 0; task < TASKS; task++)
            emit_values(fixture, &reducer, MR_EMIT_MEMORY_MIN, COUNT / TASKS * task,
                        COUNT / TASKS * (task + 1), fixture->path[task]);
        struct mr_sum many = results_of(fixture, &reducer, TASKS);
        if (!mr_sum_equal(&one, &many))
            fail_msg("%s depends on the split", names[i]);
        for (int task = 0; task < TASKS; task++)
            assert_int_equal(unlink(fixture->path[task]), 0);
    }
}

/* A job 40 times its memory: more runs than can be merged in one pass. */
static void test_many_runs(void **state)
{
    struct fixture *fixture = *state;
    struct mr_emit_options options = {.partitioner = {.partitions = 3},
                                      .memory_bytes = MR_EMIT_MEMORY_MIN,
                                      .path = fixture->path[0]};
    struct mr_emit *emit = NULL;
    struct mr_emit_stats stats;
    struct peri_buffer key = {0};
    struct peri_error err = PERI_ERROR_INIT;
    char value[201] = {5};
    uint64_t seed = 1;
    enum { COUNT = 200000 };
    assert_int_equal(mr_emit_create(&emit, fixture->env, &options, &err), 0);
    for (int i = 0; i < COUNT; i++) {
        struct peri_slice bytes = key_of(&key, integer_of((int64_t)random_next(&seed)));
        assert_int_equal(mr_emit_add(emit, bytes, peri_slice_of(value, sizeof value), &err), 0);
    }
    if (mr_emit_finish(emit, &err) != 0)
        fail_msg("%s", err.text);
    mr_emit_stats(emit, &stats);
    assert_true(stats.runs > MR_MERGE_FAN_IN / 2);
    assert_int_equal(stats.records_out, COUNT);
    mr_emit_close(emit);
    assert_int_equal(unlink(fixture->path[0]), 0);
    peri_buffer_deinit(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_secondary_sort, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_reducers, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_many_runs, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
