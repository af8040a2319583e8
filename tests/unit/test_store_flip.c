/* Every byte of a small log turned over, one at a time: the log that opens then says so, or holds
 * exactly what was written. In journals and in what earlier builds left, real and in simulation. */
#include "log_image.h"

enum { MAX_BYTES = 1000 };

struct verdicts {
    size_t flips, refused, damaged, suspect, unharmed, unnoticed;
    size_t promising; /* of those that are damaged: a damaged group knows its last term and vote */
};

/* Opens the log with one byte turned over, and counts how that went. */
static void open_flipped(struct log_fixture *fixture, struct verdicts *verdicts)
{
    struct model_group before[MODEL_GROUPS + 1];
    memcpy(before, fixture->groups, sizeof before);
    verdicts->flips++;
    fixture->failures = 0;
    fixture->checks_states = false;
    if (fixture_open(fixture) != 0) {
        verdicts->refused++;
        memcpy(fixture->groups, before, sizeof before);
        return;
    }
    bool is_damaged = false, is_suspect = false, is_same = true, is_promising = false;
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
        const struct raft_boot *boot = &fixture->boots[group];
        is_promising = is_promising || (fixture->health[group] == STORE_LOG_DAMAGED &&
                                        !fixture->has_forgotten[group]);
        is_same = is_same &&
                  (fixture->has_forgotten[group] || (boot->term == before[group].states[0].term &&
                                                     boot->vote == before[group].states[0].vote));
        is_damaged = is_damaged || fixture->health[group] == STORE_LOG_DAMAGED;
        is_suspect = is_suspect || fixture->health[group] == STORE_LOG_SUSPECT;
        /* Of a group that is called clean every entry must be there. */
        bool is_intact = fixture->boots[group].last_index ==
                             before[group].states[0].base + before[group].states[0].count &&
                         is_same_boot(&before[group].states[0], &fixture->boots[group]);
        is_same = is_same && (fixture->health[group] != STORE_LOG_CLEAN || is_intact);
    }
    memcpy(fixture->groups, before, sizeof before);
    for (uint64_t group = 1; group <= MODEL_GROUPS && is_same; group++)
        if (fixture->health[group] == STORE_LOG_CLEAN)
            is_same = fixture_check(fixture, group, MAX_BYTES) == 0;
    verdicts->damaged += is_damaged;
    verdicts->promising += is_promising;
    verdicts->suspect += is_suspect && !is_damaged;
    verdicts->unharmed += !is_damaged && !is_suspect && is_same;
    verdicts->unnoticed += !is_same;
    fixture_close(fixture);
}

static void fill(struct log_fixture *fixture)
{
    assert_int_equal(fixture_open(fixture), 0);
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
        assert_int_equal(fixture_create(fixture, group, 1), 0);
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t group = 1; group <= MODEL_GROUPS - (round == 2); group++)
            assert_int_equal(fixture_write(fixture, group, round + 1, group, round, 2), 0);
        fixture_flush(fixture);
    }
    fixture_close(fixture);
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
        struct model_group *model = &fixture->groups[group];
        model->states[0] = model->states[model->count - 1];
        model->count = 1;
        fixture->acked[group] = 0;
    }
}

/* Zeros between zeros: all of them with PERI_FLIP_ALL, else a sample. */
static bool is_skipped(const struct image_file *file, size_t at)
{
    enum { AROUND = 16, STRIDE = 97 };
    if (at % STRIDE == 0 || getenv("PERI_FLIP_ALL") != NULL)
        return false;
    size_t from = at > AROUND ? at - AROUND : 0,
           to = at + AROUND < file->bytes.size ? at + AROUND : file->bytes.size;
    for (size_t i = from; i < to; i++)
        if (file->bytes.data[i] != 0)
            return false;
    return true;
}

static void flip_all(bool is_simulated, enum store_backend backend)
{
    static struct log_fixture fixture;
    static struct image image;
    struct verdicts verdicts = {0};
    image.count = 0;
    fixture_init(&fixture, is_simulated, 1);
    fixture.options.generation_max_bytes = 1 << 20;
    fixture.options.backend = backend;
    fill(&fixture);
    fixture.options.backend = STORE_BY_ENV;
    image_take(fixture.env, fixture.path, &image);
    for (size_t i = 0; i < image.count; i++) {
        struct image_file *file = &image.files[i];
        for (size_t at = 0; file->bytes.data != NULL && at < file->bytes.size; at++) {
            size_t unnoticed = verdicts.unnoticed;
            if (is_skipped(file, at))
                continue;
            file->bytes.data[at] = (char)(file->bytes.data[at] ^ (1 << at % 8));
            image_restore(&fixture, &image);
            open_flipped(&fixture, &verdicts);
            file->bytes.data[at] = (char)(file->bytes.data[at] ^ (1 << at % 8));
            if (verdicts.unnoticed > unnoticed)
                (void)fprintf(stderr, "unnoticed: byte %zu of %s\n", at, file->path);
        }
    }
    print_message("  %zu flips: %zu refused, %zu damaged (%zu of them kept term and vote), %zu "
                  "suspect, %zu without harm\n",
                  verdicts.flips, verdicts.refused, verdicts.damaged, verdicts.promising,
                  verdicts.suspect, verdicts.unharmed);
    assert_int_equal(verdicts.unnoticed, 0);
    assert_true(verdicts.damaged > verdicts.promising);
    assert_true(verdicts.promising > 0 || !is_simulated); /* LevelDB drops what is near, too */
    image_deinit(&image);
    fixture_deinit(&fixture);
}

static void test_every_byte_of_journals(void **state)
{
    (void)state;
    flip_all(true, STORE_BY_ENV);
    flip_all(false, STORE_BY_ENV);
}

static void test_every_byte_on_leveldb(void **state)
{
    (void)state;
    flip_all(false, STORE_LEVELDB);
}

static void test_every_byte_in_memory(void **state)
{
    (void)state;
    flip_all(true, STORE_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_of_journals),
        cmocka_unit_test(test_every_byte_on_leveldb),
        cmocka_unit_test(test_every_byte_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
