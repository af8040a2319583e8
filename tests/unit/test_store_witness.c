/* The end of the log is lost, silently, and with it some of what the witness says: whatever is left
 * of the witness, nobody calls the log clean. On a real disk and in simulation. */
#include "log_image.h"

#include "base/bits.h"

enum { COPY_BYTES = 4096, PLACE_BYTES = 2 * COPY_BYTES };

/* A log before its last batch, and after it was closed. */
struct scene {
    struct log_fixture fixture;
    struct image before, after, disk; /* disk: what is there; its bytes belong to the others */
    struct peri_buffer witness;       /* of disk */
};

static void write_round(struct log_fixture *fixture, uint64_t term, uint64_t groups)
{
    for (uint64_t group = 1; group <= groups; group++)
        assert_int_equal(fixture_write(fixture, group, term, group, 0, 2), 0);
    fixture_flush(fixture);
}

/* The log ends in order, or its process is killed, without ever having had a quiet moment. */
static void end_log(struct log_fixture *fixture, bool is_killed)
{
    if (!is_killed) {
        fixture_close(fixture);
        return;
    }
    advance(fixture->world, sim_world_now_us(fixture->world) + 10000); /* what is under way ends */
    fixture_crash(fixture, ENV_FAULT_KILL);
}

static void make_scene(struct scene *scene, bool is_simulated, bool is_killed)
{
    struct log_fixture *fixture = &scene->fixture;
    memset(scene, 0, sizeof *scene);
    fixture_init(fixture, is_simulated, 1);
    fixture->options.generation_max_bytes = 1 << 20;
    if (is_killed)
        fixture->options.quiet_us = 0;
    assert_int_equal(fixture_open(fixture), 0);
    for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
        assert_int_equal(fixture_create(fixture, group, 1), 0);
    write_round(fixture, 1, MODEL_GROUPS);
    write_round(fixture, 2, MODEL_GROUPS);
    image_take(fixture->env, fixture->path, &scene->before);
    write_round(fixture, 3, 1);
    end_log(fixture, is_killed);
    image_take(fixture->env, fixture->path, &scene->after);
    fixture->checks_states = false;
}

static void scene_init(struct scene *scene, bool is_simulated)
{
    make_scene(scene, is_simulated, false);
}

static void scene_deinit(struct scene *scene)
{
    peri_buffer_deinit(&scene->witness);
    image_deinit(&scene->before);
    image_deinit(&scene->after);
    fixture_deinit(&scene->fixture);
}

static const struct image_file *find(const struct image *image, const char *path)
{
    for (size_t i = 0; i < image->count; i++)
        if (strcmp(image->files[i].path, path) == 0)
            return &image->files[i];
    return NULL;
}

static bool is_witness(const struct image_file *file)
{
    return strcmp(strrchr(file->path, '/'), "/witness") == 0;
}

static bool is_in_generation(const struct image_file *file)
{
    return strstr(file->path, "/log/0") != NULL;
}

/* What the disk holds: everything, or all but the last batch. */
static void prepare(struct scene *scene, bool loses_batch)
{
    scene->disk.count = 0;
    for (size_t i = 0; i < scene->after.count; i++) {
        const struct image_file *file = &scene->after.files[i];
        const struct image_file *old = find(&scene->before, file->path);
        struct image_file *to = &scene->disk.files[scene->disk.count++];
        *to = loses_batch && is_in_generation(file) && old != NULL ? *old : *file;
        if (!is_witness(to))
            continue;
        scene->witness.size = 0;
        assert_int_equal(peri_buffer_append(&scene->witness, file->bytes.data, file->bytes.size),
                         0);
        to->bytes = scene->witness;
    }
    assert_int_equal(scene->witness.size > PLACE_BYTES, true);
}

/* Where the copies of a place are; the newest place, or the other one. */
static char *place_of(struct scene *scene, bool is_newest)
{
    char *at = scene->witness.data;
    bool is_first = bits_get_le64(at + 4) > bits_get_le64(at + PLACE_BYTES + 4);
    return is_first == is_newest ? at : at + PLACE_BYTES;
}

static void flip(char *at)
{
    *at = (char)(*at ^ 0x10);
}

static void open_disk(struct scene *scene)
{
    struct model_group before[MODEL_GROUPS + 1];
    memcpy(before, scene->fixture.groups, sizeof before);
    image_restore(&scene->fixture, &scene->disk);
    assert_int_equal(fixture_open(&scene->fixture), 0);
    memcpy(scene->fixture.groups, before, sizeof before);
}

