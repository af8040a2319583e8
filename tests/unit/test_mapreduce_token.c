/* Words, pieces, sets and numbers. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapreduce/number.h"
#include "mapreduce/token.h"

static struct peri_slice slice(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

/* Every set means what Lua's own pattern [set] means, byte by byte. */
static void test_sets_are_those_of_lua(void **state)
{
    (void)state;
    static const char *const sets[] = {"%a",   "%c",  "%d",   "%g",   "%l",   "%p",  "%s",
                                       "%u",   "%w",  "%x",   "%A",   "%C",   "%D",  "%G",
                                       "%L",   "%P",  "%S",   "%U",   "%W",   "%X",  "a-z'",
                                       "%w_-", "^%s", "^a-c", "%-%%", "a%-z", "-az", "\x80-\xff"};
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct mr_class class;
        assert_int_equal(mr_class_compile(&class, slice(sets[i]), NULL), 0);
        lua_pushfstring(L, "[%s]", sets[i]);
        lua_setglobal(L, "set");
        for (int byte = 0; byte < 256; byte++) {
            lua_pushinteger(L, byte);
            lua_setglobal(L, "byte");
            assert_int_equal(luaL_dostring(L, "return string.char(byte):find(set) ~= nil"), 0);
            if (class.member[byte] != lua_toboolean(L, -1))
                fail_msg("set %s, byte %d", sets[i], byte);
            lua_settop(L, 0);
        }
    }
    lua_close(L);
    struct mr_class class;
    assert_int_equal(mr_class_compile(&class, slice(""), NULL), PERI_EINVAL);
    assert_int_equal(mr_class_compile(&class, slice("a%"), NULL), PERI_EINVAL);
    assert_int_equal(mr_class_compile(&class, slice("%a"), NULL), 0);
    assert_memory_equal(&class, &mr_class_letters, sizeof class);
    assert_int_equal(mr_class_compile(&class, slice("%s"), NULL), 0);
    assert_memory_equal(&class, &mr_class_space, sizeof class);
}

static void test_words(void **state)
{
    (void)state;
    struct mr_words words = mr_words_of(slice(" to be, 2 be\xc3\xa9"), &mr_class_letters);
    static const char *const expected[] = {"to", "be", "be"};
    struct peri_slice word;
    for (int i = 0; i < 3; i++) {
        assert_true(mr_words_next(&words, &word));
        assert_int_equal(peri_slice_compare(word, slice(expected[i])), 0);
    }
    assert_false(mr_words_next(&words, &word));
    assert_false(mr_words_next(&words, &word));
    words = mr_words_of((struct peri_slice){NULL, 0}, &mr_class_letters);
    assert_false(mr_words_next(&words, &word));
    assert_true(mr_word_find(slice("a b"), &mr_class_letters, 2, &word));
    assert_int_equal(*word.data, 'b');
    assert_false(mr_word_find(slice("a b"), &mr_class_letters, 3, &word));
}

/* Against a walk byte by byte, with words across and at the edges of blocks. */
static void test_words_of_any_text(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        char text[300];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t size = (size_t)(seed >> 33) % (round % 2 == 0 ? 300 : 70), at = 0;
        unsigned gap = 2 + (unsigned)(seed >> 60) * 4;
        for (size_t i = 0; i < size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            text[i] = (seed >> 33) % gap == 0 ? ' ' : 'a';
        }
        struct mr_words words = mr_words_of(peri_slice_of(text, size), &mr_class_letters);
        struct peri_slice word;
        while (mr_words_next(&words, &word)) {
            while (text[at] == ' ')
                at++;
            assert_ptr_equal(word.data, text + at);
            size_t start = at;
            while (at < size && text[at] != ' ')
                at++;
            assert_int_equal(word.size, at - start);
        }
        while (at < size)
            assert_int_equal(text[at++], ' ');
        assert_false(mr_words_next(&words, &word));
    }
}

