/* Records of ranges: any cut of a file gives the same records; limits, damage and streams. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "env/env.h"
#include "env/uv.h"
#include "mapreduce/reader.h"

struct fixture {
    struct env *env;
    char path[64];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct peri_error err = PERI_ERROR_INIT;
    if (fixture == NULL || env_uv_create(&fixture->env, &err) != 0)
        return -1;
    strcpy(fixture->path, "/tmp/perilune-reader-XXXXXX");
    close(mkstemp(fixture->path));
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->path);
    env_close(fixture->env);
    free(fixture);
    return 0;
}

static void write_file(const char *path, const char *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* What a range gave: "offset:record|" for each record, with errors as "offset!|". */
struct seen {
    char text[1 << 16];
    size_t size;
    int count;
};

static void note(struct seen *seen, const struct mr_record *record, char mark)
{
    seen->size += (size_t)snprintf(seen->text + seen->size, sizeof seen->text - seen->size,
                                   "%llu%c", (unsigned long long)record->offset, mark);
    if (mark == ':') {
        assert_true(seen->size + record->data.size + 2 < sizeof seen->text);
        if (record->data.size > 0)
            memcpy(seen->text + seen->size, record->data.data, record->data.size);
        seen->size += record->data.size;
    }
    seen->text[seen->size++] = '|';
    seen->text[seen->size] = '\0';
    seen->count++;
}

static void read_range(struct fixture *fixture, const struct mr_split *split,
                       const struct mr_reader_options *options, struct seen *seen)
{
    struct mr_reader *reader;
    struct mr_record record;
    struct peri_error err = PERI_ERROR_INIT;
    if (mr_reader_open(&reader, fixture->env, split, options, &err) != 0)
        fail_msg("open: %s", err.text);
    for (;;) {
        int rc = mr_reader_next(reader, &record, &err);
        if (rc == 0)
            break;
        if (rc < 0 && !mr_reader_can_skip(reader))
            fail_msg("next: %s", err.text);
        note(seen, &record, rc > 0 ? ':' : '!');
    }
    mr_reader_close(reader);
}

static struct mr_reader_options options_of(const char *format)
{
    struct mr_reader_options options = {0};
    assert_int_equal(mr_format_parse(format, &options.format, NULL), 0);
    return options;
}

static void check(struct fixture *fixture, struct mr_reader_options options, const char *text,
                  const char *expected)
{
    struct seen seen = {0};
    write_file(fixture->path, text, strlen(text));
    read_range(fixture, &(struct mr_split){.path = fixture->path, .length = strlen(text)}, &options,
               &seen);
    assert_string_equal(seen.text, expected);
}

static void test_formats(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *format, *text, *expected;
    } cases[] = {
        {"lines", "", ""},
        {"lines", "\n", "0:|"},
        {"lines", "a\nb\n", "0:a|2:b|"},
        {"lines", "a\r\n\r\nb", "0:a|3:|5:b|"},
        {"lines", "a\rb\r", "0:a\rb\r|"}, /* CR alone ends nothing */
        {"lines", "\r\r\n", "0:\r|"},
        {"jsonl", "\xef\xbb\xbf{}\n \t\r\n\n[1]", "3:{}|11:[1]|"},
        {"chunk", "a\nb\r\nc", "0:a\nb\r\nc|"},
        {"fixed:2", "abcdef", "0:ab|2:cd|4:ef|"},
        {"fixed:4", "abcdef", "0:abcd|4!|"},
        {"csv", "a,b\r\n\"x\r\ny\",\"q\"\"\"\nlast", "0:a,b|5:\"x\r\ny\",\"q\"\"\"|18:last|"},
        {"csv", "5\" disk,b\nc\n", "0:5\" disk,b|10:c|"},
        {"csv", "a\n\"b\nc\n", "0:a|2!|"},
        {"csv", "\xef\xbb\xbf\"a\"\n", "3:\"a\"|"},
        {"files", "a\nb", "0:a\nb|"},
        {"files", "", "0:|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(fixture, options_of(cases[i].format), cases[i].text, cases[i].expected);
}

static void test_key_and_value(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("tsv");
    struct mr_reader *reader;
    struct mr_record record;
    write_file(fixture->path, "k\tv\tw\nalone\n", 12);
    struct mr_split split = {.path = fixture->path, .length = 12};
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, NULL), 0);
    assert_int_equal(mr_reader_next(reader, &record, NULL), 1);
    assert_true(record.has_key);
    assert_int_equal(peri_slice_compare(record.key, peri_slice_of("k", 1)), 0);
    assert_int_equal(peri_slice_compare(record.value, peri_slice_of("v\tw", 3)), 0);
    assert_int_equal(mr_reader_next(reader, &record, NULL), 1);
    assert_int_equal(peri_slice_compare(record.key, peri_slice_of("alone", 5)), 0);
    assert_int_equal(record.value.size, 0);
    mr_reader_close(reader);
}

