#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"

static void characters_have_lengths(void **state)
{
    static const struct {
        const char *what, *bytes;
        size_t length;
    } cases[] = {
        {"ASCII", "a", 1},
        {"first of two bytes", "\xC2\x80", 2},
        {"last of two bytes", "\xDF\xBF", 2},
        {"first of three bytes", "\xE0\xA0\x80", 3},
        {"before the surrogates", "\xED\x9F\xBF", 3},
        {"behind the surrogates", "\xEE\x80\x80", 3},
        {"first of four bytes", "\xF0\x90\x80\x80", 4},
        {"last of all", "\xF4\x8F\xBF\xBF", 4},
        {"lone continuation", "\x80", 0},
        {"overlong two", "\xC1\xBF", 0},
        {"overlong three", "\xE0\x9F\xBF", 0},
        {"overlong four", "\xF0\x8F\xBF\xBF", 0},
        {"surrogate", "\xED\xA0\x80", 0},
        {"above U+10FFFF", "\xF4\x90\x80\x80", 0},
        {"no such first byte", "\xFF", 0},
        {"bad second byte", "\xC2\x41", 0},
        {"bad third byte", "\xE1\x80\x41", 0},
        {"bad fourth byte", "\xF1\x80\x80\x41", 0},
        {"unfinished two", "\xC2", 0},
        {"unfinished three", "\xE1\x80", 0},
        {"unfinished four", "\xF1\x80\x80", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_slice bytes = peri_slice_of(cases[i].bytes, strlen(cases[i].bytes));
        if (peri_utf8_length(bytes) != cases[i].length ||
            peri_utf8_is_valid(bytes) != (cases[i].length > 0))
            fail_msg("%s", cases[i].what);
    }
}

static void text_is_valid_as_a_whole(void **state)
{
    (void)state;
    assert_true(peri_utf8_is_valid(peri_slice_of(NULL, 0)));
    assert_true(peri_utf8_is_valid(peri_slice_of("a\0\xC3\xA9", 4)));
    assert_false(peri_utf8_is_valid(peri_slice_of("text\xC3", 5)));
}

/* Wherever a byte stands that is not ASCII, it is looked at. */
static void every_byte_counts(void **state)
{
    enum { SIZE = 40 };
    char text[SIZE];
    (void)state;
    for (size_t size = 2; size <= SIZE; size++)
        for (size_t at = 0; at + 1 < size; at++) {
            memset(text, 'x', sizeof text);
            text[at] = '\xC3';
            text[at + 1] = '\xA9';
            assert_true(peri_utf8_is_valid(peri_slice_of(text, size)));
            text[at] = 'x';
            assert_false(peri_utf8_is_valid(peri_slice_of(text, size)));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_have_lengths),
        cmocka_unit_test(text_is_valid_as_a_whole),
        cmocka_unit_test(every_byte_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