/* The verdict on the group that wrote last, and on another one. */
static void expect(struct scene *scene, enum store_log_health last, enum store_log_health other)
{
    open_disk(scene);
    assert_int_equal(scene->fixture.health[1], last);
    assert_int_equal(scene->fixture.health[2], other);
    fixture_close(&scene->fixture);
}

/* Any of the four copies is damaged, and the last batch lost or not. */
static void damage_copies(bool is_simulated)
{
    static struct scene scene;
    scene_init(&scene, is_simulated);
    for (unsigned mask = 0; mask < 16; mask++) {
        bool has_lost_newest = (mask & 3) == 3, has_lost_other = (mask & 12) == 12;
        enum store_log_health others =
            has_lost_newest || has_lost_other ? STORE_LOG_SUSPECT : STORE_LOG_CLEAN;
        for (int loses_batch = 0; loses_batch < 2; loses_batch++) {
            prepare(&scene, loses_batch);
            char *newest = place_of(&scene, true), *other = place_of(&scene, false);
            char *copies[] = {newest, newest + COPY_BYTES, other, other + COPY_BYTES};
            for (unsigned i = 0; i < 4; i++)
                if ((mask >> i & 1) != 0)
                    flip(copies[i] + 21);
            bool is_told = loses_batch && !has_lost_newest;
            expect(&scene, is_told ? STORE_LOG_DAMAGED : others, others);
        }
    }
    scene_deinit(&scene);
}

static void test_copies_on_a_disk(void **state)
{
    (void)state;
    damage_copies(false);
}

static void test_copies_in_simulation(void **state)
{
    (void)state;
    damage_copies(true);
}

/* Every byte of the newest place, the same one in both copies, and the last batch: never clean. */
static void damage_bytes(bool is_simulated)
{
    static struct scene scene;
    scene_init(&scene, is_simulated);
    size_t size = 1;
    for (size_t at = 0; at < size; at++) {
        prepare(&scene, true);
        char *newest = place_of(&scene, true);
        size = 20 + bits_get_le32(newest) + 8;
        flip(newest + at);
        flip(newest + COPY_BYTES + at);
        expect(&scene, STORE_LOG_SUSPECT, STORE_LOG_SUSPECT);
    }
    assert_true(size > 40);
    scene_deinit(&scene);
}

static void test_bytes_on_a_disk(void **state)
{
    (void)state;
    damage_bytes(false);
}

static void test_bytes_in_simulation(void **state)
{
    (void)state;
    damage_bytes(true);
}

/* The witness speaks of a batch as soon as that is acknowledged, though no later one came, and
 * nobody closed the log. */
static void test_killed(void **state)
{
    (void)state;
    static struct scene scene;
    make_scene(&scene, true, true);
    prepare(&scene, false);
    expect(&scene, STORE_LOG_CLEAN, STORE_LOG_CLEAN);
    prepare(&scene, true);
    expect(&scene, STORE_LOG_DAMAGED, STORE_LOG_CLEAN);
    scene_deinit(&scene);
}

/* The whole file is gone, short, empty, or zeros. */
static void test_no_witness(void **state)
{
    (void)state;
    static struct scene scene;
    scene_init(&scene, true);
    enum { GONE, EMPTY, SHORT, ZEROS, WAYS };
    for (int way = 0; way < WAYS; way++) {
        prepare(&scene, true);
        for (size_t i = 0; i < scene.disk.count; i++) {
            struct image_file *file = &scene.disk.files[i];
            if (!is_witness(file))
                continue;
            if (way == GONE)
                *file = scene.disk.files[--scene.disk.count];
            else if (way == ZEROS)
                memset(file->bytes.data, 0, file->bytes.size);
            else
                file->bytes.size = way == EMPTY ? 0 : COPY_BYTES;
            break;
        }
        open_disk(&scene);
        for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
            assert_int_not_equal(scene.fixture.health[group], STORE_LOG_CLEAN);
        fixture_close(&scene.fixture);
    }
    scene_deinit(&scene);
}

/* A doubt ends with the repair: the next start does not find the same bad copies again. */
static void test_doubt_ends(void **state)
{
    (void)state;
    static struct scene scene;
    scene_init(&scene, true);
    for (int is_newest = 0; is_newest < 2; is_newest++) {
        prepare(&scene, false);
        char *place = place_of(&scene, is_newest);
        flip(place + 5);
        flip(place + COPY_BYTES + 5);
        struct model_group before[MODEL_GROUPS + 1];
        memcpy(before, scene.fixture.groups, sizeof before);
        open_disk(&scene);
        for (uint64_t group = 1; group <= MODEL_GROUPS; group++) {
            assert_int_equal(scene.fixture.health[group], STORE_LOG_SUSPECT);
            assert_int_equal(store_log_set_repaired(scene.fixture.log, group), 0);
        }
        write_round(&scene.fixture, 4, 1); /* the verdicts go with it */
        fixture_close(&scene.fixture);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(fixture_open(&scene.fixture), 0);
            for (uint64_t group = 1; group <= MODEL_GROUPS; group++)
                assert_int_equal(scene.fixture.health[group], STORE_LOG_CLEAN);
            fixture_close(&scene.fixture);
        }
        memcpy(scene.fixture.groups, before, sizeof before);
    }
    scene_deinit(&scene);
}

