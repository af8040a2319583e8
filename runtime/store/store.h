/* store.h - one ordered map of byte strings on disk: batches, snapshots, iterators.
 *
 * Three backends. LevelDB is for real disks. The memory backend keeps the map in memory and every
 * batch in files of the environment, in LevelDB's shape, so that a simulated disk hurts it where it
 * would hurt LevelDB: batches that were not synced are lost, also those before a synced one when
 * the log file changed in between. The journal is one file of the environment, simulated or not,
 * that is written once, in order: for the generations of the log. Every write of it is synced, and
 * what was opened with something in it takes none.
 *
 * Functions block: they are for background work. With LevelDB several threads may read while one
 * writes, with the journal several may get; the memory backend is for one thread at a time. */
#ifndef PERI_STORE_STORE_H
#define PERI_STORE_STORE_H

#include "base/buffer.h"
#include "env/env.h"

struct store;
struct store_iterator;
struct store_snapshot;

enum store_backend { STORE_BY_ENV, STORE_LEVELDB, STORE_MEMORY, STORE_JOURNAL };

struct store_options {
    enum store_backend backend; /* STORE_BY_ENV: LevelDB where the files are real, else memory;
                                   STORE_JOURNAL: that is also what a directory is opened with that
                                   an earlier build has made, when it is theirs */
    uint64_t number;            /* of the journal: no other one in the same files has it */
    const char *kept;           /* directory with files for a journal to write over
                                   (store_keep_file), or NULL; lent until the store is closed */
    size_t write_buffer_bytes;  /* in memory before it becomes a table */
    size_t file_max_bytes;      /* of a table */
    size_t cache_bytes;         /* of blocks read */
    bool is_compressed;
    bool has_filter;      /* a Bloom filter, for gets of keys that are not there */
    bool is_salvage;      /* read what can be read of a damaged store; for a copy of it */
    bool drops_unflushed; /* open it as it was at the last store_flush, or a later point that is
                             as consistent: batches are there up to some point and none behind it */
};

/* Opens the store in directory path, or makes an empty one there (not its parents). On success the
 * caller owns *out and ends it with store_close, and all that is found in it is durable. Errors:
 * PERI_ECORRUPT when something in it is damaged (and not is_salvage), PERI_EBUSY while another
 * process has it open, PERI_EINVAL for LevelDB in simulation, PERI_ENOMEM, errno codes. */
int store_open(struct store **out, struct env *env, const char *path,
               const struct store_options *options, struct peri_error *err);
void store_close(struct store *store); /* accepts NULL */

/* True when opening it for salvage met damage, or reading has met some since. */
bool store_is_damaged(const struct store *store);

/* False when the store's files hold bytes that make no sense, also where they did no harm. */
bool store_is_clean(const struct store *store);

/* What the batches written since it was opened take on the disk, as far as the backend can say. */
uint64_t store_written_bytes(const struct store *store);

/* Moves the file of a journal that nobody has open from its directory path to the directory kept,
 * unless it is smaller than bytes_min or enough are there. Errors: errno codes. */
int store_keep_file(struct env *env, const char *path, const char *kept, uint64_t bytes_min,
                    struct peri_error *err);

/* Makes a directory, whose parent is there, and its name durable. One that is there is no error.
 * Errors: errno codes. */
int store_make_directory(struct env *env, const char *path, struct peri_error *err);

/* True for the code of an operation that found the disk full, or the user's part of it. */
bool store_is_want_of_room(int code);

/* Removes a store that nobody has open, and its directory. A path that is not there is no error.
 * Errors: errno codes. */
int store_remove(struct env *env, const char *path, struct peri_error *err);

/* Changes that happen together or not at all. Starts zeroed; ended by store_batch_deinit. */
struct store_batch {
    struct peri_buffer bytes;
    size_t count;
};

/* Adds a change, copying its bytes. Errors: PERI_ENOMEM, the batch unchanged. */
int store_batch_put(struct store_batch *batch, struct peri_slice key, struct peri_slice value);
int store_batch_delete(struct store_batch *batch, struct peri_slice key);
/* Empties a batch for the next use; much memory is given back. */
void store_batch_clear(struct store_batch *batch);
void store_batch_deinit(struct store_batch *batch);

/* Writes a batch. Synced: it is durable afterwards, which says nothing of earlier batches that were
 * not. After an error nobody knows whether it is in the store, and every later write fails, until
 * the store is opened anew. Errors: errno codes, PERI_ENOMEM. */
int store_write(struct store *store, const struct store_batch *batch, bool is_synced,
                struct peri_error *err);

/* Makes all batches so far durable (the durable barrier). Errors: as store_write. */
int store_flush(struct store *store, struct peri_error *err);

/* Appends the value of key to out; snapshot may be NULL. Returns 1, or 0 when there is none.
 * Errors: PERI_ECORRUPT, errno codes, PERI_ENOMEM. */
int store_get(struct store *store, const struct store_snapshot *snapshot, struct peri_slice key,
              struct peri_buffer *out, struct peri_error *err);

/* The store as it is now, for reading; the caller releases it before the store is closed. Errors:
 * PERI_ENOMEM. */
int store_snapshot_take(struct store *store, struct store_snapshot **out);
void store_snapshot_release(struct store *store, struct store_snapshot *snapshot);

/* Walks the keys in order, as they are now or in snapshot; the caller owns *out. Starts nowhere.
 * Errors: PERI_ENOMEM. */
int store_iterator_open(struct store *store, const struct store_snapshot *snapshot,
                        struct store_iterator **out);
void store_iterator_close(struct store_iterator *iterator); /* accepts NULL */

/* Moves to the first key that is not below key; to the next one. */
void store_iterator_seek(struct store_iterator *iterator, struct peri_slice key);
void store_iterator_next(struct store_iterator *iterator);

/* Moves to the last key that is below key, which is none of the iterator's own. Not for journals.
 */
void store_iterator_seek_below(struct store_iterator *iterator, struct peri_slice key);

/* False behind the last key, and before the first. Key and value are lent until the iterator moves.
 */
bool store_iterator_is_valid(const struct store_iterator *iterator);
struct peri_slice store_iterator_key(const struct store_iterator *iterator);
struct peri_slice store_iterator_value(const struct store_iterator *iterator);

/* 0 when everything so far could be read. Errors: PERI_ECORRUPT when something was passed over. */
int store_iterator_status(const struct store_iterator *iterator, struct peri_error *err);

#endif
