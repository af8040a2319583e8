/* Typed text: every datum comes back as it was, and any text can be read. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mapreduce/typed.h"
#include "mapreduce/value.h"

static struct mr_datum string_of(const char *data, size_t size)
{
    return (struct mr_datum){.type = MR_STRING, .string = {data, size}};
}

static void assert_same(const struct mr_datum *a, const struct mr_datum *b)
{
    assert_int_equal(a->type, b->type);
    if (a->type == MR_INTEGER)
        assert_true(a->integer == b->integer);
    if (a->type == MR_FLOAT)
        assert_true(a->number == b->number || (isnan(a->number) && isnan(b->number)));
    if (a->type == MR_STRING || a->type == MR_TABLE)
        assert_int_equal(peri_slice_compare(a->string, b->string), 0);
}

static void check_round_trip(const struct mr_datum *datum)
{
    struct peri_buffer text = {0};
    struct peri_buffer scratch = {0};
    struct mr_datum back;
    assert_int_equal(mr_typed_append(&text, datum), 0);
    for (size_t i = 0; i < text.size; i++)
        assert_true(text.data[i] != '\t' && text.data[i] != '\n');
    assert_int_equal(mr_typed_read(peri_buffer_slice(&text), &back, &scratch), 0);
    assert_same(datum, &back);
    peri_buffer_deinit(&text);
    peri_buffer_deinit(&scratch);
}

static void test_writes_what_it_says(void **state)
{
    (void)state;
    const struct {
        struct mr_datum datum;
        const char *text;
    } cases[] = {
        {{.type = MR_NIL}, "\\z"},
        {{.type = MR_TRUE}, "true"},
        {{.type = MR_INTEGER, .integer = -12}, "-12"},
        {{.type = MR_FLOAT, .number = 2.0}, "2.0"},
        {{.type = MR_FLOAT, .number = 0.1}, "0.10000000000000001"},
        {{.type = MR_FLOAT, .number = -INFINITY}, "\\j"},
        {string_of("word", 4), "word"},
        {string_of("12", 2), "\\s12"},
        {string_of("007", 3), "007"},
        {string_of("true", 4), "\\strue"},
        {string_of("a\tb\\", 4), "a\\tb\\\\"},
        {string_of("\\z", 2), "\\\\z"},
        {{.type = MR_TABLE, .string = {"\x91\x01", 2}}, "\\m9101"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_buffer text = {0};
        assert_int_equal(mr_typed_append(&text, &cases[i].datum), 0);
        assert_true(text.size == strlen(cases[i].text));
        assert_memory_equal(text.data, cases[i].text, text.size);
        peri_buffer_deinit(&text);
        check_round_trip(&cases[i].datum);
    }
}

static void test_any_datum_comes_back(void **state)
{
    (void)state;
    static const char alphabet[] = "\t\n\r\\sztnrmijk0123456789.-+e \0truefalse";
    uint32_t seed = 12345;
    for (int round = 0; round < 20000; round++) {
        char bytes[12];
        seed = seed * 1664525u + 1013904223u;
        size_t size = (seed >> 8) % sizeof bytes;
        for (size_t i = 0; i < size; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = alphabet[(seed >> 8) % sizeof alphabet];
        }
        struct mr_datum string = string_of(bytes, size);
        check_round_trip(&string);
        struct mr_datum integer = {.type = MR_INTEGER,
                                   .integer = (int64_t)seed * (int64_t)(seed >> 1)};
        check_round_trip(&integer);
        struct mr_datum number = {.type = MR_FLOAT};
        uint64_t bits = (uint64_t)seed << 32 | (seed * 2654435761u);
        memcpy(&number.number, &bits, sizeof bits);
        check_round_trip(&number);
    }
}

static void check_line(const char *line, size_t parts_expected, const char *key_text,
                       enum mr_type value_type)
{
    struct peri_buffer key = {0};
    struct peri_buffer value = {0};
    struct peri_buffer scratch = {0};
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    struct mr_datum datum;
    size_t count;
    assert_int_equal(mr_typed_line(peri_slice_of(line, strlen(line)), &key, &value, &scratch, NULL),
                     0);
    assert_int_equal(mr_key_decode(peri_buffer_slice(&key), parts, &count, &scratch, NULL), 0);
    assert_true(count == parts_expected);
    assert_true(parts[0].string.size == strlen(key_text));
    assert_memory_equal(parts[0].string.data, key_text, strlen(key_text));
    assert_int_equal(mr_value_decode(peri_buffer_slice(&value), &datum), 0);
    assert_int_equal(datum.type, value_type);
    peri_buffer_deinit(&key);
    peri_buffer_deinit(&value);
    peri_buffer_deinit(&scratch);
}

static void test_lines(void **state)
{
    (void)state;
    check_line("a\t1", 1, "a", MR_INTEGER);
    check_line("a\t2\tx", 2, "a", MR_STRING);
    check_line("a", 1, "a", MR_NIL);
    check_line("a\t", 1, "a", MR_STRING);
    check_line("", 1, "", MR_NIL);
    check_line("a\t1\t2\t3", 1, "a", MR_STRING);
    check_line("a\\tb\t\\m80", 1, "a\tb", MR_TABLE);
    check_line("a\t\\mzz", 1, "a", MR_STRING);

    struct peri_buffer key = {0};
    struct peri_buffer value = {0};
    struct peri_buffer scratch = {0};
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(mr_typed_line(peri_slice_of("\\z\t1", 4), &key, &value, &scratch, &err),
                     PERI_EINVAL);
    assert_int_equal(mr_typed_line(peri_slice_of("\\k\t1", 4), &key, &value, &scratch, &err),
                     PERI_EINVAL);
    peri_buffer_deinit(&key);
    peri_buffer_deinit(&value);
    peri_buffer_deinit(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_what_it_says),
        cmocka_unit_test(test_any_datum_comes_back),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