/* Power fails at any moment, while many batches are under way: what was acknowledged is there, and
 * no torn witness puts the log in doubt. */
static void test_torn_witness(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        fixture_init(&fixture, true, seed);
        assert_int_equal(fixture_open(&fixture), 0);
        assert_int_equal(fixture_create(&fixture, 1, 1), 0);
        fixture_flush(&fixture);
        for (uint64_t crash = 0; crash < 5; crash++) {
            for (uint64_t i = 0; i < 1 + seed % 5; i++)
                write_round(&fixture, 1 + crash, 1);
            fixture_crash(&fixture, ENV_FAULT_CRASH);
            assert_int_equal(fixture_open(&fixture), 0);
            assert_int_equal(fixture.health[1], STORE_LOG_CLEAN);
            assert_int_equal(fixture.failures, 0);
        }
        fixture_close(&fixture);
        fixture_deinit(&fixture);
    }
}

/* Of all files only those that is_left. */
static void leave_files(struct scene *scene, bool (*is_left)(const struct image_file *file))
{
    size_t kept = 0;
    for (size_t i = 0; i < scene->disk.count; i++)
        if (is_left(&scene->disk.files[i]))
            scene->disk.files[kept++] = scene->disk.files[i];
    scene->disk.count = kept;
}

static bool is_census(const struct image_file *file)
{
    return strcmp(strrchr(file->path, '/'), "/census") == 0;
}

static bool is_census_or_witness(const struct image_file *file)
{
    return is_census(file) || is_witness(file);
}

static bool is_generation_or_witness(const struct image_file *file)
{
    return is_in_generation(file) || is_witness(file);
}

/* What groups there were is known to heads and to the census. Without both the log does not open,
 * for a group that it does not name would begin anew. One copy of the census is enough. */
static void test_no_census(void **state)
{
    (void)state;
    for (unsigned bad = 0; bad < 4; bad++) {
        struct scene scene;
        scene_init(&scene, true);
        prepare(&scene, false);
        leave_files(&scene, is_census_or_witness);
        struct image_file *census = &scene.disk.files[is_census(&scene.disk.files[0]) ? 0 : 1];
        assert_int_equal(census->bytes.size, 2 * COPY_BYTES);
        for (size_t copy = 0; copy < 2; copy++)
            if ((bad >> copy & 1) != 0)
                census->bytes.data[copy * COPY_BYTES + 8] ^= 0x10;
        image_restore(&scene.fixture, &scene.disk);
        assert_int_equal(fixture_open(&scene.fixture), bad == 3 ? PERI_ECORRUPT : 0);
        if (bad == 3)
            assert_non_null(strstr(scene.fixture.err.text, "under a new id"));
        fixture_close(&scene.fixture);
        scene_deinit(&scene);
    }
}

/* A log that could not be made to its end, and was damaged then, has promised nothing: it opens.
 * One that has a witness, or had a generation before, does not. */
static void test_unfinished_log(void **state)
{
    (void)state;
    for (unsigned has_witness = 0; has_witness < 2; has_witness++) {
        struct scene scene;
        scene_init(&scene, true);
        prepare(&scene, false);
        leave_files(&scene, has_witness ? is_generation_or_witness : is_in_generation);
        for (size_t i = 0; i < scene.disk.count; i++)
            if (!is_witness(&scene.disk.files[i]))
                memset(scene.disk.files[i].bytes.data, 0x5a, scene.disk.files[i].bytes.size);
        image_restore(&scene.fixture, &scene.disk);
        assert_int_equal(fixture_open(&scene.fixture), has_witness ? PERI_ECORRUPT : 0);
        fixture_close(&scene.fixture);
        scene_deinit(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_in_simulation),
        cmocka_unit_test(test_copies_on_a_disk),
        cmocka_unit_test(test_bytes_in_simulation),
        cmocka_unit_test(test_bytes_on_a_disk),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_no_witness),
        cmocka_unit_test(test_doubt_ends),
        cmocka_unit_test(test_torn_witness),
        cmocka_unit_test(test_no_census),
        cmocka_unit_test(test_unfinished_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
