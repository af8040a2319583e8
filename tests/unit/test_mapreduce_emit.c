/* Emit, spill and merge against a plain sorted list: any memory, any number of partitions and map
 * attempts give the same groups with the same values in the same order. */
#include "mr_fixture.h"

#include "mapreduce/emit.h"

enum { ATTEMPTS = 3, KEY_MAX = 40 };

struct pair {
    uint32_t part;
    struct mr_datum key;
    char text[KEY_MAX];
    int64_t value;
    uint32_t order; /* of emission */
};

struct model {
    struct pair *pairs;
    size_t count;
    uint64_t keys; /* how many different keys may come */
};

static void make_key(struct pair *pair, uint64_t *seed, uint64_t keys)
{
    uint64_t number = random_below(seed, keys);
    if (number % 3 == 0) {
        pair->key = integer_of((int64_t)number - 50);
        return;
    }
    int size = snprintf(pair->text, sizeof pair->text, "%s%u",
                        number % 3 == 1 ? "k" : "a-long-prefix-", (unsigned)number);
    pair->key = string_of(pair->text);
    pair->key.string.size = (size_t)size;
}

static struct model make_model(uint64_t *seed, size_t count)
{
    struct model model = {calloc(count + 1, sizeof *model.pairs), count,
                          1 + random_below(seed, random_below(seed, 2) == 0 ? 10 : 5000)};
    for (size_t i = 0; i < count; i++) {
        struct pair *pair = &model.pairs[i];
        make_key(pair, seed, model.keys);
        pair->value = (int64_t)random_below(seed, 1000) - 500;
        pair->order = (uint32_t)i;
    }
    return model;
}

