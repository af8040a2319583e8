/* journal.c - the store for generations of the log: one file, written from its beginning to its end
 * by whoever made it, and read ever after.
 *
 * Where a file of the operating system grows, a sync also has to write the file's length, and where
 * its blocks were reserved but never written, that they are now; both cost as much as the data. So
 * the file is longer than what was written, by as much as was written but at most GROWTH_BYTES, of
 * zeroes; and a file that nobody needs is kept (store_journal_keep) for the next generation, which
 * writes over what it holds. How one is told from the other: journal_format.h.
 *
 * Every write is synced. Keys are in memory with the places of their values, which are read from
 * the file (journal_read.c): one thread may write while others get. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "store/backend.h"
#include "store/journal_internal.h"

enum {
    JOURNAL_PATH_MAX = 4096,
    GROWTH_BYTES = 1 << 20,
    PAGE_BYTES = 4096,
    KEPT_MAX = 2 /* files that wait for a generation */
};

static void file_path(char *out, const char *directory)
{
    (void)snprintf(out, JOURNAL_PATH_MAX, "%s/journal", directory);
}

static void kept_path(char *out, const char *directory, unsigned number)
{
    (void)snprintf(out, JOURNAL_PATH_MAX, "%s/kept.%u", directory, number);
}

static void close_journal(struct store *base)
{
    struct journal *journal = journal_of(base);
    (void)env_file_close(journal->file, NULL);
    table_deinit(&journal->places);
    peri_buffer_deinit(&journal->bytes);
    free(journal);
}

/* ---- writing ---- */

/* Takes a file that was kept. */
static int take_kept(struct journal *journal, const char *path, struct peri_error *err)
{
    char kept[JOURNAL_PATH_MAX];
    int rc = -ENOENT;
    for (unsigned i = 0; rc == -ENOENT && i < KEPT_MAX; i++) {
        kept_path(kept, journal->kept, i);
        rc = env_path_rename(journal->base.env, kept, path, err);
    }
    return rc;
}

static int open_file(struct journal *journal, int flags, struct peri_error *err)
{
    char path[JOURNAL_PATH_MAX];
    struct env_stat stat;
    file_path(path, journal->path);
    int rc = env_file_open(journal->base.env, path, ENV_FILE_READ | ENV_FILE_WRITE | flags,
                           &journal->file, err);
    if (rc == 0)
        rc = env_file_lock(journal->file, err);
    if (rc == 0)
        rc = env_file_stat(journal->file, &stat, err);
    journal->length = rc == 0 ? stat.size_bytes : 0;
    return rc;
}

static int make_file(struct journal *journal, struct peri_error *err)
{
    char path[JOURNAL_PATH_MAX];
    file_path(path, journal->path);
    int rc = journal->kept == NULL ? -ENOENT : take_kept(journal, path, err);
    if (rc != 0 && rc != -ENOENT)
        return rc;
    env_random(journal->base.env, &journal->use.use, sizeof journal->use.use);
    return open_file(journal, ENV_FILE_CREATE, err);
}

/* Zeroes behind what was written, so that the next syncs find the file long enough. Without room
 * for them it stays short. */
static int grow(struct journal *journal, uint64_t end, struct peri_error *err)
{
    uint64_t more = end < GROWTH_BYTES ? end : GROWTH_BYTES;
    more += PAGE_BYTES - (end + more) % PAGE_BYTES;
    char *zeroes = calloc(1, (size_t)more);
    if (zeroes == NULL)
        return peri_fail(err, PERI_ENOMEM, "write to %s", journal->path);
    int rc = env_file_pwrite(journal->file, zeroes, (size_t)more, end, err);
    free(zeroes);
    journal->length = rc == 0 ? end + more : end;
    return rc == -ENOSPC || rc == -EDQUOT ? 0 : rc;
}

/* A file that was made here, or came from somewhere else, has its name for good. */
static int sync_names(struct journal *journal, struct peri_error *err)
{
    int rc = env_path_sync(journal->base.env, journal->path, err);
    return rc == 0 && journal->kept != NULL ? env_path_sync(journal->base.env, journal->kept, err)
                                            : rc;
}

static int write_bytes(struct journal *journal, struct peri_error *err)
{
    uint64_t from = journal->sectors * JOURNAL_SECTOR_BYTES, end = from + journal->bytes.size;
    int rc = env_file_pwrite(journal->file, journal->bytes.data, journal->bytes.size, from, err);
    if (rc == 0 && end > journal->length)
        rc = grow(journal, end, err);
    if (rc == 0)
        rc = env_file_sync(journal->file, err);
    return rc == 0 && from == 0 ? sync_names(journal, err) : rc;
}

static int refuse(const struct journal *journal, struct peri_error *err)
{
    if (journal->failed != 0)
        return peri_fail(err, journal->failed, "write to %s: an earlier write failed",
                         journal->path);
    return peri_fail_plain(err, PERI_EINVAL, "write to %s: it is complete", journal->path);
}

