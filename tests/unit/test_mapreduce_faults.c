/* The whole record path (read, emit, spill, merge, reduce, write) while every allocation, every
 * file call in turn fails, and while reads give a few bytes only: a code that says so or the right
 * output, no file and no memory left behind. */
#include "mr_fixture.h"

#include <errno.h>
#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

#include "alloc.h"
#include "env_faults.h"
#include "mapreduce/emit.h"
#include "mapreduce/output.h"
#include "mapreduce/reader.h"

enum { LINES = 4500, LINES_FEW = 100, PARTITIONS = 2, TEXT_MAX = 2 << 20 };

/* One way through the record path. */
struct shape {
    const char *name;
    struct mr_reducer reducer;
    const char *suffix; /* of the input: how it is compressed */
    int lines;          /* LINES of them do not fit into memory */
    bool is_combined;
    bool lz4;
    int copies; /* how often the merge reads the spill file */
};

static const struct shape shapes[] = {
    {"plain pairs", {.kind = MR_REDUCE_NONE}, "", LINES, false, true, 2},
    {"a combiner", {.kind = MR_REDUCE_NONE}, ".gz", LINES, true, false, 2},
    {"sums", {.kind = MR_REDUCE_SUM}, ".zst", LINES, false, false, 2},
    {"sets", {.kind = MR_REDUCE_SET, .limit = 10}, ".lz4", LINES_FEW, false, true, 3},
    {"texts", {.kind = MR_REDUCE_CONCAT, .limit = 1000}, "", LINES_FEW, false, false, 2},
    {"the greatest", {.kind = MR_REDUCE_TOPK, .limit = 3}, "", LINES_FEW, false, false, 2},
    {"merge passes", {.kind = MR_REDUCE_SUM}, "", LINES_FEW, false, false, 70},
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

/* ---- the input ---- */

/* Lines of 260 bytes, one in three twice. */
static size_t make_text(int lines, char *out)
{
    uint64_t seed = 7;
    size_t size = 0;
    for (int i = 0; i < lines; i++)
        size += (size_t)snprintf(out + size, TEXT_MAX - size, "%0259d\n",
                                 (int)random_below(&seed, (uint64_t)lines));
    return size;
}

static size_t pack(const char *suffix, const char *text, size_t size, char *out)
{
    if (strcmp(suffix, ".gz") == 0) {
        z_stream gzip = {0};
        assert_int_equal(deflateInit2(&gzip, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        gzip.next_in = (Bytef *)(uintptr_t)text;
        gzip.avail_in = (uInt)size;
        gzip.next_out = (Bytef *)out;
        gzip.avail_out = TEXT_MAX;
        assert_int_equal(deflate(&gzip, Z_FINISH), Z_STREAM_END);
        deflateEnd(&gzip);
        return gzip.total_out;
    }
    if (strcmp(suffix, ".zst") == 0)
        return ZSTD_compress(out, TEXT_MAX, text, size, 3);
    if (strcmp(suffix, ".lz4") == 0)
        return LZ4F_compressFrame(out, TEXT_MAX, text, size, NULL);
    memcpy(out, text, size);
    return size;
}

static void input_path(const struct fixture *fixture, const struct shape *shape, char out[128])
{
    (void)snprintf(out, 128, "%s/input%s", fixture->dir, shape->suffix);
}

static void write_input(const struct fixture *fixture, const struct shape *shape)
{
    char path[128];
    char *text = malloc(TEXT_MAX);
    char *packed = malloc(TEXT_MAX);
    input_path(fixture, shape, path);
    size_t size = pack(shape->suffix, text, make_text(shape->lines, text), packed);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(packed, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(text);
    free(packed);
}

/* ---- the record path ---- */

/* Gives the sum of the group's values. */
static int combine(void *data, struct peri_slice key, struct mr_values *values,
                   struct mr_combine_out *out, struct peri_error *err)
{
    struct peri_slice value;
    int64_t sum = 0;
    int64_t integer;
    int rc;
    (void)data;
    (void)key;
    while ((rc = mr_values_next(values, &value, err)) == 1)
        sum += mr_value_read_integer(value, &integer) ? integer : 0;
    if (rc != 0)
        return rc;
    char bytes[MR_VALUE_SCALAR_MAX];
    return mr_combine_add(out, peri_slice_of(bytes, mr_value_write_integer(sum, bytes)), err);
}

static int emit_records(struct mr_reader *reader, struct mr_emit *emit, struct peri_error *err)
{
    struct mr_record record;
    int rc;
    while ((rc = mr_reader_next(reader, &record, err)) == 1) {
        mr_emit_at(emit, 0, record.offset);
        rc = mr_emit_add_string(emit, record.data, 1, err);
        if (rc != 0)
            return rc;
    }
    return rc != 0 ? rc : mr_emit_finish(emit, err);
}

static int map_task(struct fixture *fixture, const struct shape *shape, struct peri_error *err)
{
    struct mr_emit_options options = {.partitioner = {.partitions = PARTITIONS},
                                      .reducer = shape->reducer,
                                      .combine = shape->is_combined ? combine : NULL,
                                      .memory_bytes = MR_EMIT_MEMORY_MIN,
                                      .path = fixture->path[0],
                                      .lz4 = shape->lz4};
    struct mr_reader_options lines = {.format = {MR_FORMAT_LINES, 0}};
    struct mr_reader *reader = NULL;
    struct mr_emit *emit = NULL;
    char path[128];
    input_path(fixture, shape, path);
    struct mr_split split = {.path = path, .length = MR_SPLIT_TO_END};
    int rc = mr_reader_open(&reader, fixture->env, &split, &lines, err);
    if (rc == 0)
        rc = mr_emit_create(&emit, fixture->env, &options, err);
    if (rc == 0)
        rc = emit_records(reader, emit, err);
    mr_emit_close(emit);
    mr_reader_close(reader);
    return rc;
}

static int write_group(struct mr_values *values, struct peri_slice key, struct mr_output *output,
                       struct peri_error *err)
{
    struct peri_slice value;
    int rc;
    while ((rc = mr_values_next(values, &value, err)) == 1) {
        rc = mr_output_write(output, key, value, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int write_groups(struct mr_merge *merge, bool is_named, struct mr_output *output,
                        struct peri_error *err)
{
    struct peri_slice key;
    struct peri_slice value;
    struct mr_values *values;
    for (;;) {
        int rc = is_named ? mr_merge_reduce(merge, &key, &value, err)
                          : mr_merge_next(merge, &key, &values, err);
        if (rc <= 0)
            return rc;
        rc = is_named ? mr_output_write(output, key, value, err)
                      : write_group(values, key, output, err);
        if (rc != 0)
            return rc;
    }
}

static int reduce_task(struct fixture *fixture, const struct shape *shape,
                       struct mr_output_totals *totals, struct peri_error *err)
{
    struct mr_merge_input inputs[100] = {{0}};
    struct mr_merge_options options = {.inputs = inputs,
                                       .inputs_count = (size_t)shape->copies,
                                       .part = 1,
                                       .reducer = shape->reducer,
                                       .memory_bytes = MR_MERGE_MEMORY_MIN,
                                       .temp_path = fixture->path[1]};
    struct mr_merge *merge = NULL;
    struct mr_output *output = NULL;
    int64_t failed;
    for (int i = 0; i < shape->copies; i++)
        inputs[i].path = fixture->path[0];
    int rc = mr_merge_open(&merge, fixture->env, &options, &failed, err);
    if (rc == 0)
        rc = mr_output_open(&output, fixture->env, fixture->path[2], MR_OUTPUT_JSONL, false, err);
    if (rc == 0)
        rc = write_groups(merge, mr_reducer_has_state(&shape->reducer), output, err);
    if (rc == 0)
        rc = mr_output_finish(output, totals, err);
    mr_output_close(output);
    mr_merge_close(merge);
    return rc;
}

/* Runs a map and a reduce task; leaves the input and nothing else. */
static int run(struct fixture *fixture, const struct shape *shape, struct mr_output_totals *totals,
               struct peri_error *err)
{
    int rc = map_task(fixture, shape, err);
    if (rc == 0)
        rc = reduce_task(fixture, shape, totals, err);
    (void)unlink(fixture->path[0]);
    (void)unlink(fixture->path[2]);
    return rc;
}

/* ---- the tests: a fixture's teardown finds files that were left ---- */

static void remove_input(const struct fixture *fixture, const struct shape *shape)
{
    char path[128];
    input_path(fixture, shape, path);
    assert_int_equal(unlink(path), 0);
}

static struct mr_output_totals expect(struct fixture *fixture, const struct shape *shape)
{
    struct mr_output_totals totals = {0};
    struct peri_error err = PERI_ERROR_INIT;
    write_input(fixture, shape);
    if (run(fixture, shape, &totals, &err) != 0)
        fail_msg("%s: %s", shape->name, err.text);
    assert_true(totals.records > LINES_FEW / 5);
    return totals;
}

/* A run that met a fault: it says so, or its output is right. */
static void check(const struct shape *shape, long n, int rc, int code,
                  const struct mr_output_totals *expected, const struct mr_output_totals *totals,
                  const struct peri_error *err)
{
    if (rc == 0 && totals->checksum == expected->checksum)
        return;
    if (rc != code || err->code != code || err->text[0] == '\0')
        fail_msg("%s, fault %ld: %d '%s'", shape->name, n, rc, err->text);
}

static void test_every_allocation_fails(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < SHAPES; i++) {
        struct mr_output_totals expected = expect(fixture, &shapes[i]);
        bool has_failed = true;
        for (long n = 1; has_failed; n++) {
            struct mr_output_totals totals = {0};
            struct peri_error err = PERI_ERROR_INIT;
            test_alloc_fail(n);
            int rc = run(fixture, &shapes[i], &totals, &err);
            has_failed = test_alloc_end();
            check(&shapes[i], n, rc, PERI_ENOMEM, &expected, &totals, &err);
            if (!has_failed)
                print_message("%s: %ld allocations\n", shapes[i].name, n - 1);
        }
        remove_input(fixture, &shapes[i]);
    }
}

static void test_every_file_call_fails(void **state)
{
    static const int codes[] = {-EIO, -ENOSPC};
    struct fixture *fixture = *state;
    for (int i = 0; i < SHAPES; i++) {
        struct mr_output_totals expected = expect(fixture, &shapes[i]);
        bool has_failed = true;
        for (long n = 1; has_failed; n++) {
            struct mr_output_totals totals = {0};
            struct peri_error err = PERI_ERROR_INIT;
            env_faults_fail(n, codes[n % 2]);
            int rc = run(fixture, &shapes[i], &totals, &err);
            has_failed = env_faults_end();
            assert_int_equal(rc == 0, !has_failed); /* no fault is swallowed */
            check(&shapes[i], n, rc, codes[n % 2], &expected, &totals, &err);
            if (!has_failed)
                print_message("%s: %ld file calls\n", shapes[i].name, n - 1);
        }
        remove_input(fixture, &shapes[i]);
    }
}

static void test_short_reads_change_nothing(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < SHAPES; i++) {
        struct mr_output_totals expected = expect(fixture, &shapes[i]);
        for (size_t most = 7; most < 100000; most *= 29) {
            struct mr_output_totals totals = {0};
            struct peri_error err = PERI_ERROR_INIT;
            env_faults.read_max = most;
            if (run(fixture, &shapes[i], &totals, &err) != 0)
                fail_msg("%s, reads of %zu bytes: %s", shapes[i].name, most, err.text);
            assert_int_equal(totals.checksum, expected.checksum);
            env_faults.read_max = 0;
        }
        remove_input(fixture, &shapes[i]);
    }
}

static int setup(void **state)
{
    int rc = fixture_setup(state);
    if (rc == 0)
        env_faults_install(((struct fixture *)*state)->env);
    return rc;
}

static int teardown(void **state)
{
    (void)test_alloc_end();
    env_faults_remove(((struct fixture *)*state)->env);
    return fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_allocation_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_file_call_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short_reads_change_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
