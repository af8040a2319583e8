/* MessagePack without Lua: numbers at the borders of their forms, and what is malformed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/pack.h"

static const uint64_t borders[] = {0,          1,
                                   127,        128,
                                   255,        256,
                                   65535,      65536,
                                   UINT32_MAX, UINT64_C(1) << 32,
                                   INT64_MAX,  (uint64_t)INT64_MAX + 1,
                                   UINT64_MAX};
static const size_t sizes[] = {1, 1, 1, 2, 2, 3, 3, 5, 5, 9, 9, 9, 9};

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof borders / sizeof borders[0]; i++) {
        struct peri_buffer bytes = {NULL, 0, 0};
        struct wire_packer out = {&bytes, 0};
        wire_pack_uint(&out, borders[i]);
        assert_int_equal(bytes.size, sizes[i]);
        struct wire_unpacker in = wire_unpack(peri_buffer_slice(&bytes));
        assert_true(wire_unpack_uint(&in) == borders[i]);
        assert_int_equal(wire_unpack_end(&in), 0);
        in = wire_unpack(peri_buffer_slice(&bytes));
        assert_true(wire_unpack_int(&in) == (borders[i] <= INT64_MAX ? (int64_t)borders[i] : 0));
        assert_int_equal(wire_unpack_end(&in), borders[i] <= INT64_MAX ? 0 : PERI_EFORMAT);
        peri_buffer_deinit(&bytes);
    }
}

static void test_negative(void **state)
{
    static const int64_t numbers[] = {
        -1, -32, -33, -128, -129, -32768, -32769, INT32_MIN, (int64_t)INT32_MIN - 1, INT64_MIN};
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct peri_buffer bytes = {NULL, 0, 0};
        struct wire_packer out = {&bytes, 0};
        wire_pack_int(&out, numbers[i]);
        struct wire_unpacker in = wire_unpack(peri_buffer_slice(&bytes));
        assert_true(wire_unpack_int(&in) == numbers[i]);
        assert_int_equal(wire_unpack_end(&in), 0);
        in = wire_unpack(peri_buffer_slice(&bytes));
        assert_int_equal(wire_unpack_uint(&in), 0);
        assert_int_equal(wire_unpack_end(&in), PERI_EFORMAT);
        peri_buffer_deinit(&bytes);
    }
}

static void test_double(void **state)
{
    static const unsigned char expected[] = {0xcb, 0xbf, 0xf8, 0, 0, 0, 0, 0, 0};
    struct peri_buffer bytes = {NULL, 0, 0};
    struct wire_packer out = {&bytes, 0};
    (void)state;
    wire_pack_double(&out, -1.5);
    assert_int_equal(out.rc, 0);
    assert_int_equal(bytes.size, sizeof expected);
    assert_memory_equal(bytes.data, expected, sizeof expected);
    peri_buffer_deinit(&bytes);
}

static void test_others(void **state)
{
    static char long_bytes[70000];
    static const size_t lengths[] = {0, 1, 255, 256, 65535, 65536};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct peri_buffer bytes = {NULL, 0, 0};
        struct wire_packer out = {&bytes, 0};
        wire_pack_bytes(&out, peri_slice_of(long_bytes, lengths[i]));
        wire_pack_bool(&out, i % 2 == 0);
        wire_pack_array(&out, (uint32_t)lengths[i]);
        size_t before = bytes.size;
        for (size_t item = 0; item < lengths[i]; item++)
            wire_pack_nil(&out);
        struct wire_unpacker in = wire_unpack(peri_buffer_slice(&bytes));
        assert_int_equal(wire_unpack_bytes(&in).size, lengths[i]);
        assert_int_equal(wire_unpack_bool(&in), i % 2 == 0);
        assert_int_equal(wire_unpack_array(&in), lengths[i]);
        assert_ptr_equal(in.at, bytes.data + before);
        peri_buffer_deinit(&bytes);
    }
}

static void test_malformed(void **state)
{
    static const struct peri_slice cases[] = {{"", 0},         {"\xc1", 1},
                                              {"\xc4", 1},     {"\xc4\x02x", 3},
                                              {"\xa2x", 2},    {"\xdb\xff\xff\xff\xff", 5},
                                              {"\x92\x01", 2}, {"\xdd\xff\xff\xff\xff", 5},
                                              {"\xcd\x01", 2}, {"\xd3\x01", 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_unpacker in = wire_unpack(cases[i]);
        assert_int_equal(wire_unpack_bytes(&in).size, 0);
        assert_int_equal(wire_unpack_end(&in), PERI_EFORMAT);
        in = wire_unpack(cases[i]);
        assert_int_equal(wire_unpack_array(&in), 0);
        assert_int_equal(wire_unpack_end(&in), PERI_EFORMAT);
        in = wire_unpack(cases[i]);
        assert_int_equal(wire_unpack_int(&in), 0);
        assert_int_equal(wire_unpack_end(&in), PERI_EFORMAT);
        in = wire_unpack(cases[i]);
        assert_false(wire_unpack_bool(&in));
        assert_int_equal(wire_unpack_end(&in), PERI_EFORMAT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_negative),
                                       cmocka_unit_test(test_double), cmocka_unit_test(test_others),
                                       cmocka_unit_test(test_malformed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