static void test_csv_header(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("csv");
    options.csv_header = true;
    options.csv_separator = ';';
    struct mr_reader *reader;
    struct mr_record record;
    const char text[] = "id;\"full \"\"name\"\"\"\r\n1;x\r\n";
    write_file(fixture->path, text, strlen(text));
    struct mr_split split = {.path = fixture->path, .length = strlen(text)};
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, NULL), 0);
    const struct mr_input *input = mr_reader_input(reader);
    assert_int_equal(input->name_count, 2);
    assert_memory_equal(input->names[0].data, "id", 2);
    assert_int_equal(input->names[1].size, 11);
    assert_memory_equal(input->names[1].data, "full \"name\"", 11);
    assert_int_equal(mr_reader_next(reader, &record, NULL), 1);
    assert_int_equal(record.offset, 20);
    mr_reader_close(reader);
}

static void test_long_records_are_skippable(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("lines");
    options.record_max_bytes = 4;
    check(fixture, options, "abc\nabcd\nx\nabcdefghijkl\ny", "0:abc|4!|9:x|11!|24:y|");
    options = options_of("csv");
    options.record_max_bytes = 6;
    check(fixture, options, "a,b\n\"long\n\",x\nc\n", "0:a,b|4!|14:c|");
    options = options_of("files");
    options.record_max_bytes = 2;
    check(fixture, options, "abc", "0!|");
    options = options_of("chunk"); /* of lines that are short enough */
    options.record_max_bytes = 6;
    check(fixture, options, "abc\ndef\nabcdefgh\nx", "0:abc\n|4:def\n|8!|17:x|");
}

/* A record longer than many windows, at the limit's edge, and then one more record. */
static void test_gigantic_lines(void **state)
{
    struct fixture *fixture = *state;
    enum { SIZE = 3 << 20 };
    char *text = malloc(SIZE + 3);
    memset(text, 'x', SIZE);
    memcpy(text + SIZE, "\ny\n", 3);
    write_file(fixture->path, text, SIZE + 3);
    struct mr_split split = {.path = fixture->path, .length = SIZE + 3};
    static const char *const formats[] = {"lines", "chunk", "csv", "jsonl", "tsv"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct mr_reader_options options = options_of(formats[i]);
        options.record_max_bytes = 1 << 20;
        struct seen seen = {0};
        read_range(fixture, &split, &options, &seen);
        assert_int_equal(seen.count, 2);
        assert_memory_equal(seen.text, "0!|3145729:y", 12);
        options.record_max_bytes = SIZE + 1;
        struct mr_reader *reader;
        struct mr_record record;
        assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, NULL), 0);
        assert_int_equal(mr_reader_next(reader, &record, NULL), 1);
        assert_true(record.data.size >= SIZE);
        assert_memory_equal(record.data.data, text, SIZE);
        mr_reader_close(reader);
    }
    free(text);
}

/* ---- any cut gives the same records ---- */

static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