/* Every byte at every place of a text: letters are found by vectors, other classes by a table. */
static void test_words_of_any_byte(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 70; size++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char text[70];
            size_t at = (size * 7 + byte) % size;
            memset(text, '-', size);
            text[at] = (char)byte;
            struct mr_words words = mr_words_of(peri_slice_of(text, size), &mr_class_letters);
            struct peri_slice word;
            bool is_letter = mr_class_letters.member[byte] != 0;
            assert_int_equal(mr_words_next(&words, &word), is_letter);
            if (is_letter)
                assert_ptr_equal(word.data, text + at);
        }
    }
}

static void assert_lines(const char *text, const char *needle, const char *expected)
{
    char joined[200];
    size_t size = 0;
    struct mr_lines lines = mr_lines_of(slice(text), slice(needle));
    struct peri_slice line;
    while (mr_lines_next(&lines, &line)) {
        memcpy(joined + size, line.data, line.size);
        size += line.size;
        joined[size++] = '|';
    }
    joined[size] = '\0';
    assert_string_equal(joined, expected);
    assert_false(mr_lines_next(&lines, &line));
}

static void test_lines(void **state)
{
    (void)state;
    assert_lines("", "", "");
    assert_lines("a\nbb\r\n\nc", "", "a|bb||c|");
    assert_lines("ab\nb\nxaby ab\r\nno\nab", "ab", "ab|xaby ab|ab|");
    assert_lines("ab\nb\n", "zz", "");
    assert_lines("ab\r\nb\n", "b\r", "");       /* a line has no line end */
    assert_lines("ab\nba\nabba\n", "b\nb", ""); /* nor two lines in one */
}

static void test_pieces(void **state)
{
    (void)state;
    struct peri_slice piece;
    assert_true(mr_piece_find(slice(",b,"), slice(","), 3, &piece));
    assert_int_equal(piece.size, 0);
    assert_false(mr_piece_find(slice(",b,"), slice(","), 4, &piece));
    assert_true(mr_piece_find(slice("a::b:c"), slice("::"), 2, &piece));
    assert_int_equal(peri_slice_compare(piece, slice("b:c")), 0);
    assert_true(mr_piece_find((struct peri_slice){NULL, 0}, slice(","), 1, &piece));
    assert_false(mr_piece_find((struct peri_slice){NULL, 0}, slice(","), 2, &piece));
    assert_int_equal(mr_find(slice("abcabc"), slice("bc"), 2), 4);
    assert_int_equal(mr_find(slice("abc"), slice("d"), 0), SIZE_MAX);
    assert_int_equal(mr_find(slice("abc"), slice(""), 3), 3);
    assert_int_equal(mr_find(slice("abc"), slice("c"), 3), SIZE_MAX);
}

/* The first place that the definition allows. */
static size_t find_slowly(struct peri_slice text, struct peri_slice needle, size_t from)
{
    for (size_t at = from; at + needle.size <= text.size; at++)
        if (memcmp(text.data + at, needle.data, needle.size) == 0)
            return at;
    return SIZE_MAX;
}

/* Texts of two letters, so that needles nearly match often; each in a block of its very size, so
 * that a read beyond it is seen. */
static void test_find_in_any_text(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t size = 1 + (seed >> 33) % 90;
        size_t needle_size = 1 + (seed >> 40) % (round % 2 == 0 ? 4 : 40);
        char *bytes = malloc(size + needle_size);
        char *text = malloc(size);
        for (size_t i = 0; i < size + needle_size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = seed >> 61 == 0 ? 'b' : 'a';
        }
        memcpy(text, bytes, size);
        struct peri_slice needle = peri_slice_of(bytes + (seed >> 50) % size, needle_size);
        size_t from = (seed >> 40) % (size + 1);
        size_t found = mr_find(peri_slice_of(text, size), needle, from);
        if (found != find_slowly(peri_slice_of(text, size), needle, from))
            fail_msg("round %d: '%.*s' in '%.*s' from %zu: %zu", round, (int)needle.size,
                     needle.data, (int)size, text, from, found);
        free(text);
        free(bytes);
    }
}

