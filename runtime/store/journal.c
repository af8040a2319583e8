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
 * the file: one thread may write while others get. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "store/backend.h"
#include "store/journal_format.h"
#include "store/table_walk.h"

enum {
    JOURNAL_PATH_MAX = 4096,
    GROWTH_BYTES = 1 << 20,
    PAGE_BYTES = 4096,
    KEPT_MAX = 2 /* files that wait for a generation */
};

struct journal {
    struct store base;
    struct table places;   /* values are struct table_place */
    struct table_pin pin;  /* for ever: nodes stay, for those who look meanwhile */
    struct env_file *file; /* NULL: there is none yet */
    const char *kept;      /* directory of files to use again, or NULL */
    struct journal_use use;
    uint32_t batch;           /* the last one */
    uint64_t sectors, length; /* written; bytes of the file */
    bool is_found;            /* the file was there when it was opened: it is complete */
    int failed;               /* code of the write that failed */
    struct peri_buffer bytes; /* of the batch that is written */
    char path[];
};

struct journal_iterator {
    struct table_iterator walk;
    struct peri_buffer image; /* what is written of the file */
    struct peri_buffer value; /* of the key that it has come to */
    int status;
};

static struct journal *journal_of(struct store *store)
{
    return container_of(store, struct journal, base);
}

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
    journal->bytes.size = 0;
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
    table_nodes_add(&journal->places, nodes);
    return 0;
}

static int flush_journal(struct store *base, struct peri_error *err)
{
    const struct journal *journal = journal_of(base);
    return journal->failed != 0 ? refuse(journal, err) : 0;
}

/* ---- reading ---- */

static struct table_place place_of(const struct table_node *node)
{
    struct table_place place;
    memcpy(&place, table_value(node).data, sizeof place);
    return place;
}

/* Appends size bytes of the file to out, or as many as there are. */
static int read_file(struct env_file *file, uint64_t offset, size_t size, struct peri_buffer *out,
                     struct peri_error *err)
{
    if (peri_buffer_reserve(out, size) != 0)
        return peri_fail(err, PERI_ENOMEM, "read a journal");
    for (size_t got = 0; got < size;) {
        int64_t part = env_file_pread(file, out->data + out->size, size - got, offset + got, err);
        if (part <= 0)
            return (int)part;
        got += (size_t)part;
        out->size += (size_t)part;
    }
    return 0;
}

static int read_place(struct journal *journal, struct table_place place, struct peri_buffer *out,
                      struct peri_error *err)
{
    struct peri_buffer image = {0};
    uint64_t first = place.position / JOURNAL_ROOM_BYTES;
    uint64_t end = (place.position + place.size) / JOURNAL_ROOM_BYTES + 1;
    int rc = read_file(journal->file, first * JOURNAL_SECTOR_BYTES,
                       (size_t)(end - first) * JOURNAL_SECTOR_BYTES, &image, err);
    if (rc == 0) {
        rc = journal_extract(peri_buffer_slice(&image), first, journal->use.use, place.position,
                             place.size, out);
        if (rc != 0)
            (void)peri_fail(err, rc, "read %s", journal->path);
    }
    peri_buffer_deinit(&image);
    return rc;
}

static int get_journal(struct store *base, const struct store_snapshot *snapshot,
                       struct peri_slice key, struct peri_buffer *out, struct peri_error *err)
{
    struct journal *journal = journal_of(base);
    uint64_t sequence = snapshot == NULL ? UINT64_MAX : snapshot->pin.sequence;
    const struct table_node *node = table_find(&journal->places, key, sequence, false);
    if (node == NULL || peri_slice_compare(table_key(node), key) != 0)
        return 0;
    int rc = read_place(journal, place_of(node), out, err);
    return rc == 0 ? 1 : rc;
}

static int take_snapshot(struct store *base, struct store_snapshot **out)
{
    return table_snapshot_take(&journal_of(base)->places, out);
}

static void release_snapshot(struct store *base, struct store_snapshot *snapshot)
{
    table_snapshot_release(&journal_of(base)->places, snapshot);
}

static struct journal_iterator *iterator_of(const struct store_iterator *base)
{
    return container_of(table_iterator_of(base), struct journal_iterator, walk);
}

static void close_iterator(struct store_iterator *base)
{
    struct journal_iterator *iterator = iterator_of(base);
    table_iterator_end(&iterator->walk);
    peri_buffer_deinit(&iterator->image);
    peri_buffer_deinit(&iterator->value);
    free(iterator);
}

/* Who walks a journal wants all of it: it is read at once. */
static int open_iterator(struct store *base, const struct store_snapshot *snapshot,
                         struct store_iterator **out)
{
    struct journal *journal = journal_of(base);
    struct journal_iterator *iterator = calloc(1, sizeof *iterator);
    if (iterator == NULL)
        return PERI_ENOMEM;
    table_iterator_begin(&iterator->walk, base, &journal->places, snapshot);
    if (journal->file != NULL)
        iterator->status =
            read_file(journal->file, 0, (size_t)journal->sectors * JOURNAL_SECTOR_BYTES,
                      &iterator->image, NULL);
    if (iterator->status == PERI_ENOMEM) {
        close_iterator(&iterator->walk.base);
        return PERI_ENOMEM;
    }
    *out = &iterator->walk.base;
    return 0;
}

/* Takes the value of the key that the iterator has come to, or the next that has one. */
static void load_value(struct store_iterator *base)
{
    struct journal_iterator *iterator = iterator_of(base);
    struct journal *journal = journal_of(base->store);
    while (iterator->walk.node != NULL) {
        struct table_place place = place_of(iterator->walk.node);
        iterator->value.size = 0;
        int rc = journal_extract(peri_buffer_slice(&iterator->image), 0, journal->use.use,
                                 place.position, place.size, &iterator->value);
        if (rc == 0)
            return;
        iterator->status = iterator->status != 0 ? iterator->status : rc;
        table_iterator_next(base);
    }
}

static void seek(struct store_iterator *base, struct peri_slice key)
{
    table_iterator_seek(base, key);
    load_value(base);
}

static void next(struct store_iterator *base)
{
    table_iterator_next(base);
    load_value(base);
}

static struct peri_slice value_of(const struct store_iterator *base)
{
    return peri_buffer_slice(&iterator_of(base)->value);
}

static int status_of(const struct store_iterator *base, struct peri_error *err)
{
    int rc = iterator_of(base)->status;
    return rc == 0 ? 0 : peri_fail(err, rc, "read %s", journal_of(base->store)->path);
}

static const struct store_ops journal_ops = {
    .close = close_journal,
    .write = write_journal,
    .flush = flush_journal,
    .get = get_journal,
    .snapshot_take = take_snapshot,
    .snapshot_release = release_snapshot,
    .iterator_open = open_iterator,
    .iterator_close = close_iterator,
    .iterator_seek = seek,
    .iterator_next = next,
    .iterator_is_valid = table_iterator_is_valid,
    .iterator_key = table_iterator_key,
    .iterator_value = value_of,
    .iterator_status = status_of,
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
    int rc = read_file(journal->file, 0, (size_t)journal->length, &image, err);
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