static size_t make_text(uint64_t *seed, char *text, size_t max)
{
    static const char alphabet[] = "ab\n\n\r\n\t,x";
    size_t size = draw(seed, (uint32_t)max);
    for (size_t i = 0; i < size; i++) {
        text[i] = alphabet[draw(seed, sizeof alphabet - 1)];
        if (text[i] == '\r' && i + 1 < size && draw(seed, 2) == 0)
            text[++i] = '\n';
    }
    return size;
}

static void test_any_cut_gives_the_same_records(void **state)
{
    struct fixture *fixture = *state;
    static const char *const formats[] = {"lines", "tsv", "jsonl", "fixed:3"};
    static struct seen whole, cut;
    char text[400];
    for (uint64_t round = 1; round <= 300; round++) {
        uint64_t seed = round;
        size_t size = make_text(&seed, text, sizeof text);
        write_file(fixture->path, text, size);
        struct mr_reader_options options = options_of(formats[draw(&seed, 4)]);
        whole.size = cut.size = 0;
        whole.text[0] = cut.text[0] = '\0';
        read_range(fixture, &(struct mr_split){.path = fixture->path, .length = size}, &options,
                   &whole);
        for (size_t at = 0; at < size;) {
            size_t length = 1 + draw(&seed, round % 3 == 0 ? 1 : 60);
            length = length < size - at ? length : size - at;
            read_range(fixture, &(struct mr_split){fixture->path, at, length, draw(&seed, 9)},
                       &options, &cut);
            at += length;
        }
        if (strcmp(whole.text, cut.text) != 0)
            fail_msg("seed %llu: '%s' against '%s'", (unsigned long long)round, whole.text,
                     cut.text);
    }
}

/* The mark belongs to the first record: a cut inside or right behind it loses nothing. */
static void test_any_cut_of_a_byte_order_mark(void **state)
{
    struct fixture *fixture = *state;
    static struct seen cut;
    static const char text[] = "\xef\xbb\xbf[1]\n[2]\n\n[3]";
    const size_t size = sizeof text - 1;
    struct mr_reader_options options = options_of("jsonl");
    write_file(fixture->path, text, size);
    for (size_t at = 1; at < size; at++) {
        cut.size = 0;
        read_range(fixture, &(struct mr_split){fixture->path, 0, at, 0}, &options, &cut);
        read_range(fixture, &(struct mr_split){fixture->path, at, size - at, 0}, &options, &cut);
        assert_string_equal(cut.text, "3:[1]|7:[2]|12:[3]|");
    }
}

/* Chunks may be cut differently, but always hold whole lines, and together the whole text. */
static void test_chunks_hold_every_line_once(void **state)
{
    struct fixture *fixture = *state;
    char text[400], joined[400];
    for (uint64_t round = 1; round <= 300; round++) {
        uint64_t seed = round;
        size_t size = make_text(&seed, text, sizeof text), done = 0;
        write_file(fixture->path, text, size);
        struct mr_reader_options options = options_of("chunk");
        for (size_t at = 0; at < size;) {
            size_t length = 1 + draw(&seed, 90);
            length = length < size - at ? length : size - at;
            struct mr_split split = {fixture->path, at, length, draw(&seed, 20)};
            struct mr_reader *reader;
            struct mr_record record;
            assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, NULL), 0);
            while (mr_reader_next(reader, &record, NULL) == 1) {
                assert_int_equal(record.offset, done);
                assert_true(done == 0 || text[done - 1] == '\n');
                assert_true(done + record.data.size <= size);
                memcpy(joined + done, record.data.data, record.data.size);
                done += record.data.size;
            }
            mr_reader_close(reader);
            at += length;
        }
        if (done != size || memcmp(joined, text, size) != 0)
            fail_msg("seed %llu", (unsigned long long)round);
    }
}

/* ---- the world ---- */

