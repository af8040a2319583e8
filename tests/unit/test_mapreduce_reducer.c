/* Reducers: known results, and the same bytes however the values are split and merged. */
#include "mr_fixture.h"

#include <math.h>

#include "mapreduce/room.h"
#include "mapreduce/values.h"

enum { CHUNKS = 7 };

static int grow_heap(void *data, struct mr_state *state, size_t capacity)
{
    (void)data;
    char *bytes = realloc(state->data, capacity);
    assert_non_null(bytes);
    state->data = bytes;
    state->capacity = capacity;
    return 0;
}

static const struct mr_room heap = {grow_heap, NULL};

static struct mr_reducer reducer_of(const char *name)
{
    struct mr_reducer reducer;
    struct peri_error err = PERI_ERROR_INIT;
    if (mr_reducer_parse(&reducer, name, &err) != 0)
        fail_msg("%s", err.text);
    return reducer;
}

static int add(const struct mr_reducer *reducer, struct mr_state *state, struct mr_datum datum,
               uint64_t offset)
{
    struct peri_buffer value = {0};
    const struct mr_position position = {0, offset, 0};
    int rc = mr_reducer_add(reducer, state, value_of(&value, datum), &position, &heap, NULL);
    peri_buffer_deinit(&value);
    return rc;
}

/* Result of the values, added in chunks (each value to a random one) that are then merged in a
 * random order. Decoded from out. */
static struct mr_datum reduce(const char *name, const struct mr_datum *values, size_t count,
                              size_t chunks, uint64_t *seed, struct peri_buffer *out)
{
    struct mr_reducer reducer = reducer_of(name);
    struct mr_state states[CHUNKS] = {{0}};
    struct mr_state merged = {0};
    struct peri_buffer encoded = {0};
    struct mr_datum result;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(add(&reducer, &states[random_below(seed, chunks)], values[i], i), 0);
    size_t start = random_below(seed, chunks);
    for (size_t i = 0; i < chunks; i++) {
        struct mr_state *state = &states[(start + i) % chunks];
        encoded.size = 0;
        if (state->size > 0) {
            assert_int_equal(mr_reducer_encode(&reducer, state, &encoded, NULL), 0);
            assert_int_equal(
                mr_reducer_merge(&reducer, &merged, peri_buffer_slice(&encoded), &heap, NULL), 0);
        }
        free(state->data);
    }
    out->size = 0;
    assert_int_equal(mr_reducer_finish(&reducer, &merged, out, NULL), 0);
    assert_int_equal(mr_value_decode(peri_buffer_slice(out), &result), 0);
    free(merged.data);
    peri_buffer_deinit(&encoded);
    return result;
}

