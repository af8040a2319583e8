/* Cutting strings into the pieces that clients appended. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "check/pieces.h"

enum { PIECES_MAX = 4, CUT_MAX = 8 };

static const struct {
    const char *pieces[PIECES_MAX];
    int result;
    const char *text;
    const char *cut; /* indices of pieces; "?" where the text goes on with none */
} CASES[] = {
    {{"1;", "12;", "2;"}, 0, "12;1;2;1;", "1020"},
    {{"1;", "12;", "2;"}, 0, "1;1", "0?"},
    {{"b", "a", "c", "b"}, 0, "abcb", "1020"},
    {{"x", ""}, 0, "xx", "00"},
    {{""}, 0, "x", "?"},
    {{"x"}, 0, "", ""},
    {{"1", "2", "12"}, PERI_EINVAL, "", ""},
    {{"ab", "z", "a"}, PERI_EINVAL, "", ""},
    {{"a", "a-", "a."}, PERI_EINVAL, "", ""},
};

static size_t index_of(const check_value *values, check_value value)
{
    size_t i = 0;
    while (i < PIECES_MAX && values[i] != value)
        i++;
    return i;
}

static void cut(struct check_pieces *pieces, const check_value *values, const char *text,
                char *result)
{
    struct peri_slice rest = peri_slice_of(text, strlen(text));
    while (rest.size > 0) {
        check_value piece = check_pieces_next(pieces, &rest);
        *result++ = piece == CHECK_NIL ? '?' : (char)('0' + index_of(values, piece));
        if (piece == CHECK_NIL)
            break;
    }
    *result = '\0';
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct check_values *values;
        struct check_pieces *pieces;
        check_value strings[PIECES_MAX] = {0};
        char result[CUT_MAX];
        size_t count = 0;
        assert_int_equal(check_values_create(&values), 0);
        for (; count < PIECES_MAX && CASES[i].pieces[count] != NULL; count++) {
            const char *piece = CASES[i].pieces[count];
            assert_int_equal(
                check_value_string(values, peri_slice_of(piece, strlen(piece)), &strings[count]),
                0);
        }
        int rc = check_pieces_create(&pieces, values, strings, count);
        assert_int_equal(rc, CASES[i].result);
        if (rc == 0) {
            cut(pieces, strings, CASES[i].text, result);
            assert_string_equal(result, CASES[i].cut);
            check_pieces_close(pieces);
        }
        check_values_close(values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