static void test_shrunken_file_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("lines");
    struct mr_reader *reader;
    struct mr_record record;
    struct peri_error err = PERI_ERROR_INIT;
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    memset(text, '\n', SIZE);
    write_file(fixture->path, text, SIZE);
    free(text);
    struct mr_split split = {.path = fixture->path, .length = SIZE};
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, NULL), 0);
    assert_int_equal(mr_reader_next(reader, &record, NULL), 1);
    assert_int_equal(truncate(fixture->path, 5), 0);
    int rc;
    while ((rc = mr_reader_next(reader, &record, &err)) == 1)
        ;
    assert_int_equal(rc, PERI_ECORRUPT);
    assert_non_null(strstr(err.text, "shrank"));
    assert_false(mr_reader_can_skip(reader));
    assert_int_equal(mr_reader_next(reader, &record, &err), PERI_ECORRUPT);
    mr_reader_close(reader);
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), PERI_ECORRUPT);
    assert_int_equal(truncate(fixture->path, 0), 0);
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), PERI_ECORRUPT);
}

static void test_missing_and_unreadable(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("lines");
    struct mr_reader *reader;
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_split split = {.path = "/nonexistent/file", .length = 1};
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), -2);
    split.path = "/tmp";
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), -21);
}

static void test_compressed_by_suffix_and_magic(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("lines");
    struct seen seen = {0};
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_reader *reader;
    bool is_stream = false;
    gzFile gz = gzopen(fixture->path, "wb");
    assert_int_equal(gzputs(gz, "a\nb"), 3);
    assert_int_equal(gzclose(gz), Z_OK);
    assert_int_equal(
        mr_reader_probe(fixture->env, fixture->path, MR_FORMAT_LINES, &is_stream, NULL), 0);
    assert_true(is_stream);
    struct mr_split split = {.path = fixture->path, .length = MR_SPLIT_TO_END};
    read_range(fixture, &split, &options, &seen);
    assert_string_equal(seen.text, "0:a|2:b|");
    split.offset = 1;
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), PERI_EINVAL);

    char named[80];
    (void)snprintf(named, sizeof named, "%s.gz", fixture->path);
    write_file(named, "no gzip", 7);
    struct mr_record record;
    split = (struct mr_split){.path = named, .length = MR_SPLIT_TO_END};
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), 0);
    assert_int_equal(mr_reader_next(reader, &record, &err), PERI_EFORMAT);
    assert_non_null(strstr(err.text, named));
    assert_false(mr_reader_can_skip(reader));
    mr_reader_close(reader);
    unlink(named);
}

static void test_standard_input(void **state)
{
    struct fixture *fixture = *state;
    struct mr_reader_options options = options_of("lines");
    struct seen seen = {0};
    int ends[2], saved = dup(0);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "ab\nc\n", 5), 5);
    close(ends[1]);
    assert_int_equal(dup2(ends[0], 0), 0);
    close(ends[0]);
    read_range(fixture, &(struct mr_split){.path = "-", .length = MR_SPLIT_TO_END}, &options,
               &seen);
    dup2(saved, 0);
    close(saved);
    assert_string_equal(seen.text, "0:ab|3:c|");
}

static void test_format_names(void **state)
{
    (void)state;
    struct mr_format_spec spec;
    struct peri_error err = PERI_ERROR_INIT;
    static const char *const wrong[] = {
        "", "fixed", "fixed:", "fixed:0", "fixed:9x", "Lines", "fixed:99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(mr_format_parse(wrong[i], &spec, &err), PERI_EINVAL);
    assert_int_equal(mr_format_parse("fixed:100", &spec, NULL), 0);
    assert_int_equal(spec.fixed_size, 100);
    assert_string_equal(mr_format_name(MR_FORMAT_JSONL), "jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_key_and_value),
        cmocka_unit_test(test_csv_header),
        cmocka_unit_test(test_long_records_are_skippable),
        cmocka_unit_test(test_gigantic_lines),
        cmocka_unit_test(test_any_cut_gives_the_same_records),
        cmocka_unit_test(test_any_cut_of_a_byte_order_mark),
        cmocka_unit_test(test_chunks_hold_every_line_once),
        cmocka_unit_test(test_shrunken_file_is_an_error),
        cmocka_unit_test(test_missing_and_unreadable),
        cmocka_unit_test(test_compressed_by_suffix_and_magic),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_format_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