/* Compares with Lua's tonumber, and the type too. */
static void check_number(lua_State *L, const char *text)
{
    struct mr_number number;
    bool is_number = mr_number_parse(slice(text), &number);
    lua_getglobal(L, "tonumber");
    lua_pushstring(L, text);
    lua_call(L, 1, 1);
    if (is_number != (lua_type(L, -1) == LUA_TNUMBER))
        fail_msg("'%s' is %sa number here", text, is_number ? "" : "not ");
    if (is_number && number.is_integer != lua_isinteger(L, -1))
        fail_msg("'%s' has another type", text);
    double value = number.is_integer ? (double)number.integer : number.number;
    double lua = lua_tonumber(L, -1);
    if (is_number && number.is_integer && number.integer != lua_tointeger(L, -1))
        fail_msg("'%s' is another integer", text);
    /* The very bits are compared, so that -0.0 is not 0.0. NOLINTNEXTLINE */
    if (is_number && !number.is_integer && memcmp(&value, &lua, sizeof lua) != 0)
        fail_msg("'%s' is %.17g, for Lua %.17g", text, value, lua);
    lua_pop(L, 1);
}

static void test_numbers_are_those_of_lua(void **state)
{
    (void)state;
    static const char *const texts[] = {"0",
                                        "-0",
                                        "-0.0",
                                        "42",
                                        " 42\t\n",
                                        "+7",
                                        "-7",
                                        "+-7",
                                        "",
                                        " ",
                                        "-",
                                        ".",
                                        "1.",
                                        ".5",
                                        "-.5e1",
                                        "1e",
                                        "1e+",
                                        "1e5",
                                        "1E-5",
                                        "1e400",
                                        "1e-400",
                                        "-1e400",
                                        "1e22",
                                        "1e23",
                                        "123456789012345678",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "-9223372036854775808",
                                        "-9223372036854775809",
                                        "00000000000000000000000000012",
                                        "99999999999999999999999999",
                                        "0.1",
                                        "3.14159",
                                        "1e99999999999",
                                        "2.2250738585072014e-308",
                                        "5e-324",
                                        "1.7976931348623157e308",
                                        "0.000000000000000000000001",
                                        "123456789012345678901234567890.5e-20",
                                        "1 2",
                                        "1x",
                                        "x1",
                                        "nan",
                                        "inf",
                                        "infinity",
                                        "1..2",
                                        "9007199254740993",
                                        "9007199254740993.0",
                                        "100000000000000000000000e-22",
                                        "e5",
                                        ".e5"};
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check_number(L, texts[i]);
    uint64_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        char text[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int digits = (int)(seed >> 59);
        (void)snprintf(text, sizeof text, "%.*g", digits,
                       (double)(int64_t)seed / (double)(seed >> 40));
        check_number(L, text);
        static const char alphabet[] = "0123456789.e-";
        size_t size = (seed >> 54) & 15;
        for (size_t k = 0; k < size; k++)
            text[k] = alphabet[(seed >> (3 * k)) % 13];
        text[size] = '\0';
        check_number(L, text);
    }
    lua_close(L);
    struct mr_number number;
    assert_false(mr_number_parse(slice("0x10"), &number)); /* decimal only */
    assert_false(mr_number_parse(peri_slice_of("1\0", 2), &number));
}

static void test_lower(void **state)
{
    (void)state;
    char out[8];
    mr_lower(peri_slice_of("AZaz@[\xc9", 7), out);
    assert_memory_equal(out, "azaz@[\xc9", 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sets_are_those_of_lua),
                                       cmocka_unit_test(test_words),
                                       cmocka_unit_test(test_words_of_any_text),
                                       cmocka_unit_test(test_words_of_any_byte),
                                       cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_find_in_any_text),
                                       cmocka_unit_test(test_numbers_are_those_of_lua),
                                       cmocka_unit_test(test_lower)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
