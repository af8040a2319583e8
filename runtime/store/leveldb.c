/* leveldb.c - the store on LevelDB's C interface; the only file that names leveldb_*.
 *
 * Paranoid checks are on: with LevelDB's default a flipped byte of its log costs the rows behind it
 * without a word. Its log is not fsynced when it is closed for the next one, so a synced write says
 * nothing of earlier ones (google/leveldb, db/db_impl.cc MakeRoomForWrite): store_flush makes a
 * table of what is in memory, which is synced before it counts. */
#include <errno.h>
#include <leveldb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "store/backend.h"

struct level_store {
    struct store base;
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write, *write_synced;
    leveldb_writebatch_t *_Atomic batch; /* with its memory, for the next write; or NULL */
    char path[];
};

struct level_iterator {
    struct store_iterator base;
    leveldb_iterator_t *iterator;
    leveldb_readoptions_t *read;
};

static struct level_store *level_of(struct store *store)
{
    return container_of(store, struct level_store, base);
}

/* LevelDB's errors are texts: our code for one, which it frees. */
static int fail(struct level_store *store, char *text, const char *what, struct peri_error *err)
{
    int code = -EIO;
    bool is_damage = strncmp(text, "Corruption", strlen("Corruption")) == 0 ||
                     strstr(text, "missing files") != NULL ||
                     strstr(text, "does not exist") != NULL;
    if (is_damage)
        code = PERI_ECORRUPT;
    else if (strstr(text, "No space left") != NULL || strstr(text, "quota exceeded") != NULL)
        code = -ENOSPC;
    else if (strstr(text, "lock") != NULL)
        code = PERI_EBUSY;
    if (code == PERI_ECORRUPT)
        store->base.is_damaged = true;
    (void)peri_fail_plain(err, code, "%s %s: %s", what, store->path, text);
    leveldb_free(text);
    return code;
}

/* Batches take turns, so that one need not grow anew for each write. */
static leveldb_writebatch_t *take_batch(struct level_store *store)
{
    leveldb_writebatch_t *batch = atomic_exchange(&store->batch, NULL);
    return batch != NULL ? batch : leveldb_writebatch_create();
}

static void leave_batch(struct level_store *store, leveldb_writebatch_t *batch)
{
    if (batch != NULL)
        leveldb_writebatch_clear(batch);
    batch = atomic_exchange(&store->batch, batch);
    if (batch != NULL)
        leveldb_writebatch_destroy(batch);
}

static void close_level(struct store *base)
{
    struct level_store *store = level_of(base);
    if (store->db != NULL)
        leveldb_close(store->db);
    leveldb_options_destroy(store->options);
    if (store->cache != NULL)
        leveldb_cache_destroy(store->cache);
    if (store->filter != NULL)
        leveldb_filterpolicy_destroy(store->filter);
    leveldb_readoptions_destroy(store->read);
    leveldb_writeoptions_destroy(store->write);
    leveldb_writeoptions_destroy(store->write_synced);
    leave_batch(store, NULL);
    free(store);
}

/* ---- writing ---- */

static int fill(leveldb_writebatch_t *out, const struct store_batch *batch, struct peri_error *err)
{
    struct store_change change;
    size_t at = 0;
    int rc;
    while ((rc = store_batch_next(peri_buffer_slice(&batch->bytes), &at, &change)) == 1) {
        if (change.value.data != NULL)
            leveldb_writebatch_put(out, change.key.data, change.key.size, change.value.data,
                                   change.value.size);
        else
            leveldb_writebatch_delete(out, change.key.data, change.key.size);
    }
    return rc == 0 ? 0 : peri_fail(err, rc, "batch");
}

static int write_level(struct store *base, const struct store_batch *batch, bool is_synced,
                       struct peri_error *err)
{
    struct level_store *store = level_of(base);
    char *text = NULL;
    leveldb_writebatch_t *out = take_batch(store);
    int rc = fill(out, batch, err);
    if (rc == 0)
        leveldb_write(store->db, is_synced ? store->write_synced : store->write, out, &text);
    if (batch->bytes.size <= STORE_KEPT_BYTES)
        leave_batch(store, out);
    else
        leveldb_writebatch_destroy(out);
    base->written_bytes += batch->bytes.size; /* and somewhat more */
    return text == NULL ? rc : fail(store, text, "write to", err);
}