static void expect(const char *name, const struct mr_datum *values, size_t count,
                   struct mr_datum expected)
{
    for (uint64_t round = 0; round < 20; round++) {
        struct peri_buffer got = {0};
        struct peri_buffer want = {0};
        uint64_t seed = round;
        (void)reduce(name, values, count, 1 + round % CHUNKS, &seed, &got);
        struct peri_slice bytes = value_of(&want, expected);
        if (peri_slice_compare(bytes, peri_buffer_slice(&got)) != 0)
            fail_msg("%s: round %d: another result", name, (int)round);
        peri_buffer_deinit(&got);
        peri_buffer_deinit(&want);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    const struct mr_datum wrap[] = {integer_of(INT64_MAX), integer_of(1), integer_of(5)};
    expect("sum", wrap, 3, integer_of(INT64_MIN + 5));
    expect("count", wrap, 3, integer_of(3));
    expect("min", wrap, 3, integer_of(1));
    expect("max", wrap, 3, integer_of(INT64_MAX));
    expect("avg", wrap, 3, float_of((9223372036854775807.0 + 6) / 3));
    const struct mr_datum cancel[] = {float_of(1e16), float_of(1), float_of(-1e16),
                                      float_of(0x1p-1074)};
    expect("sum", cancel, 4, float_of(1));
    const struct mr_datum overflow[] = {float_of(1.5e308), float_of(1.5e308), float_of(-1.5e308)};
    expect("sum", overflow, 3, float_of(1.5e308));
    const struct mr_datum tiny[] = {float_of(0x1p-1074), float_of(0x1p-1074), float_of(-0x1p-1073)};
    expect("sum", tiny, 2, float_of(0x1p-1073));
    expect("sum", tiny, 3, float_of(0));
    const struct mr_datum tie[] = {float_of(0x1p53), integer_of(1), float_of(0x1p-600)};
    expect("sum", tie, 2, float_of(0x1p53));
    expect("sum", tie, 3, float_of(0x1p53 + 2)); /* just above the tie */
    const struct mr_datum special[] = {float_of(INFINITY), float_of(3), float_of(-INFINITY)};
    expect("sum", special, 2, float_of(INFINITY));
    expect("sum", special, 3, float_of(NAN));
    const struct mr_datum mixed[] = {integer_of(-7), float_of(0.5)};
    expect("sum", mixed, 2, float_of(-6.5));
    expect("avg", mixed, 2, float_of(-3.25));
    expect("min", mixed, 2, integer_of(-7));
}

static void test_truth_and_edges(void **state)
{
    (void)state;
    const struct mr_datum values[] = {
        string_of("one"), {.type = MR_FALSE}, {.type = MR_NIL}, string_of("z")};
    expect("any", values, 4, (struct mr_datum){.type = MR_TRUE});
    expect("all", values, 4, (struct mr_datum){.type = MR_FALSE});
    expect("all", values, 1, (struct mr_datum){.type = MR_TRUE});
    expect("any", values + 1, 2, (struct mr_datum){.type = MR_FALSE});
    expect("first", values, 4, string_of("one"));
    expect("last", values, 4, string_of("z"));
    expect("max", values, 4, string_of("z"));
    expect("concat", values + 3, 1, string_of("z"));
}

static void test_lists(void **state)
{
    (void)state;
    const struct mr_datum values[] = {integer_of(3), integer_of(1), integer_of(3), float_of(2.5)};
    const struct mr_datum top = {.type = MR_TABLE, .string = {"\xdd\0\0\0\2\3\3", 7}};
    const struct mr_datum set = {.type = MR_TABLE,
                                 .string = {"\xdd\0\0\0\3\1\xcb\x40\4\0\0\0\0\0\0\3", 16}};
    expect("topk(2)", values, 4, top);
    expect("set", values, 4, set);
    expect("concat", values, 4, string_of("3132.5"));
    expect("distinct", values, 4, integer_of(3));
}

/* Random floats of all sizes: one result, whatever the split; and exactly that of long integers. */
static void test_split_independence(void **state)
{
    static const char *const names[] = {"sum", "avg",      "min",    "max",  "topk(5)",
                                        "set", "distinct", "concat", "first"};
    enum { COUNT = 400 };
    struct mr_datum values[COUNT];
    (void)state;
    for (uint64_t round = 0; round < 90; round++) {
        uint64_t seed = round;
        struct peri_buffer one = {0};
        struct peri_buffer many = {0};
        for (size_t i = 0; i < COUNT; i++) {
            double number =
                ldexp((double)(int64_t)random_next(&seed), (int)random_below(&seed, 1900) - 1000);
            values[i] = round % 2 == 0 && i % 3 == 0 ? integer_of((int64_t)random_next(&seed))
                                                     : float_of(number);
        }
        (void)reduce(names[round % 9], values, COUNT, 1, &seed, &one);
        (void)reduce(names[round % 9], values, COUNT, 2 + round % (CHUNKS - 1), &seed, &many);
        if (peri_slice_compare(peri_buffer_slice(&one), peri_buffer_slice(&many)) != 0)
            fail_msg("%s: seed %d: splits differ", names[round % 9], (int)round);
        peri_buffer_deinit(&one);
        peri_buffer_deinit(&many);
    }
}

static int64_t distinct_of_range(size_t count, size_t chunks)
{
    struct peri_buffer out = {0};
    uint64_t seed = count;
    struct mr_datum *values = calloc(2 * count, sizeof *values);
    for (size_t i = 0; i < 2 * count; i++)
        values[i] = integer_of((int64_t)(i % count));
    struct mr_datum result = reduce("distinct", values, 2 * count, chunks, &seed, &out);
    free(values);
    peri_buffer_deinit(&out);
    return result.integer;
}

static void test_distinct(void **state)
{
    (void)state;
    assert_int_equal(distinct_of_range(8192, 1), 8192);
    assert_int_equal(distinct_of_range(8192, CHUNKS), 8192);
    assert_in_range(distinct_of_range(8193, 3), 7900, 8500);
    int64_t estimate = distinct_of_range(200000, 1);
    assert_in_range(estimate, 195000, 205000);
    assert_int_equal(distinct_of_range(200000, CHUNKS), estimate);
}

static void test_refusals(void **state)
{
    (void)state;
    struct mr_reducer reducer = reducer_of("sum");
    struct mr_state sum = {0};
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(add(&reducer, &sum, string_of("12"), 0), PERI_EINVAL);
    free(sum.data);
    assert_int_equal(mr_reducer_parse(&reducer, "sums", &err), PERI_EINVAL);
    assert_non_null(strstr(err.text, "no reducer is called 'sums'"));
    assert_int_equal(mr_reducer_parse(&reducer, "topk(0)", &err), PERI_EINVAL);
    assert_int_equal(mr_reducer_parse(&reducer, "topk(3", &err), PERI_EINVAL);
    assert_int_equal(mr_reducer_parse(&reducer, "sum(3)", &err), PERI_EINVAL);
    reducer = reducer_of("set(2)");
    struct mr_state set = {0};
    struct peri_buffer out = {0};
    for (int i = 0; i < 3; i++)
        assert_int_equal(add(&reducer, &set, integer_of(i), 0), 0);
    assert_int_equal(mr_reducer_finish(&reducer, &set, &out, NULL), PERI_ETOOBIG);
    free(set.data);
    peri_buffer_deinit(&out);
}

/* Bytes that no reducer wrote are refused without harm. */
static void test_malformed_states(void **state)
{
    static const char *const names[] = {"sum", "avg",      "count", "min", "first",
                                        "any", "distinct", "topk",  "set", "concat"};
    (void)state;
    for (uint64_t round = 0; round < 5000; round++) {
        struct mr_reducer reducer = reducer_of(names[round % 10]);
        struct mr_state merged = {0};
        char bytes[40];
        uint64_t seed = round;
        size_t size = random_below(&seed, sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] =
                (char)(random_below(&seed, 3) == 0 ? random_below(&seed, 8) : random_next(&seed));
        (void)mr_reducer_merge(&reducer, &merged, peri_slice_of(bytes, size), &heap, NULL);
        free(merged.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_truth_and_edges),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_split_independence),
        cmocka_unit_test(test_distinct),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_malformed_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
