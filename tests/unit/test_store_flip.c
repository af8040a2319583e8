/* Every byte of a small log turned over, one at a time: the log that opens then says so, or holds
 * exactly what was written. On LevelDB and in simulation. */
#include "log_fixture.h"

#include <errno.h>

enum { FILES_MAX = 64, MAX_BYTES = 1000 };

struct image_file {
    char path[256];
    struct peri_buffer bytes;
};

/* All files of a log. */
struct image {
    struct image_file files[FILES_MAX];
    size_t count;
};

static struct peri_buffer read_whole(struct env *env, const char *path)
{
    struct peri_buffer bytes = {0};
    struct env_file *file = NULL;
    struct env_stat stat;
    assert_int_equal(env_file_open(env, path, ENV_FILE_READ, &file, NULL), 0);
    assert_int_equal(env_file_stat(file, &stat, NULL), 0);
    assert_int_equal(peri_buffer_reserve(&bytes, (size_t)stat.size_bytes + 1), 0);
    bytes.size = (size_t)stat.size_bytes;
    assert_int_equal(env_file_pread(file, bytes.data, bytes.size, 0, NULL), bytes.size);
    assert_int_equal(env_file_close(file, NULL), 0);
    return bytes;
}

static void write_whole(struct env *env, const char *path, struct peri_slice bytes)
{
    struct env_file *file = NULL;
    int flags = ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE;
    assert_int_equal(env_file_open(env, path, flags, &file, NULL), 0);
    assert_int_equal(env_file_write(file, bytes.data, bytes.size, NULL), 0);
    assert_int_equal(env_file_close(file, NULL), 0);
}

static void take_image(struct env *env, const char *path, struct image *image)
{
    char entry[256];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    assert_int_equal(env_dir_open(env, path, &dir, NULL), 0);
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        (void)snprintf(entry, sizeof entry, "%s/%s", path, name);
        if (type == ENV_TYPE_DIRECTORY) {
            take_image(env, entry, image);
        } else {
            struct image_file *file = &image->files[image->count++];
            assert_in_range(image->count, 1, FILES_MAX);
            (void)snprintf(file->path, sizeof file->path, "%s", entry);
            file->bytes = read_whole(env, entry);
        }
    }
    env_dir_close(dir);
}

/* Puts all files back where they were, and nothing else. */
static void restore_image(struct log_fixture *fixture, const struct image *image)
{
    char directory[256];
    fixture_remove(fixture->env, fixture->path);
    assert_int_equal(env_path_mkdir(fixture->env, fixture->path, NULL), 0);
    for (size_t i = 0; i < image->count; i++) {
        (void)snprintf(directory, sizeof directory, "%s", image->files[i].path);
        *strrchr(directory, '/') = '\0';
        int rc = env_path_mkdir(fixture->env, directory, NULL);
        assert_true(rc == 0 || rc == -EEXIST);
        write_whole(fixture->env, image->files[i].path, peri_buffer_slice(&image->files[i].bytes));
    }
}

struct verdicts {
    size_t flips, refused, damaged, suspect, unharmed, unnoticed;
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
    bool is_damaged = false, is_suspect = false, is_same = true;
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
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

static void flip_all(bool is_simulated)
{
    static struct log_fixture fixture;
    static struct image image;
    struct verdicts verdicts = {0};
    image.count = 0;
    fixture_init(&fixture, is_simulated, 1);
    fixture.options.generation_max_bytes = 1 << 20;
    fill(&fixture);
    take_image(fixture.env, fixture.path, &image);
    for (size_t i = 0; i < image.count; i++) {
        struct image_file *file = &image.files[i];
        for (size_t at = 0; file->bytes.data != NULL && at < file->bytes.size; at++) {
            size_t unnoticed = verdicts.unnoticed;
            file->bytes.data[at] = (char)(file->bytes.data[at] ^ (1 << at % 8));
            restore_image(&fixture, &image);
            open_flipped(&fixture, &verdicts);
            file->bytes.data[at] = (char)(file->bytes.data[at] ^ (1 << at % 8));
            if (verdicts.unnoticed > unnoticed)
                (void)fprintf(stderr, "unnoticed: byte %zu of %s\n", at, file->path);
        }
    }
    print_message("  %zu flips: %zu refused, %zu damaged, %zu suspect, %zu without harm\n",
                  verdicts.flips, verdicts.refused, verdicts.damaged, verdicts.suspect,
                  verdicts.unharmed);
    assert_int_equal(verdicts.unnoticed, 0);
    assert_true(verdicts.damaged > 0);
    for (size_t i = 0; i < image.count; i++)
        peri_buffer_deinit(&image.files[i].bytes);
    fixture_deinit(&fixture);
}

static void test_every_byte_on_leveldb(void **state)
{
    (void)state;
    flip_all(false);
}

static void test_every_byte_in_simulation(void **state)
{
    (void)state;
    flip_all(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_in_simulation),
        cmocka_unit_test(test_every_byte_on_leveldb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