static int write_journal(struct store *base, const struct store_batch *batch, bool is_synced,
                         struct peri_error *err)
{
    struct journal *journal = journal_of(base);
    struct peri_slice changes = peri_buffer_slice(&batch->bytes);
    struct table_node *nodes = NULL;
    (void)is_synced;
    if (journal->failed != 0 || journal->is_found)
        return refuse(journal, err);
    int rc = journal->file == NULL ? make_file(journal, err) : 0;
    if (rc == 0)
        rc = table_places_make(changes, journal_position(journal->sectors), &nodes);
    if (rc == 0)
        rc = journal_encode(journal->use, journal->batch + 1, journal->sectors, changes,
                            &journal->bytes);
    if (rc == 0)
        rc = write_bytes(journal, err);
    if (rc != 0) {
        table_nodes_free(nodes);
        journal->failed = rc;
        return err != NULL && err->code == rc ? rc
                                              : peri_fail(err, rc, "write to %s", journal->path);
    }
    journal->batch++;
    journal->sectors += journal->bytes.size / JOURNAL_SECTOR_BYTES;
    base->written_bytes += journal->bytes.size;
    peri_buffer_reset(&journal->bytes, STORE_KEPT_BYTES);
    table_nodes_add(&journal->places, nodes);
    return 0;
}

static int flush_journal(struct store *base, struct peri_error *err)
{
    const struct journal *journal = journal_of(base);
    return journal->failed != 0 ? refuse(journal, err) : 0;
}

static const struct store_ops journal_ops = {
    .close = close_journal,
    .write = write_journal,
    .flush = flush_journal,
    .get = journal_get,
    .snapshot_take = journal_snapshot_take,
    .snapshot_release = journal_snapshot_release,
    .iterator_open = journal_iterator_open,
    .iterator_close = journal_iterator_close,
    .iterator_seek = journal_iterator_seek,
    .iterator_next = journal_iterator_next,
    .iterator_is_valid = table_iterator_is_valid,
    .iterator_key = table_iterator_key,
    .iterator_value = journal_iterator_value,
    .iterator_status = journal_iterator_status,
};

/* ---- opening ---- */

static int add_batches(struct journal *journal, struct journal_scan *scan)
{
    struct peri_slice changes;
    uint64_t position = 0;
    int rc;
    while ((rc = journal_scan_next(scan, &changes, &position)) == 1) {
        struct table_node *nodes = NULL;
        rc = table_places_make(changes, position, &nodes);
        if (rc == PERI_ENOMEM)
            return rc;
        scan->is_damaged = scan->is_damaged || rc != 0;
        table_nodes_add(&journal->places, nodes);
        journal->sectors = scan->sector;
    }
    return rc;
}

static int read_batches(struct journal *journal, bool is_salvage, struct peri_error *err)
{
    struct journal_scan scan;
    struct peri_buffer image = {0};
    int rc = journal_read_file(journal->file, 0, (size_t)journal->length, &image, err);
    journal_scan_begin(&scan, peri_buffer_slice(&image), journal->use.number);
    if (rc == 0) {
        rc = add_batches(journal, &scan);
        if (rc != 0)
            (void)peri_fail(err, rc, "read %s", journal->path);
    }
    journal->use = scan.use;
    journal->base.is_damaged = scan.is_damaged;
    journal->base.is_dirty = scan.is_damaged || scan.is_dirty;
    if (rc == 0 && scan.is_damaged && !is_salvage)
        rc = peri_fail_plain(err, PERI_ECORRUPT, "%s is damaged", journal->path);
    journal_scan_end(&scan);
    peri_buffer_deinit(&image);
    return rc;
}

/* What is there may come from the page cache of a process that was killed: it is synced. */
static int load(struct journal *journal, bool is_salvage, struct peri_error *err)
{
    int rc = open_file(journal, 0, err);
    if (rc == -ENOENT)
        return 0;
    journal->is_found = true;
    if (rc == 0)
        rc = env_file_sync(journal->file, err);
    if (rc == 0)
        rc = sync_names(journal, err);
    return rc == 0 ? read_batches(journal, is_salvage, err) : rc;
}

int store_journal_open(struct store **out, struct env *env, const char *path,
                       const struct store_options *options, struct peri_error *err)
{
    struct journal *journal = calloc(1, sizeof *journal + strlen(path) + 1);
    if (journal == NULL)
        return peri_fail(err, PERI_ENOMEM, "open %s", path);
    journal->base = (struct store){.ops = &journal_ops, .env = env};
    journal->kept = options->kept;
    journal->use.number = options->number;
    memcpy(journal->path, path, strlen(path) + 1);
    table_init(&journal->places);
    table_pin(&journal->places, &journal->pin);
    int rc = load(journal, options->is_salvage, err);
    if (rc != 0) {
        close_journal(&journal->base);
        return rc;
    }
    if (err != NULL)
        peri_error_clear(err); /* it tells of a file that does not have to be there */
    *out = &journal->base;
    return 0;
}

/* ---- files to use again ---- */

/* Where a file can be kept; -ENOENT when it cannot. */
static int find_room(struct env *env, const char *kept, char *out)
{
    struct env_stat stat;
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        kept_path(out, kept, i);
        if (env_path_stat(env, out, &stat, NULL) == -ENOENT)
            return 0;
    }
    return -ENOENT;
}

int store_keep_file(struct env *env, const char *path, const char *kept, uint64_t bytes_min,
                    struct peri_error *err)
{
    char from[JOURNAL_PATH_MAX], to[JOURNAL_PATH_MAX];
    struct env_stat stat;
    file_path(from, path);
    if (env_path_stat(env, from, &stat, NULL) != 0 || stat.size_bytes < bytes_min ||
        find_room(env, kept, to) != 0)
        return 0;
    return env_path_rename(env, from, to, err);
}