static int by_key(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int order = (x->part > y->part) - (x->part < y->part);
    if (order == 0)
        order = mr_datum_compare(&x->key, &y->key);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

struct attempt_set {
    struct mr_spill_part *parts[ATTEMPTS];
};

/* Emits a third of the model, in order, as one map attempt. */
static void run_attempt(struct fixture *fixture, struct model *model, int attempt,
                        const struct mr_emit_options *options, struct attempt_set *set)
{
    struct mr_emit_options mine = *options;
    struct mr_emit *emit = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buffer key = {0};
    struct peri_buffer value = {0};
    size_t from = model->count * (size_t)attempt / ATTEMPTS;
    size_t to = model->count * (size_t)(attempt + 1) / ATTEMPTS;
    mine.path = fixture->path[attempt];
    if (mr_emit_create(&emit, fixture->env, &mine, &err) != 0)
        fail_msg("%s", err.text);
    for (size_t i = from; i < to; i++) {
        struct pair *pair = &model->pairs[i];
        pair->key.string.data = pair->text;
        struct peri_slice bytes = key_of(&key, pair->key);
        pair->part = mr_partition_of(&mine.partitioner, bytes);
        mr_emit_at(emit, 0, i);
        int rc = i % 2 == 0 && pair->key.type == MR_STRING
                     ? mr_emit_add_string(emit, pair->key.string, pair->value, &err)
                     : mr_emit_add(emit, bytes, value_of(&value, integer_of(pair->value)), &err);
        if (rc != 0)
            fail_msg("%s", err.text);
    }
    if (mr_emit_finish(emit, &err) != 0)
        fail_msg("%s", err.text);
    size_t size = mine.partitioner.partitions * sizeof(struct mr_spill_part);
    set->parts[attempt] = malloc(size);
    memcpy(set->parts[attempt], mr_emit_parts(emit), size);
    mr_emit_close(emit);
    peri_buffer_deinit(&key);
    peri_buffer_deinit(&value);
}

static struct mr_merge *open_merge(struct fixture *fixture, const struct attempt_set *set,
                                   struct mr_merge_input inputs[ATTEMPTS], uint32_t part,
                                   const struct mr_emit_options *emit)
{
    struct mr_merge_options options = {.inputs = inputs,
                                       .inputs_count = ATTEMPTS,
                                       .part = part,
                                       .reducer = emit->reducer,
                                       .memory_bytes = MR_MERGE_MEMORY_MIN,
                                       .temp_path = fixture->path[7]};
    struct mr_merge *merge = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    int64_t failed;
    for (int i = 0; i < ATTEMPTS; i++)
        inputs[i] = (struct mr_merge_input){fixture->path[i], &set->parts[i][part].sum};
    if (mr_merge_open(&merge, fixture->env, &options, &failed, &err) != 0)
        fail_msg("%s", err.text);
    return merge;
}

/* Checks one group of the merge against the model's pairs from at on; returns the pair after it. */
static size_t check_group(const struct model *model, size_t at, uint32_t part,
                          struct peri_slice key, struct mr_values *values)
{
    struct peri_buffer expected = {0};
    struct peri_slice value;
    const struct pair *first = &model->pairs[at];
    assert_true(at < model->count);
    assert_int_equal(first->part, part);
    struct peri_slice bytes = key_of(&expected, first->key);
    assert_int_equal(peri_slice_compare(bytes, key), 0);
    while (at < model->count && model->pairs[at].part == part &&
           mr_datum_compare(&model->pairs[at].key, &first->key) == 0) {
        int64_t integer;
        assert_int_equal(mr_values_next(values, &value, NULL), 1);
        assert_true(mr_value_read_integer(value, &integer));
        assert_int_equal(integer, model->pairs[at++].value);
    }
    assert_int_equal(mr_values_next(values, &value, NULL), 0);
    peri_buffer_deinit(&expected);
    return at;
}

static size_t check_sum(const struct model *model, size_t at, uint32_t part, struct peri_slice key,
                        struct peri_slice value)
{
    struct peri_buffer expected = {0};
    const struct pair *first = &model->pairs[at];
    int64_t sum = 0;
    int64_t got;
    assert_true(at < model->count);
    assert_int_equal(peri_slice_compare(key_of(&expected, first->key), key), 0);
    while (at < model->count && model->pairs[at].part == part &&
           mr_datum_compare(&model->pairs[at].key, &first->key) == 0)
        sum += model->pairs[at++].value;
    assert_true(mr_value_read_integer(value, &got));
    assert_int_equal(got, sum);
    peri_buffer_deinit(&expected);
    return at;
}

static size_t check_part(struct mr_merge *merge, const struct model *model, size_t at,
                         uint32_t part, bool is_sum)
{
    struct peri_slice key;
    struct peri_slice value;
    struct mr_values *values;
    struct peri_error err = PERI_ERROR_INIT;
    for (;;) {
        int rc = is_sum ? mr_merge_reduce(merge, &key, &value, &err)
                        : mr_merge_next(merge, &key, &values, &err);
        if (rc < 0)
            fail_msg("%s", err.text);
        if (rc == 0)
            return at;
        at = is_sum ? check_sum(model, at, part, key, value)
                    : check_group(model, at, part, key, values);
    }
}

static void check_job(struct fixture *fixture, struct model *model,
                      const struct mr_emit_options *options)
{
    struct attempt_set set;
    struct mr_merge_input inputs[ATTEMPTS];
    size_t at = 0;
    for (int i = 0; i < ATTEMPTS; i++)
        run_attempt(fixture, model, i, options, &set);
    qsort(model->pairs, model->count, sizeof *model->pairs, by_key);
    for (size_t i = 0; i < model->count; i++)
        model->pairs[i].key.string.data = model->pairs[i].text;
    for (uint32_t part = 0; part < options->partitioner.partitions; part++) {
        struct mr_merge *merge = open_merge(fixture, &set, inputs, part, options);
        at = check_part(merge, model, at, part, options->reducer.kind == MR_REDUCE_SUM);
        mr_merge_close(merge);
    }
    assert_int_equal(at, model->count);
    for (int i = 0; i < ATTEMPTS; i++) {
        assert_int_equal(unlink(fixture->path[i]), 0);
        free(set.parts[i]);
    }
}

static int sum_values(void *data, struct peri_slice key, struct mr_values *values,
                      struct mr_combine_out *out, struct peri_error *err)
{
    char bytes[MR_VALUE_SCALAR_MAX];
    struct peri_slice value;
    int64_t sum = 0;
    int64_t integer;
    int rc;
    (void)key;
    ++*(int *)data;
    while ((rc = mr_values_next(values, &value, err)) == 1) {
        assert_true(mr_value_read_integer(value, &integer));
        sum += integer;
    }
    return rc != 0
               ? rc
               : mr_combine_add(out, peri_slice_of(bytes, mr_value_write_integer(sum, bytes)), err);
}

static void test_jobs(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 100, 3000, 100000};
    static const uint32_t partitions[] = {1, 2, 7, 50};
    for (uint64_t round = 0; round < 24; round++) {
        uint64_t seed = round;
        size_t count = sizes[round % 6];
        print_message("seed %d\n", (int)round);
        struct model model = make_model(&seed, count);
        struct mr_emit_options options = {
            .partitioner = {.partitions = partitions[round / 6]},
            .reducer = {.kind = round % 2 == 0 ? MR_REDUCE_NONE : MR_REDUCE_SUM},
            .memory_bytes = MR_EMIT_MEMORY_MIN,
            .lz4 = round % 4 == 3,
        };
        check_job(*state, &model, &options);
        free(model.pairs);
    }
}

/* 100,000 equal keys spill, and keep their order. */
static void test_equal_keys(void **state)
{
    struct model model = {calloc(100000, sizeof *model.pairs), 100000, 1};
    struct mr_emit_options options = {.partitioner = {.partitions = 3},
                                      .memory_bytes = MR_EMIT_MEMORY_MIN};
    for (uint32_t i = 0; i < model.count; i++) {
        strcpy(model.pairs[i].text, "the-only-key-there-is");
        model.pairs[i].key = string_of(model.pairs[i].text);
        model.pairs[i].order = i;
        model.pairs[i].value = i;
    }
    check_job(*state, &model, &options);
    free(model.pairs);
}

