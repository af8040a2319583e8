/* Spill files: every changed byte is found. */
#include "mr_fixture.h"

#include "mapreduce/emit.h"

enum { PARTS = 3, RECORDS = 60 };

/* Returns where the blocks end and the footer begins. */
static uint64_t write_keys(struct fixture *fixture, const char *prefix, bool lz4)
{
    struct mr_spill_options options = {.partitions = PARTS, .block_bytes = 200, .lz4 = lz4};
    struct mr_spill_writer *writer = NULL;
    struct peri_buffer key = {0};
    char text[32];
    assert_int_equal(mr_spill_writer_open(&writer, fixture->env, fixture->path[0], &options, NULL),
                     0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        (void)snprintf(text, sizeof text, "%s-%03u", prefix, (unsigned)i);
        struct peri_slice bytes = key_of(&key, string_of(text));
        assert_int_equal(mr_spill_writer_add(writer, i * PARTS / RECORDS, bytes, bytes, NULL), 0);
    }
    assert_int_equal(mr_spill_writer_finish(writer, NULL), 0);
    const struct mr_spill_part *last = &mr_spill_writer_parts(writer)[PARTS - 1];
    uint64_t end = last->offset + last->length;
    mr_spill_writer_close(writer);
    peri_buffer_deinit(&key);
    return end;
}

static void write_spill(struct fixture *fixture, bool lz4)
{
    (void)write_keys(fixture, "key-number", lz4);
}

/* Reads all partitions: the number of records, or a code. */
static int read_spill(struct fixture *fixture, struct peri_error *err)
{
    struct mr_spill_file *file = NULL;
    int total = 0;
    int rc = mr_spill_file_open(&file, fixture->env, fixture->path[0], err);
    for (uint32_t part = 0; rc == 0 && part < PARTS; part++) {
        struct mr_spill_reader *reader = NULL;
        struct peri_slice key;
        struct peri_slice value;
        assert_int_equal(mr_spill_reader_open(&reader, file, part, err), 0);
        while ((rc = mr_spill_reader_next(reader, &key, &value, err)) == 1)
            total++;
        mr_spill_reader_close(reader);
    }
    mr_spill_file_close(file);
    return rc < 0 ? rc : total;
}

static size_t load(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t got = fread(out, 1, size, file);
    fclose(file);
    return got;
}

static void store(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static void flip_all(struct fixture *fixture, bool lz4)
{
    static char bytes[1 << 16];
    write_spill(fixture, lz4);
    assert_int_equal(read_spill(fixture, NULL), RECORDS);
    size_t size = load(fixture->path[0], bytes, sizeof bytes);
    for (size_t i = 0; i < size; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        bytes[i] = (char)(bytes[i] ^ (1 << i % 8));
        store(fixture->path[0], bytes, size);
        int rc = read_spill(fixture, &err);
        if (rc != PERI_ECORRUPT || strstr(err.text, fixture->path[0]) == NULL)
            fail_msg("byte %d of %d: %d %s", (int)i, (int)size, rc, err.text);
        bytes[i] = (char)(bytes[i] ^ (1 << i % 8));
    }
    for (size_t cut = 0; cut < size; cut += 7) {
        store(fixture->path[0], bytes, cut);
        assert_int_equal(read_spill(fixture, NULL), PERI_ECORRUPT);
    }
    assert_int_equal(unlink(fixture->path[0]), 0);
}

static void test_flips(void **state)
{
    flip_all(*state, false);
    flip_all(*state, true);
}

/* Blocks that are whole, but of another file: only the footer's sum of the records tells. */
static void test_foreign_blocks(void **state)
{
    struct fixture *fixture = *state;
    static char own[1 << 16];
    static char foreign[1 << 16];
    struct peri_error err = PERI_ERROR_INIT;
    (void)write_keys(fixture, "kez-number", false);
    (void)load(fixture->path[0], foreign, sizeof foreign);
    assert_int_equal(env_path_remove(fixture->env, fixture->path[0], NULL), 0);
    uint64_t end = write_keys(fixture, "key-number", false);
    size_t size = load(fixture->path[0], own, sizeof own);
    memcpy(own, foreign, (size_t)end);
    store(fixture->path[0], own, size);
    assert_int_equal(read_spill(fixture, &err), PERI_ECORRUPT);
    assert_non_null(strstr(err.text, "differ from the footer's sum"));
    assert_int_equal(env_path_remove(fixture->env, fixture->path[0], NULL), 0);
}

/* An input that is not what the map task reported is refused, and named. */
static void test_unexpected_input(void **state)
{
    struct fixture *fixture = *state;
    struct mr_sum other = {.records = 20, .low = 1};
    struct mr_merge_input input = {fixture->path[0], &other};
    struct mr_merge_options options = {.inputs = &input,
                                       .inputs_count = 1,
                                       .memory_bytes = MR_MERGE_MEMORY_MIN,
                                       .temp_path = fixture->path[1]};
    struct mr_merge *merge = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    int64_t failed = -1;
    write_spill(fixture, false);
    assert_int_equal(mr_merge_open(&merge, fixture->env, &options, &failed, &err), PERI_ECORRUPT);
    assert_int_equal(failed, 0);
    assert_non_null(strstr(err.text, "not what the map task wrote"));
    assert_int_equal(unlink(fixture->path[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flips, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_foreign_blocks, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_unexpected_input, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
