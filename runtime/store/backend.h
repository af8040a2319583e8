/* backend.h - what stands behind store.h: the table of functions that a backend provides.
 *
 * A backend embeds struct store, struct store_iterator as first members. The functions do what
 * store.h says of their namesakes. */
#ifndef PERI_STORE_BACKEND_H
#define PERI_STORE_BACKEND_H

#include "store/store.h"

enum { STORE_KEPT_BYTES = 4 << 20 }; /* of memory from one write to the next */

struct store_ops {
    void (*close)(struct store *store);
    int (*write)(struct store *store, const struct store_batch *batch, bool is_synced,
                 struct peri_error *err);
    int (*flush)(struct store *store, struct peri_error *err);
    int (*get)(struct store *store, const struct store_snapshot *snapshot, struct peri_slice key,
               struct peri_buffer *out, struct peri_error *err);
    int (*snapshot_take)(struct store *store, struct store_snapshot **out);
    void (*snapshot_release)(struct store *store, struct store_snapshot *snapshot);
    int (*iterator_open)(struct store *store, const struct store_snapshot *snapshot,
                         struct store_iterator **out);
    void (*iterator_close)(struct store_iterator *iterator);
    void (*iterator_seek)(struct store_iterator *iterator, struct peri_slice key);
    void (*iterator_next)(struct store_iterator *iterator);
    void (*iterator_seek_below)(struct store_iterator *iterator, struct peri_slice key); /* not of
                                                                                       journals */
    bool (*iterator_is_valid)(const struct store_iterator *iterator);
    struct peri_slice (*iterator_key)(const struct store_iterator *iterator);
    struct peri_slice (*iterator_value)(const struct store_iterator *iterator);
    int (*iterator_status)(const struct store_iterator *iterator, struct peri_error *err);
};

struct store {
    const struct store_ops *ops;
    struct env *env;
    bool is_damaged;        /* see store_is_damaged */
    bool is_dirty;          /* see store_is_clean */
    uint64_t written_bytes; /* see store_written_bytes */
};

struct store_iterator {
    struct store *store;
};

/* Open a store; path exists, options->backend is settled. */
int store_leveldb_open(struct store **out, struct env *env, const char *path,
                       const struct store_options *options, struct peri_error *err);
int store_journal_open(struct store **out, struct env *env, const char *path,
                       const struct store_options *options, struct peri_error *err);
int store_memory_open(struct store **out, struct env *env, const char *path,
                      const struct store_options *options, struct peri_error *err);

/* One change of a batch; value.data is NULL for a deletion. */
struct store_change {
    struct peri_slice key, value;
};

/* Reads the change at *at of a batch's bytes and moves *at behind it. Returns 1, 0 at the end.
 * Errors: PERI_ECORRUPT for bytes that are no batch. */
int store_batch_next(struct peri_slice bytes, size_t *at, struct store_change *out);

#endif