/* Compacting a range first makes a table of what is in memory, if anything, and syncs it. No key of
 * ours begins with FF FF FF FF, so nothing else is touched. It reports nothing; an error of the
 * background would fail the write that follows. */
static int flush_level(struct store *base, struct peri_error *err)
{
    static const char nowhere[] = "\xff\xff\xff\xff";
    struct level_store *store = level_of(base);
    leveldb_compact_range(store->db, nowhere, 4, nowhere, 4);
    char *text = NULL;
    leveldb_delete(store->db, store->write_synced, nowhere, 4, &text);
    return text == NULL ? 0 : fail(store, text, "flush", err);
}

/* ---- reading ---- */

static leveldb_readoptions_t *new_read_options(const struct store_snapshot *snapshot)
{
    leveldb_readoptions_t *read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(read, 1);
    leveldb_readoptions_set_fill_cache(read, 0);
    leveldb_readoptions_set_snapshot(read, (const leveldb_snapshot_t *)(const void *)snapshot);
    return read;
}

static int get_with(struct level_store *store, const leveldb_readoptions_t *read,
                    struct peri_slice key, struct peri_buffer *out, struct peri_error *err)
{
    char *text = NULL;
    size_t size = 0;
    char *value = leveldb_get(store->db, read, key.data, key.size, &size, &text);
    if (text != NULL)
        return fail(store, text, "read", err);
    if (value == NULL)
        return 0;
    int rc = peri_buffer_append(out, value, size);
    leveldb_free(value);
    return rc == 0 ? 1 : peri_fail(err, rc, "read %s", store->path);
}

static int get_level(struct store *base, const struct store_snapshot *snapshot,
                     struct peri_slice key, struct peri_buffer *out, struct peri_error *err)
{
    struct level_store *store = level_of(base);
    if (snapshot == NULL)
        return get_with(store, store->read, key, out, err);
    leveldb_readoptions_t *read = new_read_options(snapshot);
    int rc = get_with(store, read, key, out, err);
    leveldb_readoptions_destroy(read);
    return rc;
}

static int take_snapshot(struct store *base, struct store_snapshot **out)
{
    const leveldb_snapshot_t *snapshot = leveldb_create_snapshot(level_of(base)->db);
    *out = (struct store_snapshot *)(uintptr_t)snapshot;
    return 0;
}

static void release_snapshot(struct store *base, struct store_snapshot *snapshot)
{
    leveldb_release_snapshot(level_of(base)->db, (const leveldb_snapshot_t *)(void *)snapshot);
}

static struct level_iterator *iterator_of(const struct store_iterator *base)
{
    return container_of((struct store_iterator *)(uintptr_t)base, struct level_iterator, base);
}

static int open_iterator(struct store *base, const struct store_snapshot *snapshot,
                         struct store_iterator **out)
{
    struct level_iterator *iterator = calloc(1, sizeof *iterator);
    if (iterator == NULL)
        return PERI_ENOMEM;
    iterator->base.store = base;
    iterator->read = new_read_options(snapshot);
    iterator->iterator = leveldb_create_iterator(level_of(base)->db, iterator->read);
    *out = &iterator->base;
    return 0;
}

static void close_iterator(struct store_iterator *base)
{
    struct level_iterator *iterator = iterator_of(base);
    leveldb_iter_destroy(iterator->iterator);
    leveldb_readoptions_destroy(iterator->read);
    free(iterator);
}

static void seek(struct store_iterator *base, struct peri_slice key)
{
    leveldb_iter_seek(iterator_of(base)->iterator, key.data, key.size);
}

static void next(struct store_iterator *base)
{
    leveldb_iter_next(iterator_of(base)->iterator);
}

static void seek_below(struct store_iterator *base, struct peri_slice key)
{
    leveldb_iterator_t *iterator = iterator_of(base)->iterator;
    leveldb_iter_seek(iterator, key.data, key.size);
    if (leveldb_iter_valid(iterator))
        leveldb_iter_prev(iterator);
    else
        leveldb_iter_seek_to_last(iterator);
}

