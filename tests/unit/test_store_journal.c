/* The journal: what is written is found; what was cut off is dropped, what went bad is said, and
 * what an earlier use left in the file is neither. */
#include "log_fixture.h"

#include <errno.h>

#include "store/journal_format.h"

enum { BATCHES = 4, MANY = 40, VALUE_BYTES = 700 };

static const char directory[] = "/j";

/* ---- helpers ---- */

static struct store_options options_of(uint64_t number)
{
    return (struct store_options){.backend = STORE_JOURNAL, .number = number, .kept = "/"};
}

static struct store *open_at(struct log_fixture *fixture, const char *path, uint64_t number)
{
    struct store_options options = options_of(number);
    struct store *store = NULL;
    if (fixture->world == NULL)
        options.kept = NULL;
    assert_int_equal(store_open(&store, fixture->env, path, &options, NULL), 0);
    return store;
}

static struct peri_slice text(const char *bytes)
{
    return peri_slice_of(bytes, strlen(bytes));
}

/* Batch n of a journal: a key of its own, and one that all share. */
static int write_batch(struct store *store, uint64_t number, unsigned n)
{
    struct store_batch batch = {.count = 0};
    char key[16], value[VALUE_BYTES];
    (void)snprintf(key, sizeof key, "k%03u", n);
    memset(value, (int)('a' + (number + n) % 26), sizeof value);
    assert_int_equal(store_batch_put(&batch, text(key), peri_slice_of(value, sizeof value)), 0);
    assert_int_equal(store_batch_put(&batch, text("last"), text(key)), 0);
    assert_int_equal(store_batch_put(&batch, text("gone"), text(key)), 0);
    assert_int_equal(store_batch_delete(&batch, text("gone")), 0);
    int rc = store_write(store, &batch, true, NULL);
    store_batch_deinit(&batch);
    return rc;
}

static void write_batches(struct store *store, uint64_t number, unsigned count)
{
    for (unsigned n = 1; n <= count; n++)
        assert_int_equal(write_batch(store, number, n), 0);
}

static bool has_batch(struct store *store, uint64_t number, unsigned n)
{
    char key[16];
    struct peri_buffer value = {0};
    (void)snprintf(key, sizeof key, "k%03u", n);
    int rc = store_get(store, NULL, text(key), &value, NULL);
    assert_in_range(rc, 0, 1);
    for (size_t i = 0; rc == 1 && i < value.size; i++)
        assert_int_equal(value.data[i], (int)('a' + (number + n) % 26));
    assert_int_equal(value.size, rc == 1 ? VALUE_BYTES : 0);
    peri_buffer_deinit(&value);
    return rc == 1;
}

/* How many batches there are, which are the first. The iterator says the same. */
static unsigned count_batches(struct store *store, uint64_t number)
{
    unsigned count = 0, walked = 0;
    struct store_iterator *iterator = NULL;
    while (has_batch(store, number, count + 1))
        count++;
    for (unsigned n = count + 1; n <= MANY; n++)
        assert_false(has_batch(store, number, n));
    assert_int_equal(store_iterator_open(store, NULL, &iterator), 0);
    for (store_iterator_seek(iterator, text("k")); store_iterator_is_valid(iterator);
         store_iterator_next(iterator), walked++)
        assert_int_equal(store_iterator_value(iterator).size, walked < count ? VALUE_BYTES : 4);
    assert_int_equal(store_iterator_status(iterator, NULL), 0);
    assert_int_equal(walked, count > 0 ? count + 1 : 0);
    store_iterator_close(iterator);
    return count;
}

static struct peri_buffer read_journal(struct log_fixture *fixture)
{
    struct peri_buffer bytes = {0};
    assert_int_equal(sim_disk_get(fixture->node, "/j/journal", &bytes), 0);
    return bytes;
}

static void put_journal(struct log_fixture *fixture, struct peri_slice bytes)
{
    assert_int_equal(sim_disk_put(fixture->node, "/j/journal", bytes, NULL), 0);
}

static struct peri_buffer copy_of(const struct peri_buffer *image)
{
    struct peri_buffer copy = {0};
    assert_int_equal(peri_buffer_append(&copy, image->data, image->size), 0);
    PERI_ASSERT(copy.data != NULL);
    return copy;
}

/* A journal of BATCHES batches; where the last of them begins and ends. */
static struct peri_buffer make_journal(struct log_fixture *fixture, uint64_t *from, uint64_t *until)
{
    struct store *store = open_at(fixture, directory, 1);
    write_batches(store, 1, BATCHES - 1);
    *from = store_written_bytes(store);
    assert_int_equal(write_batch(store, 1, BATCHES), 0);
    *until = store_written_bytes(store);
    store_close(store);
    return read_journal(fixture);
}