/* A user's combiner runs at every spill, and the key stays what it was. */
static void test_combine(void **state)
{
    struct fixture *fixture = *state;
    int calls = 0;
    struct mr_emit_options options = {.partitioner = {.partitions = 4},
                                      .combine = sum_values,
                                      .combine_data = &calls,
                                      .memory_bytes = MR_EMIT_MEMORY_MIN,
                                      .path = fixture->path[0]};
    struct mr_emit *emit = NULL;
    struct mr_emit_stats stats;
    char word[16];
    assert_int_equal(mr_emit_create(&emit, fixture->env, &options, NULL), 0);
    for (int i = 0; i < 100000; i++) {
        int size = snprintf(word, sizeof word, "w%d", i % 10);
        assert_int_equal(mr_emit_add_string(emit, peri_slice_of(word, (size_t)size), 1, NULL), 0);
    }
    assert_int_equal(mr_emit_finish(emit, NULL), 0);
    mr_emit_stats(emit, &stats);
    assert_int_equal(stats.records_in, 100000);
    assert_int_equal(stats.records_out, 10);
    assert_true(stats.runs > 1);
    assert_true(calls > 10);
    mr_emit_close(emit);
    assert_int_equal(unlink(fixture->path[0]), 0);
}

/* Adds so much that some of it goes to disk in runs. */
static void add_runs(struct mr_emit *emit)
{
    struct mr_emit_stats stats = {0};
    char word[32];
    for (int i = 0; stats.runs < 2; i++) {
        int size = snprintf(word, sizeof word, "a-long-word-%d", i);
        assert_int_equal(mr_emit_add_string(emit, peri_slice_of(word, (size_t)size), 1, NULL), 0);
        mr_emit_stats(emit, &stats);
    }
}

/* Flips a bit of the byte that far into the file; a negative offset counts from the end. */
static void flip_byte(const char *path, long offset)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_int_equal(fputc(byte ^ 16, file), byte ^ 16);
    assert_int_equal(fclose(file), 0);
}

/* What an attempt itself has put on disk may change as well, before it is merged. */
static void test_damaged_run(void **state)
{
    struct fixture *fixture = *state;
    static const long offsets[] = {0, 8, 13, 31, 39, 40, 5000, 20000, -300, -130, -50, -40, -1};
    for (size_t i = 0; i < 4 * sizeof offsets / sizeof *offsets; i++) {
        struct mr_emit_options options = {
            .partitioner = {.partitions = 3},
            .reducer = {.kind = i % 2 == 0 ? MR_REDUCE_NONE : MR_REDUCE_SUM},
            .memory_bytes = MR_EMIT_MEMORY_MIN,
            .path = fixture->path[0],
            .lz4 = i / 2 % 2 == 0,
        };
        struct mr_emit *emit = NULL;
        struct peri_error err = PERI_ERROR_INIT;
        char run[128];
        (void)snprintf(run, sizeof run, "%s.run-%d", fixture->path[0], (int)(i % 2));
        assert_int_equal(mr_emit_create(&emit, fixture->env, &options, NULL), 0);
        add_runs(emit);
        flip_byte(run, offsets[i / 4]);
        assert_int_equal(mr_emit_finish(emit, &err), PERI_ECORRUPT);
        assert_non_null(strstr(err.text, run));
        mr_emit_close(emit);
    }
}

static void test_limits(void **state)
{
    struct fixture *fixture = *state;
    struct mr_emit_options options = {
        .partitioner = {.partitions = 4}, .memory_bytes = 1024, .path = fixture->path[0]};
    struct mr_emit *emit = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(mr_emit_create(&emit, fixture->env, &options, &err), PERI_EINVAL);
    assert_string_equal(err.text, "memory must be between 1024 KiB and 16 GiB, not 1024 bytes");
    options.memory_bytes = MR_EMIT_MEMORY_MIN;
    options.partitioner.partitions = 50000;
    assert_int_equal(mr_emit_create(&emit, fixture->env, &options, &err), PERI_EMEMORY);
    options.partitioner.partitions = 4;
    assert_int_equal(mr_emit_create(&emit, fixture->env, &options, &err), 0);
    char *big = calloc(1, MR_EMIT_MEMORY_MIN);
    int rc = mr_emit_add_string(emit, peri_slice_of(big, MR_EMIT_MEMORY_MIN), 1, &err);
    assert_int_equal(rc, PERI_ETOOBIG);
    big[0] = MR_KEY_STRING;
    rc = mr_emit_add(emit, peri_slice_of(big, 2), peri_slice_of(big, MR_EMIT_MEMORY_MIN / 4), &err);
    assert_int_equal(rc, PERI_ETOOBIG);
    mr_emit_close(emit);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_jobs, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_equal_keys, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_combine, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_damaged_run, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_limits, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