static bool is_valid(const struct store_iterator *base)
{
    return leveldb_iter_valid(iterator_of(base)->iterator) != 0;
}

static struct peri_slice key_of(const struct store_iterator *base)
{
    size_t size = 0;
    const char *data = leveldb_iter_key(iterator_of(base)->iterator, &size);
    return peri_slice_of(data, size);
}

static struct peri_slice value_of(const struct store_iterator *base)
{
    size_t size = 0;
    const char *data = leveldb_iter_value(iterator_of(base)->iterator, &size);
    return peri_slice_of(data, size);
}

static int status_of(const struct store_iterator *base, struct peri_error *err)
{
    char *text = NULL;
    leveldb_iter_get_error(iterator_of(base)->iterator, &text);
    return text == NULL ? 0 : fail(level_of(base->store), text, "read", err);
}

static const struct store_ops level_ops = {
    .close = close_level,
    .write = write_level,
    .flush = flush_level,
    .get = get_level,
    .snapshot_take = take_snapshot,
    .snapshot_release = release_snapshot,
    .iterator_open = open_iterator,
    .iterator_close = close_iterator,
    .iterator_seek = seek,
    .iterator_next = next,
    .iterator_seek_below = seek_below,
    .iterator_is_valid = is_valid,
    .iterator_key = key_of,
    .iterator_value = value_of,
    .iterator_status = status_of,
};

/* ---- opening ---- */

enum { FILTER_BITS = 10 };

static void set_options(struct level_store *store, const struct store_options *options)
{
    leveldb_options_t *to = store->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(to, 1);
    leveldb_options_set_paranoid_checks(to, !options->is_salvage);
    leveldb_options_set_compression(to, options->is_compressed ? leveldb_snappy_compression
                                                               : leveldb_no_compression);
    if (options->write_buffer_bytes > 0)
        leveldb_options_set_write_buffer_size(to, options->write_buffer_bytes);
    if (options->file_max_bytes > 0)
        leveldb_options_set_max_file_size(to, options->file_max_bytes);
    if (options->cache_bytes > 0) {
        store->cache = leveldb_cache_create_lru(options->cache_bytes);
        leveldb_options_set_cache(to, store->cache);
    }
    if (options->has_filter) {
        store->filter = leveldb_filterpolicy_create_bloom(FILTER_BITS);
        leveldb_options_set_filter_policy(to, store->filter);
    }
    store->read = new_read_options(NULL);
    leveldb_readoptions_set_fill_cache(store->read, options->cache_bytes > 0);
    store->write = leveldb_writeoptions_create();
    store->write_synced = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(store->write_synced, 1);
}

static bool is_log_file(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcmp(dot, ".log") == 0;
}

/* Without its logs LevelDB opens as of the last table that it made, which holds every batch up to
 * some moment and none behind it. */
static int remove_logs(struct env *env, const char *path, struct peri_error *err)
{
    char file[4096];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    int rc = env_dir_open(env, path, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        if (!is_log_file(name))
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", path, name);
        rc = env_path_remove(env, file, err);
        if (rc != 0)
            break;
    }
    env_dir_close(dir);
    return rc;
}

int store_leveldb_open(struct store **out, struct env *env, const char *path,
                       const struct store_options *options, struct peri_error *err)
{
    int rc = options->drops_unflushed ? remove_logs(env, path, err) : 0;
    if (rc != 0)
        return rc;
    struct level_store *store = calloc(1, sizeof *store + strlen(path) + 1);
    if (store == NULL)
        return peri_fail(err, PERI_ENOMEM, "open %s", path);
    store->base = (struct store){.ops = &level_ops, .env = env};
    memcpy(store->path, path, strlen(path) + 1);
    set_options(store, options);
    char *text = NULL;
    store->db = leveldb_open(store->options, path, &text);
    if (text != NULL) {
        rc = fail(store, text, "open", err);
        close_level(&store->base);
        return rc;
    }
    *out = &store->base;
    return 0;
}
