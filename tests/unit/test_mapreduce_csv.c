/* RFC 4180, its seven rules, and what real files do beyond them. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "mapreduce/csv.h"

/* Records as "[field][field]" lines; an unfinished last record gets a "?". */
static void parse(const char *text, size_t step, char *out, size_t max)
{
    size_t size = strlen(text), start = 0, at = 0, put = 0;
    enum mr_csv_place place = MR_CSV_FIELD_START;
    while (start < size) {
        size_t part = size - at < step ? size - at : step;
        size_t end = mr_csv_record_end(peri_slice_of(text + at, part), ',', &place);
        at += end > 0 ? end : part;
        if (end == 0 && at < size)
            continue;
        bool is_open = end == 0 && place == MR_CSV_QUOTED;
        size_t stop = at - (text[at - 1] == '\n');
        stop -= stop > start && text[at - 1] == '\n' && text[stop - 1] == '\r';
        struct mr_csv_fields fields =
            mr_csv_fields_of(peri_slice_of(text + start, stop - start), ',');
        struct mr_csv_field field;
        while (mr_csv_fields_next(&fields, &field)) {
            char value[200];
            size_t length = field.raw.size;
            memcpy(value, field.raw.data, length);
            if (field.has_quotes)
                length = mr_csv_unquote(field.raw, value);
            put += (size_t)snprintf(out + put, max - put, "[%.*s]", (int)length, value);
        }
        put += (size_t)snprintf(out + put, max - put, "%s;", is_open ? "?" : "");
        start = at;
        place = MR_CSV_FIELD_START;
    }
    out[put] = '\0';
}

static void test_rfc_4180(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n", "[aaa][bbb][ccc];[zzz][yyy][xxx];"}, /* rule 1 */
        {"aaa,bbb,ccc\r\nzzz,yyy,xxx", "[aaa][bbb][ccc];[zzz][yyy][xxx];"},     /* rule 2 */
        {"a, b ,c", "[a][ b ][c];"},                                            /* rule 4 */
        {"\"aaa\",\"bbb\",\"ccc\"\r\nzzz", "[aaa][bbb][ccc];[zzz];"},           /* rule 5 */
        {"\"aaa\",\"b\r\nb,b\",\"ccc\"\r\nz", "[aaa][b\r\nb,b][ccc];[z];"},     /* rule 6 */
        {"\"a\",\"b\"\"bb\",\"\"\"\"", "[a][b\"bb][\"];"},                      /* rule 7 */
        {",,\n\n,", "[][][];[];[][];"},
        {"\"\",\"\"\n", "[][];"},
        {"\"\"\"a\"\"\"\n", "[\"a\"];"},
        {"a\"b,c\"\nd", "[a\"b][c\"];[d];"}, /* a quote inside a plain field */
        {"\"a\"b,c\nd", "[ab][c];[d];"},     /* bytes behind the closing quote */
        {"\"a\" \"b\",c", "[a \"b\"][c];"},
        {"x,\"open\nto the end", "[x][open\nto the end]?;"},
        {"\"ends with two\"\"", "[ends with two\"]?;"},
        {"\"", "[]?;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step < 40; step++) {
            char out[200];
            parse(cases[i].text, step, out, sizeof out);
            assert_string_equal(out, cases[i].expected);
        }
    }
}

/* Any values, written as RFC 4180 says, come back. */
static void test_written_values_come_back(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        char value[9] = "", record[64], out[200], expected[80];
        size_t put = 0, size;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size = (seed >> 60) % 8;
        record[put++] = '"';
        for (size_t i = 0; i < size; i++) {
            value[i] = "ab,\"\r\n"[(seed >> (8 + 4 * i)) % 6];
            record[put++] = value[i];
            if (value[i] == '"')
                record[put++] = '"';
        }
        memcpy(record + put, "\",x\r\n", 6);
        parse(record, 1 + seed % 5, out, sizeof out);
        (void)snprintf(expected, sizeof expected, "[%s][x];", value);
        assert_string_equal(out, expected);
    }
}

static void test_names(void **state)
{
    (void)state;
    struct mr_csv_names names;
    assert_int_equal(mr_csv_names_init(&names, peri_slice_of("a,\"b\"\"\",", 8), ','), 0);
    assert_int_equal(names.count, 3);
    assert_int_equal(peri_slice_compare(names.items[1], peri_slice_of("b\"", 2)), 0);
    assert_int_equal(names.items[2].size, 0);
    mr_csv_names_deinit(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rfc_4180),
                                       cmocka_unit_test(test_written_values_come_back),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