/* Opens what is in the file. Returns the number of batches, or -1 for damage. */
static int look(struct log_fixture *fixture, uint64_t number)
{
    struct store_options options = options_of(number);
    struct store *store = NULL;
    int rc = store_open(&store, fixture->env, directory, &options, NULL);
    if (rc == PERI_ECORRUPT)
        return -1;
    assert_int_equal(rc, 0);
    assert_false(store_is_damaged(store));
    int count = (int)count_batches(store, number);
    store_close(store);
    return count;
}

/* ---- what is written is found ---- */

static void round_trip(bool is_simulated)
{
    static struct log_fixture fixture;
    struct peri_buffer value = {0};
    fixture_init(&fixture, is_simulated, 1);
    struct store *store = open_at(&fixture, fixture.path, 7);
    assert_int_equal(count_batches(store, 7), 0);
    write_batches(store, 7, MANY);
    assert_int_equal(count_batches(store, 7), MANY);
    assert_int_equal(store_flush(store, NULL), 0);
    store_close(store);
    store = open_at(&fixture, fixture.path, 7);
    assert_int_equal(count_batches(store, 7), MANY);
    assert_int_equal(store_get(store, NULL, text("last"), &value, NULL), 1);
    assert_int_equal(value.size, 4);
    assert_memory_equal(value.data, "k040", 4);
    assert_int_equal(store_get(store, NULL, text("gone"), &value, NULL), 0);
    assert_int_equal(write_batch(store, 7, 1), PERI_EINVAL); /* it is complete */
    peri_buffer_deinit(&value);
    store_close(store);
    fixture_deinit(&fixture);
}

static void test_round_trip(void **state)
{
    (void)state;
    round_trip(true);
    round_trip(false);
}

/* One at a time: another process that has it open keeps it. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    struct store_options options = options_of(1);
    struct store *other = NULL;
    fixture_init(&fixture, true, 1);
    struct store *store = open_at(&fixture, directory, 1);
    write_batches(store, 1, 1);
    assert_int_equal(store_open(&other, fixture.env, directory, &options, NULL), PERI_EBUSY);
    store_close(store);
    assert_int_equal(look(&fixture, 1), 1);
    fixture_deinit(&fixture);
}

/* What an earlier build left is opened with what it was made with. */
static void test_older_generations_open(void **state)
{
    (void)state;
    for (int is_simulated = 0; is_simulated < 2; is_simulated++) {
        static struct log_fixture fixture;
        struct store_options options = {.backend = STORE_BY_ENV};
        struct store *store = NULL;
        fixture_init(&fixture, is_simulated != 0, 1);
        assert_int_equal(store_open(&store, fixture.env, fixture.path, &options, NULL), 0);
        write_batches(store, 3, MANY);
        store_close(store);
        store = open_at(&fixture, fixture.path, 3);
        assert_int_equal(count_batches(store, 3), MANY);
        store_close(store);
        fixture_deinit(&fixture);
    }
}

/* ---- what was cut off, and what went bad ---- */

static void test_torn_at_every_byte(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    uint64_t from = 0, until = 0;
    fixture_init(&fixture, true, 1);
    struct peri_buffer image = make_journal(&fixture, &from, &until);
    for (uint64_t size = from; size <= until; size++) {
        put_journal(&fixture, peri_slice_of(image.data, (size_t)size));
        assert_int_equal(look(&fixture, 1), size == until ? BATCHES : BATCHES - 1);
    }
    peri_buffer_deinit(&image);
    fixture_deinit(&fixture);
}

/* Of the last batch any of its sectors may be missing; then there are zeroes, or what an earlier
 * use has left. */
