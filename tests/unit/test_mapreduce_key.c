/* Keys order by bytes as they order by value, and come back as they were; so do values. */
#include "mr_fixture.h"

#include <math.h>

#include "mapreduce/partition.h"

/* Parts near every border of the encoding. */
static struct mr_datum edge_of(uint64_t *seed)
{
    static const double floats[] = {0.5,     -0.5,   1e300,  -1e300, 0x1p53,    0x1p63,
                                    -0x1p63, 0x1p62, 1e-320, -0.0,   0x1p53 + 2};
    static const int64_t integers[] = {0,
                                       1,
                                       -1,
                                       INT64_MAX,
                                       INT64_MIN,
                                       INT64_C(1) << 53,
                                       (INT64_C(1) << 53) + 1,
                                       (INT64_C(1) << 62) + 777,
                                       -(INT64_C(1) << 53) - 1,
                                       INT64_MAX - 1023,
                                       INT64_MAX - 1024,
                                       255};
    static const char strings[][4] = {
        {0}, {0, 1}, {'a'}, {'a', 0}, {'a', 0, 1}, {'a', 0, (char)0xff}, {(char)0xff}, {'a', 'b'}};
    static const uint8_t lengths[] = {0, 2, 1, 2, 3, 3, 1, 2};
    size_t i = random_below(seed, 8);
    switch (random_below(seed, 6)) {
    case 0:
        return (struct mr_datum){.type = (enum mr_type)random_below(seed, 3)};
    case 1:
        return float_of(floats[random_below(seed, 11)]);
    case 2:
        return float_of(
            ldexp((double)(int64_t)random_next(seed), (int)random_below(seed, 200) - 150));
    case 3:
        return integer_of(integers[random_below(seed, 12)]);
    case 4:
        return integer_of((int64_t)random_next(seed) >> random_below(seed, 64));
    default:
        return (struct mr_datum){.type = MR_STRING, .string = {strings[i], lengths[i]}};
    }
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

static int compare_parts(const struct mr_datum *a, const struct mr_datum *b, size_t count)
{
    int order = 0;
    for (size_t i = 0; order == 0 && i < count; i++)
        order = mr_datum_compare(&a[i], &b[i]);
    return sign(order);
}

static void test_order(void **state)
{
    struct peri_buffer x = {0};
    struct peri_buffer y = {0};
    (void)state;
    for (uint64_t seed = 0, round = 0; round < 200000; round++) {
        struct mr_datum a[3];
        struct mr_datum b[3];
        size_t count = 1 + round % 3;
        for (size_t i = 0; i < count; i++) {
            a[i] = edge_of(&seed);
            b[i] = random_below(&seed, 2) == 0 ? a[i] : edge_of(&seed);
        }
        x.size = y.size = 0;
        assert_int_equal(mr_key_encode(a, count, &x, NULL), 0);
        assert_int_equal(mr_key_encode(b, count, &y, NULL), 0);
        int order = sign(peri_slice_compare(peri_buffer_slice(&x), peri_buffer_slice(&y)));
        if (order != compare_parts(a, b, count))
            fail_msg("round %d: bytes and values disagree", (int)round);
    }
    peri_buffer_deinit(&x);
    peri_buffer_deinit(&y);
}

static void test_round_trip(void **state)
{
    struct peri_buffer bytes = {0};
    struct peri_buffer scratch = {0};
    (void)state;
    for (uint64_t seed = 7, round = 0; round < 100000; round++) {
        struct mr_datum parts[MR_KEY_PARTS_MAX];
        struct mr_datum back[MR_KEY_PARTS_MAX];
        size_t count = 1 + round % MR_KEY_PARTS_MAX;
        size_t got = 0;
        for (size_t i = 0; i < count; i++)
            parts[i] = edge_of(&seed);
        bytes.size = 0;
        assert_int_equal(mr_key_encode(parts, count, &bytes, NULL), 0);
        assert_int_equal(mr_key_decode(peri_buffer_slice(&bytes), back, &got, &scratch, NULL), 0);
        assert_int_equal(got, count);
        assert_int_equal(compare_parts(parts, back, count), 0);
        bool is_float = parts[0].type == MR_FLOAT && back[0].type == MR_FLOAT;
        assert_true(is_float || back[0].type == parts[0].type || back[0].type == MR_INTEGER);
        struct peri_slice first = mr_key_first_parts(peri_buffer_slice(&bytes), count);
        assert_int_equal(first.size, bytes.size);
        first = mr_key_first_parts(peri_buffer_slice(&bytes), 1 + round % count);
        assert_int_equal(mr_key_decode(first, back, &got, &scratch, NULL), 0);
        assert_int_equal(got, 1 + round % count);
        assert_int_equal(compare_parts(parts, back, got), 0);
    }
    peri_buffer_deinit(&bytes);
    peri_buffer_deinit(&scratch);
}

static void test_refusals(void **state)
{
    struct peri_buffer out = {0};
    struct mr_datum parts[MR_KEY_PARTS_MAX + 1] = {{.type = MR_FLOAT, .number = NAN}};
    struct mr_datum table = {.type = MR_TABLE, .string = {"\x90", 1}};
    (void)state;
    assert_int_equal(mr_key_encode(parts, 1, &out, NULL), PERI_EINVAL);
    assert_int_equal(mr_key_encode(&table, 1, &out, NULL), PERI_EINVAL);
    assert_int_equal(mr_key_encode(parts + 1, MR_KEY_PARTS_MAX + 1, &out, NULL), PERI_ETOOBIG);
    assert_int_equal(out.size, 0);
    peri_buffer_deinit(&out);
}

/* Any bytes are decoded or refused, and what is decoded encodes again. */
static void test_garbage(void **state)
{
    struct peri_buffer scratch = {0};
    (void)state;
    for (uint64_t seed = 1, round = 0; round < 200000; round++) {
        struct mr_datum parts[MR_KEY_PARTS_MAX];
        struct mr_datum value;
        char bytes[20];
        size_t count;
        size_t size = random_below(&seed, sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] =
                (char)(random_below(&seed, 2) == 0 ? random_below(&seed, 8) : random_next(&seed));
        struct peri_slice slice = peri_slice_of(bytes, size);
        struct peri_buffer out = {0};
        if (mr_key_decode(slice, parts, &count, &scratch, NULL) == 0)
            assert_int_equal(mr_key_encode(parts, count, &out, NULL), 0);
        if (mr_value_decode(slice, &value) == 0)
            assert_int_equal(mr_value_encode(&value, &out), 0);
        peri_buffer_deinit(&out);
    }
    peri_buffer_deinit(&scratch);
}

static void test_values(void **state)
{
    struct peri_buffer bytes = {0};
    (void)state;
    for (uint64_t seed = 3, round = 0; round < 100000; round++) {
        struct mr_datum value = edge_of(&seed);
        struct mr_datum back;
        struct peri_slice slice = value_of(&bytes, value);
        assert_int_equal(mr_value_decode(slice, &back), 0);
        assert_int_equal(back.type, value.type);
        assert_int_equal(mr_datum_compare(&value, &back), 0);
    }
    assert_int_equal(value_of(&bytes, integer_of(1)).size, 1);
    assert_int_equal(value_of(&bytes, integer_of(-1)).size, 2);
    peri_buffer_deinit(&bytes);
}

/* The functions are fixed: version 1 of the hash, and the lab's ihash. */
static void test_partitions(void **state)
{
    struct peri_buffer key = {0};
    struct mr_partitioner hash = {.partitions = 1000};
    struct mr_partitioner lab = {.mode = MR_PARTITION_FNV1A, .partitions = 10};
    struct mr_datum pair[2] = {string_of("alpha"), integer_of(1)};
    (void)state;
    struct peri_slice bytes = key_of(&key, pair[0]);
    uint32_t part = mr_partition_of(&hash, bytes);
    assert_int_equal(mr_partition_of(&lab, key_of(&key, string_of("a"))),
                     (0xe40c292cu & 0x7fffffffu) % 10);
    key.size = 0;
    assert_int_equal(mr_key_encode(pair, 2, &key, NULL), 0);
    assert_int_equal(mr_partition_of(&hash, peri_buffer_slice(&key)), part);
    struct peri_slice bounds[] = {{"\5b", 2}, {"\5d", 2}};
    struct mr_partitioner range = {MR_PARTITION_RANGE, 3, bounds, 2};
    assert_int_equal(mr_partition_of(&range, key_of(&key, string_of("a"))), 0);
    assert_int_equal(mr_partition_of(&range, key_of(&key, string_of("b"))), 1);
    assert_int_equal(mr_partition_of(&range, key_of(&key, string_of("z"))), 2);
    peri_buffer_deinit(&key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),    cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_partitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
