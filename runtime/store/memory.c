/* memory.c - the store for simulation: the map in memory (table.h), the batches in files
 * (segment.h).
 *
 * It has LevelDB's shape, so that a simulated disk hurts it where a real one would hurt LevelDB. A
 * batch is one record. A segment that has grown to write_buffer_bytes is left for the next one
 * without a sync. store_flush syncs all segments and begins a new one; when most of what they hold
 * is dead, it writes the live map into one segment and drops the others. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "store/backend.h"
#include "store/segment.h"
#include "store/table_walk.h"

struct memory_store {
    struct store base;
    struct table table;
    struct segment_current current;
    uint64_t number, offset; /* the segment that is written, and where */
    uint64_t bytes;          /* in all segments */
    uint64_t sequence;       /* of the last record */
    size_t write_buffer_bytes;
    int failed; /* code of the write that failed; then none succeeds any more */
    struct peri_buffer record;
    char path[];
};

static struct memory_store *memory_of(struct store *store)
{
    return container_of(store, struct memory_store, base);
}

static void close_memory(struct store *base)
{
    struct memory_store *store = memory_of(base);
    table_deinit(&store->table);
    peri_buffer_deinit(&store->record);
    free(store);
}

/* ---- writing ---- */

static int fail_for_good(struct memory_store *store, int rc)
{
    store->failed = rc;
    return rc;
}

static int append(struct memory_store *store, struct peri_slice batch, bool is_synced,
                  struct peri_error *err)
{
    if (store->offset >= store->write_buffer_bytes) {
        store->number++;
        store->offset = 0;
    }
    store->record.size = 0;
    int rc = segment_encode(store->sequence + 1, batch, &store->record);
    if (rc != 0)
        return peri_fail(err, rc, "write to %s", store->path);
    rc = segment_write(store->base.env, store->path, store->number, store->offset,
                       peri_buffer_slice(&store->record), is_synced, err);
    if (rc != 0)
        return fail_for_good(store, rc);
    store->sequence++;
    store->offset += store->record.size;
    store->bytes += store->record.size;
    store->base.written_bytes += store->record.size;
    return 0;
}

static int refuse(const struct memory_store *store, struct peri_error *err)
{
    return peri_fail(err, store->failed, "write to %s: an earlier write failed", store->path);
}

static int write_memory(struct store *base, const struct store_batch *batch, bool is_synced,
                        struct peri_error *err)
{
    struct memory_store *store = memory_of(base);
    struct table_node *nodes = NULL;
    if (store->failed != 0)
        return refuse(store, err);
    int rc = table_nodes_make(peri_buffer_slice(&batch->bytes), &nodes);
    if (rc != 0)
        return peri_fail(err, rc, "write to %s", store->path);
    rc = append(store, peri_buffer_slice(&batch->bytes), is_synced, err);
    if (rc != 0) {
        table_nodes_free(nodes);
        return rc;
    }
    table_nodes_add(&store->table, nodes);
    return 0;
}

static int remove_segments(struct memory_store *store, uint64_t from, uint64_t until,
                           struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX];
    for (uint64_t number = from; number < until; number++) {
        segment_path(path, store->path, number);
        int rc = env_path_remove(store->base.env, path, err);
        if (rc != 0 && rc != -ENOENT)
            return rc;
    }
    return 0;
}