static void test_any_sector_may_be_missing(void **state)
{
    (void)state;
    for (int is_recycled = 0; is_recycled < 2; is_recycled++) {
        static struct log_fixture fixture;
        uint64_t from = 0, until = 0;
        struct peri_buffer older = {0};
        fixture_init(&fixture, true, 1);
        if (is_recycled) {
            struct store *store = open_at(&fixture, directory, 9);
            write_batches(store, 9, MANY);
            store_close(store);
            older = read_journal(&fixture);
            assert_int_equal(store_keep_file(fixture.env, directory, "/", 0, NULL), 0);
        }
        struct peri_buffer image = make_journal(&fixture, &from, &until);
        assert_true(older.size == 0 || older.size == image.size);
        unsigned sectors = (unsigned)((until - from) / JOURNAL_SECTOR_BYTES);
        assert_in_range(sectors, 2, 8);
        for (unsigned missing = 0; missing < 1U << sectors; missing++) {
            struct peri_buffer torn = copy_of(&image);
            for (unsigned i = 0; i < sectors; i++) {
                size_t at = (size_t)from + (size_t)i * JOURNAL_SECTOR_BYTES;
                if ((missing & 1U << i) != 0 && is_recycled)
                    memcpy(torn.data + at, older.data + at, JOURNAL_SECTOR_BYTES);
                else if ((missing & 1U << i) != 0)
                    memset(torn.data + at, 0, JOURNAL_SECTOR_BYTES);
            }
            put_journal(&fixture, peri_buffer_slice(&torn));
            assert_int_equal(look(&fixture, 1), missing == 0 ? BATCHES : BATCHES - 1);
            peri_buffer_deinit(&torn);
        }
        peri_buffer_deinit(&image);
        peri_buffer_deinit(&older);
        fixture_deinit(&fixture);
    }
}

/* What salvage finds: all batches but one. */
static void check_salvage(struct log_fixture *fixture, unsigned lost)
{
    struct store_options options = options_of(1);
    struct store *store = NULL;
    options.is_salvage = true;
    assert_int_equal(store_open(&store, fixture->env, directory, &options, NULL), 0);
    assert_true(store_is_damaged(store));
    assert_false(store_is_clean(store));
    for (unsigned n = 1; n <= BATCHES; n++)
        assert_int_equal(has_batch(store, 1, n), n != lost);
    store_close(store);
}

static void test_flips_of_every_byte(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    uint64_t from = 0, until = 0;
    fixture_init(&fixture, true, 1);
    struct peri_buffer image = make_journal(&fixture, &from, &until);
    uint64_t each = until / BATCHES;
    for (size_t at = 0; at < image.size; at++) {
        image.data[at] = (char)(image.data[at] ^ (1 << at % 8));
        put_journal(&fixture, peri_buffer_slice(&image));
        int found = look(&fixture, 1);
        /* Behind the end a sector that makes no sense may have been the next batch. */
        if (at >= until + JOURNAL_SECTOR_BYTES)
            assert_int_equal(found, BATCHES);
        else
            assert_int_equal(found, -1);
        if (at < until)
            check_salvage(&fixture, (unsigned)(at / each) + 1);
        image.data[at] = (char)(image.data[at] ^ (1 << at % 8));
    }
    peri_buffer_deinit(&image);
    fixture_deinit(&fixture);
}

/* A batch that is not there although a later one is was lost by the disk. */
static void test_a_hole_is_damage(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    uint64_t from = 0, until = 0;
    fixture_init(&fixture, true, 1);
    struct peri_buffer image = make_journal(&fixture, &from, &until);
    uint64_t each = until / BATCHES;
    for (unsigned n = 1; n < BATCHES; n++) {
        struct peri_buffer holed = copy_of(&image);
        memset(holed.data + (n - 1) * each, 0, (size_t)each);
        put_journal(&fixture, peri_buffer_slice(&holed));
        assert_int_equal(look(&fixture, 1), -1);
        check_salvage(&fixture, n);
        peri_buffer_deinit(&holed);
    }
    peri_buffer_deinit(&image);
    fixture_deinit(&fixture);
}

/* A value that goes bad while the journal is open is not given out. */
static void test_bad_values_are_not_read(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    struct peri_buffer value = {0};
    fixture_init(&fixture, true, 1);
    struct store *store = open_at(&fixture, directory, 1);
    write_batches(store, 1, BATCHES);
    assert_true(sim_disk_flip_at(fixture.node, 200, 3));
    assert_int_equal(store_get(store, NULL, text("k001"), &value, NULL), PERI_ECORRUPT);
    assert_true(has_batch(store, 1, 2));
    peri_buffer_deinit(&value);
    store_close(store);
    fixture_deinit(&fixture);
}

/* ---- files that are used again ---- */

