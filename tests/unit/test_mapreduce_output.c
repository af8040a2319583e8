/* Output formats, byte for byte. */
#include "mr_fixture.h"

#include "env/ops.h"
#include "mapreduce/output.h"

struct row {
    struct mr_datum key[2];
    size_t parts;
    struct mr_datum value;
};

static const struct row rows[] = {
    {{{.type = MR_STRING, .string = {"a\tb\\", 4}}}, 1, {.type = MR_INTEGER, .integer = 7}},
    {{{.type = MR_STRING, .string = {"x", 1}}, {.type = MR_FLOAT, .number = 0.5}},
     2,
     {.type = MR_FLOAT, .number = 1e15}},
    {{{.type = MR_NIL}}, 1, {.type = MR_NIL}},
    {{{.type = MR_TRUE}}, 1, {.type = MR_STRING, .string = {"\xff\"\n", 3}}},
    {{{.type = MR_INTEGER, .integer = -1}},
     1,
     {.type = MR_TABLE, .string = {"\x82\xa1k\x92\xc3\xc0\1\xcb\x7f\xf0\0\0\0\0\0\0", 16}}},
};

static void write_rows(struct fixture *fixture, enum mr_output_format format, bool bare,
                       const char *expected)
{
    struct mr_output *output = NULL;
    struct mr_output_totals totals;
    struct peri_buffer key = {0};
    struct peri_buffer value = {0};
    char got[1024] = {0};
    assert_int_equal(mr_output_open(&output, fixture->env, fixture->path[0], format, bare, NULL),
                     0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        key.size = 0;
        assert_int_equal(mr_key_encode(rows[i].key, rows[i].parts, &key, NULL), 0);
        assert_int_equal(
            mr_output_write(output, peri_buffer_slice(&key), value_of(&value, rows[i].value), NULL),
            0);
    }
    assert_int_equal(mr_output_finish(output, &totals, NULL), 0);
    mr_output_close(output);
    FILE *file = fopen(fixture->path[0], "rb");
    size_t size = fread(got, 1, sizeof got - 1, file);
    fclose(file);
    assert_string_equal(got, expected);
    assert_int_equal(totals.bytes, size);
    assert_int_equal(totals.records, 5);
    assert_int_equal(unlink(fixture->path[0]), 0);
    peri_buffer_deinit(&key);
    peri_buffer_deinit(&value);
}

static void test_formats(void **state)
{
    write_rows(*state, MR_OUTPUT_TEXT, false,
               "a\tb\\ 7\nx 0.5 1e+15\nnil\ntrue \xff\"\n\n-1 {\"k\":[true,null],\"1\":null}\n");
    write_rows(
        *state, MR_OUTPUT_TSV, false,
        "a\\tb\\\\\t7\nx\t0.5\t1e+15\nnil\ntrue\t\xff\"\\n\n-1\t{\"k\":[true,null],\"1\":null}\n");
    write_rows(*state, MR_OUTPUT_JSONL, false,
               "{\"key\":\"a\\tb\\\\\",\"value\":7}\n{\"key\":[\"x\",0.5],\"value\":1e+15}\n"
               "{\"key\":null,\"value\":null}\n{\"key\":true,\"value\":\"\xef\xbf\xbd\\\"\\n\"}\n"
               "{\"key\":-1,\"value\":{\"k\":[true,null],\"1\":null}}\n");
    write_rows(*state, MR_OUTPUT_JSONL, true,
               "7\n1e+15\nnull\n\"\xef\xbf\xbd\\\"\\n\"\n{\"k\":[true,null],\"1\":null}\n");
}

static void test_refusals(void **state)
{
    struct fixture *fixture = *state;
    struct mr_output *output = NULL;
    struct peri_buffer value = {0};
    struct peri_error err = PERI_ERROR_INIT;
    enum mr_output_format format;
    assert_int_equal(mr_output_format_parse("tsv", &format, NULL), 0);
    assert_int_equal(format, MR_OUTPUT_TSV);
    assert_int_equal(mr_output_format_parse("xml", &format, &err), PERI_EINVAL);
    assert_int_equal(
        mr_output_open(&output, fixture->env, fixture->path[0], MR_OUTPUT_RAW, false, NULL), 0);
    struct peri_slice one = value_of(&value, integer_of(1));
    assert_int_equal(mr_output_write(output, peri_slice_of("\1", 1), one, &err), PERI_EINVAL);
    struct peri_slice bytes = value_of(&value, string_of("raw"));
    assert_int_equal(mr_output_write(output, peri_slice_of("\1", 1), bytes, &err), 0);
    assert_int_equal(
        mr_output_write(output, peri_slice_of("\1", 1), peri_slice_of("\x30", 1), &err),
        PERI_EFORMAT);
    mr_output_close(output);
    assert_int_equal(unlink(fixture->path[0]), 0);
    assert_int_equal(
        mr_output_open(&output, fixture->env, fixture->path[0], MR_OUTPUT_JSONL, true, NULL), 0);
    struct peri_slice cut = peri_slice_of("\x06\x8a\x0a", 3); /* a map that ends early */
    assert_int_equal(mr_output_write(output, peri_slice_of("\1", 1), cut, &err), PERI_EFORMAT);
    mr_output_close(output);
    assert_int_equal(unlink(fixture->path[0]), 0);
    peri_buffer_deinit(&value);
}

/* The bytes whose sync has been started, from the first on and without gaps. */
static struct {
    uint64_t bytes;
    bool has_gap;
} started;

static void note_start(struct env_file *file, uint64_t offset, uint64_t size)
{
    (void)file;
    started.has_gap |= offset != started.bytes;
    started.bytes = offset + size;
}

static void test_sync_starts_early(void **state)
{
    enum { VALUE_SIZE = 1 << 20, VALUES = 20 };
    struct fixture *fixture = *state;
    const struct env_ops *real = fixture->env->ops;
    struct env_file_ops files = *real->file;
    struct env_ops ops = *real;
    struct mr_output *output = NULL;
    struct mr_output_totals totals;
    struct peri_buffer value = {0};
    char *bytes = calloc(1, VALUE_SIZE);
    struct mr_datum datum = {.type = MR_STRING, .string = {bytes, VALUE_SIZE}};
    files.sync_start = note_start;
    ops.file = &files;
    fixture->env->ops = &ops;
    assert_int_equal(
        mr_output_open(&output, fixture->env, fixture->path[0], MR_OUTPUT_RAW, false, NULL), 0);
    (void)value_of(&value, datum);
    for (int i = 0; i < VALUES; i++)
        assert_int_equal(
            mr_output_write(output, peri_slice_of("\1", 1), peri_buffer_slice(&value), NULL), 0);
    assert_int_equal(mr_output_finish(output, &totals, NULL), 0);
    mr_output_close(output);
    fixture->env->ops = real;
    assert_int_equal(totals.bytes, VALUES * VALUE_SIZE);
    assert_false(started.has_gap);
    assert_in_range(started.bytes, totals.bytes / 2, totals.bytes);
    assert_int_equal(unlink(fixture->path[0]), 0);
    peri_buffer_deinit(&value);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_sync_starts_early, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