static int gather_live(struct memory_store *store, struct store_batch *out)
{
    for (struct table_node *node = store->table.heads[0]; node != NULL; node = node->next[0]) {
        int rc = store_batch_put(out, table_key(node), table_value(node));
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Everything into a segment of its own; the others go. Nothing is pinned. */
static int rewrite(struct memory_store *store, struct peri_error *err)
{
    struct store_batch live = {0};
    int rc = gather_live(store, &live);
    store->number++;
    store->offset = 0;
    store->bytes = 0;
    if (rc == 0)
        rc = append(store, peri_buffer_slice(&live.bytes), true, err);
    store_batch_deinit(&live);
    struct segment_current current = {store->number, store->number + 1};
    if (rc == 0)
        rc = segment_current_write(store->base.env, store->path, &current, err);
    if (rc == 0)
        rc = remove_segments(store, store->current.oldest, current.oldest, err);
    store->current = current;
    return rc;
}

enum { REWRITE_BYTES_MIN = 64 << 10 };

static bool is_mostly_dead(const struct memory_store *store)
{
    return store->bytes > REWRITE_BYTES_MIN && store->bytes / 2 > store->table.live_bytes &&
           peri_list_is_empty(&store->table.pins);
}

static int flush_memory(struct store *base, struct peri_error *err)
{
    struct memory_store *store = memory_of(base);
    if (store->failed != 0)
        return refuse(store, err);
    int rc = 0;
    for (uint64_t at = store->current.flushed; rc == 0 && at <= store->number; at++)
        rc = segment_sync(base->env, store->path, at, err);
    if (rc == 0 && is_mostly_dead(store)) {
        rc = rewrite(store, err);
    } else if (rc == 0) {
        store->current.flushed = store->number + 1;
        rc = segment_current_write(base->env, store->path, &store->current, err);
    }
    store->number++;
    store->offset = 0;
    return rc == 0 ? 0 : fail_for_good(store, rc);
}

/* ---- reading ---- */

static int get_memory(struct store *base, const struct store_snapshot *snapshot,
                      struct peri_slice key, struct peri_buffer *out, struct peri_error *err)
{
    struct memory_store *store = memory_of(base);
    const struct table_node *node =
        table_find(&store->table, key, table_walk_sequence(&store->table, snapshot), false);
    if (node == NULL || peri_slice_compare(table_key(node), key) != 0)
        return 0;
    struct peri_slice value = table_value(node);
    int rc = peri_buffer_append(out, value.data, value.size);
    return rc == 0 ? 1 : peri_fail(err, rc, "read %s", store->path);
}

static int take_snapshot(struct store *base, struct store_snapshot **out)
{
    return table_snapshot_take(&memory_of(base)->table, out);
}

static void release_snapshot(struct store *base, struct store_snapshot *snapshot)
{
    table_snapshot_release(&memory_of(base)->table, snapshot);
}

static int open_iterator(struct store *base, const struct store_snapshot *snapshot,
                         struct store_iterator **out)
{
    struct table_iterator *iterator = calloc(1, sizeof *iterator);
    if (iterator == NULL)
        return PERI_ENOMEM;
    table_iterator_begin(iterator, base, &memory_of(base)->table, snapshot);
    *out = &iterator->base;
    return 0;
}

static void close_iterator(struct store_iterator *base)
{
    table_iterator_end(table_iterator_of(base));
    free(table_iterator_of(base));
}

static struct peri_slice value_of(const struct store_iterator *base)
{
    return table_value(table_iterator_of(base)->node);
}

static int status_of(const struct store_iterator *base, struct peri_error *err)
{
    (void)base;
    (void)err;
    return 0; /* what is in memory can be read */
}

static const struct store_ops memory_ops = {
    .close = close_memory,
    .write = write_memory,
    .flush = flush_memory,
    .get = get_memory,
    .snapshot_take = take_snapshot,
    .snapshot_release = release_snapshot,
    .iterator_open = open_iterator,
    .iterator_close = close_iterator,
    .iterator_seek = table_iterator_seek,
    .iterator_next = table_iterator_next,
    .iterator_seek_below = table_iterator_seek_below,
    .iterator_is_valid = table_iterator_is_valid,
    .iterator_key = table_iterator_key,
    .iterator_value = value_of,
    .iterator_status = status_of,
};

/* ---- opening ---- */

static int replay(struct memory_store *store, struct peri_slice bytes, bool is_salvage,
                  struct peri_error *err)
{
    struct peri_slice batch;
    uint64_t sequence = 0;
    size_t at = 0;
    int rc;
    while ((rc = segment_next(bytes, &at, &sequence, &batch)) != 0) {
        struct table_node *nodes = NULL;
        if (rc == 1)
            rc = table_nodes_make(batch, &nodes);
        if (rc == PERI_ECORRUPT && is_salvage) {
            store->base.is_damaged = true;
            continue;
        }
        if (rc != 0)
            return peri_fail(err, rc, "%s, segment %" PRIu64 ", record before byte %zu",
                             store->path, store->number, at);
        table_nodes_add(&store->table, nodes);
        store->sequence = sequence;
    }
    store->bytes += bytes.size;
    return 0;
}

static int load_segments(struct memory_store *store, const struct store_options *options,
                         struct peri_error *err)
{
    struct peri_buffer bytes = {0};
    int rc = 0;
    uint64_t number = store->current.oldest;
    for (;; number++) {
        if (options->drops_unflushed && number >= store->current.flushed)
            break;
        bytes.size = 0;
        rc = segment_read(store->base.env, store->path, number, &bytes, err);
        if (rc == -ENOENT && number < store->current.flushed)
            continue; /* nothing was written between two flushes */
        store->number = number;
        if (rc == 0)
            rc = replay(store, peri_buffer_slice(&bytes), options->is_salvage, err);
        if (rc != 0)
            break;
    }
    peri_buffer_deinit(&bytes);
    store->number = number;
    return rc == -ENOENT ? 0 : rc;
}

/* Segments behind a gap, or behind the last flush when that is wanted, count no more. */
static int remove_rest(struct memory_store *store, struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX];
    enum { GAP_MAX = 4 };
    for (uint64_t number = store->number, missing = 0; missing < GAP_MAX; number++) {
        segment_path(path, store->path, number);
        int rc = env_path_remove(store->base.env, path, err);
        if (rc == -ENOENT)
            missing++;
        else if (rc != 0)
            return rc;
    }
    return 0;
}

static int load(struct memory_store *store, const struct store_options *options,
                struct peri_error *err)
{
    int rc = segment_current_read(store->base.env, store->path, &store->current, err);
    if (rc == -ENOENT) {
        store->current = (struct segment_current){1, 1};
        rc = segment_current_write(store->base.env, store->path, &store->current, err);
    }
    if (rc == 0)
        rc = load_segments(store, options, err);
    return rc == 0 ? remove_rest(store, err) : rc;
}

int store_memory_open(struct store **out, struct env *env, const char *path,
                      const struct store_options *options, struct peri_error *err)
{
    struct memory_store *store = calloc(1, sizeof *store + strlen(path) + 1);
    if (store == NULL)
        return peri_fail(err, PERI_ENOMEM, "open %s", path);
    store->base = (struct store){.ops = &memory_ops, .env = env};
    store->write_buffer_bytes =
        options->write_buffer_bytes > 0 ? options->write_buffer_bytes : 4 << 20;
    memcpy(store->path, path, strlen(path) + 1);
    table_init(&store->table);
    int rc = load(store, options, err);
    if (rc == 0) /* what was read may come from the page cache of a process that was killed */
        rc = flush_memory(&store->base, err);
    if (rc != 0) {
        close_memory(&store->base);
        return err != NULL && err->code == rc ? rc : peri_fail(err, rc, "open %s", path);
    }
    if (err != NULL)
        peri_error_clear(err); /* it tells of files that do not have to be there */
    *out = &store->base;
    return 0;
}