static void test_a_kept_file_serves_the_next(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    struct env_stat stat;
    fixture_init(&fixture, true, 1);
    struct store *store = open_at(&fixture, directory, 1);
    write_batches(store, 1, MANY);
    store_close(store);
    struct peri_buffer before = read_journal(&fixture);
    assert_int_equal(store_keep_file(fixture.env, directory, "/", before.size + 1, NULL), 0);
    assert_int_equal(look(&fixture, 1), MANY); /* too small to be kept */
    assert_int_equal(store_keep_file(fixture.env, directory, "/", before.size, NULL), 0);
    assert_int_equal(env_path_stat(fixture.env, "/kept.0", &stat, NULL), 0);
    assert_int_equal(look(&fixture, 1), 0);
    for (uint64_t number = 2; number < 6; number++) {
        store = open_at(&fixture, directory, number);
        for (unsigned n = 1; n <= MANY - number; n++) {
            struct peri_buffer now = {0};
            assert_int_equal(write_batch(store, number, n), 0);
            assert_int_equal(sim_disk_get(fixture.node, "/j/journal", &now), 0);
            assert_int_equal(now.size, before.size); /* it does not grow */
            peri_buffer_deinit(&now);
        }
        store_close(store);
        assert_int_equal(look(&fixture, number), MANY - number);
        assert_int_equal(look(&fixture, number + 1), 0); /* whose it is not yet */
        assert_int_equal(store_keep_file(fixture.env, directory, "/", 0, NULL), 0);
    }
    assert_int_equal(env_path_stat(fixture.env, "/kept.1", &stat, NULL), -ENOENT);
    peri_buffer_deinit(&before);
    fixture_deinit(&fixture);
}

/* The same number twice in one file, as after a crash that took the name away. */
static void test_a_number_twice(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    fixture_init(&fixture, true, 1);
    for (unsigned count = MANY; count > 1; count /= 2) {
        struct store *store = open_at(&fixture, directory, 5);
        write_batches(store, 5, count);
        store_close(store);
        assert_int_equal(look(&fixture, 5), count);
        assert_int_equal(store_keep_file(fixture.env, directory, "/", 0, NULL), 0);
    }
    fixture_deinit(&fixture);
}

/* The file is ahead of what is written, but not by more than was written. */
static void test_growth(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    struct peri_buffer now = {0};
    uint64_t grown = 0;
    fixture_init(&fixture, true, 1);
    struct store *store = open_at(&fixture, directory, 1);
    for (unsigned n = 1; n <= 200; n++) {
        uint64_t before = now.size;
        assert_int_equal(write_batch(store, 1, n), 0);
        now.size = 0;
        assert_int_equal(sim_disk_get(fixture.node, "/j/journal", &now), 0);
        assert_in_range(now.size, store_written_bytes(store),
                        2 * store_written_bytes(store) + 8192);
        grown += now.size != before;
    }
    assert_in_range(grown, 3, 12);
    peri_buffer_deinit(&now);
    store_close(store);
    fixture_deinit(&fixture);
}

/* ---- disks that fail ---- */

static void test_a_full_disk(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    fixture_init(&fixture, true, 1);
    struct store *store = open_at(&fixture, directory, 1);
    fixture_fault(&fixture, ENV_FAULT_DISK_CAPACITY, 50000);
    unsigned n = 1;
    int rc = 0;
    while (rc == 0 && n < 1000)
        if ((rc = write_batch(store, 1, n)) == 0)
            n++;
    assert_int_equal(rc, -ENOSPC);
    assert_true(n > 20);
    assert_int_equal(write_batch(store, 1, n), -ENOSPC); /* for good */
    store_close(store);
    assert_int_equal(look(&fixture, 1), n - 1);
    fixture_deinit(&fixture);
}

static void test_a_failing_sync(void **state)
{
    (void)state;
    static struct log_fixture fixture;
    fixture_init(&fixture, true, 1);
    struct store *store = open_at(&fixture, directory, 1);
    write_batches(store, 1, BATCHES);
    fixture_fault(&fixture, ENV_FAULT_DISK_SYNC_ERROR, 1000000);
    assert_int_equal(write_batch(store, 1, BATCHES + 1), -EIO);
    fixture_fault(&fixture, ENV_FAULT_DISK_SYNC_ERROR, 0);
    assert_int_equal(write_batch(store, 1, BATCHES + 1), -EIO); /* nobody knows what is there */
    assert_int_equal(store_flush(store, NULL), -EIO);
    assert_int_equal(count_batches(store, 1), BATCHES);
    store_close(store);
    fixture_deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_older_generations_open),
        cmocka_unit_test(test_torn_at_every_byte),
        cmocka_unit_test(test_any_sector_may_be_missing),
        cmocka_unit_test(test_flips_of_every_byte),
        cmocka_unit_test(test_a_hole_is_damage),
        cmocka_unit_test(test_bad_values_are_not_read),
        cmocka_unit_test(test_a_kept_file_serves_the_next),
        cmocka_unit_test(test_a_number_twice),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_a_failing_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
