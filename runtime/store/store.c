#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "store/backend.h"

/* ---- batches: kind u8 | key size varint | [value size varint] | key | [value], ... ---- */

enum change_kind { CHANGE_PUT = 1, CHANGE_DELETE = 2 };

int store_batch_put(struct store_batch *batch, struct peri_slice key, struct peri_slice value)
{
    struct peri_buffer *out = &batch->bytes;
    int rc = peri_buffer_reserve(out, 1 + 2 * BITS_VARINT_MAX + key.size + value.size);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    *at++ = CHANGE_PUT;
    at = bits_put_varint(at, key.size);
    at = bits_put_varint(at, value.size);
    out->size = (size_t)(at - out->data);
    (void)peri_buffer_append(out, key.data, key.size); /* there is room */
    (void)peri_buffer_append(out, value.data, value.size);
    batch->count++;
    return 0;
}

int store_batch_delete(struct store_batch *batch, struct peri_slice key)
{
    struct peri_buffer *out = &batch->bytes;
    int rc = peri_buffer_reserve(out, 1 + BITS_VARINT_MAX + key.size);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    *at++ = CHANGE_DELETE;
    at = bits_put_varint(at, key.size);
    out->size = (size_t)(at - out->data);
    (void)peri_buffer_append(out, key.data, key.size); /* there is room */
    batch->count++;
    return 0;
}

int store_batch_next(struct peri_slice bytes, size_t *at, struct store_change *out)
{
    if (*at >= bytes.size)
        return 0;
    const char *end = bytes.data + bytes.size, *in = bytes.data + *at;
    char kind = *in++;
    uint64_t key_size = 0, value_size = 0;
    in = bits_get_varint(in, end, &key_size);
    if (in != NULL && kind == CHANGE_PUT)
        in = bits_get_varint(in, end, &value_size);
    if (in == NULL || (kind != CHANGE_PUT && kind != CHANGE_DELETE))
        return PERI_ECORRUPT;
    size_t left = (size_t)(end - in);
    if (key_size > left || value_size > left - key_size)
        return PERI_ECORRUPT;
    out->key = peri_slice_of(in, (size_t)key_size);
    out->value = peri_slice_of(kind == CHANGE_PUT ? in + key_size : NULL, (size_t)value_size);
    *at = (size_t)(in - bytes.data) + (size_t)key_size + (size_t)value_size;
    return 1;
}

void store_batch_clear(struct store_batch *batch)
{
    peri_buffer_reset(&batch->bytes, STORE_KEPT_BYTES);
    batch->count = 0;
}

void store_batch_deinit(struct store_batch *batch)
{
    peri_buffer_deinit(&batch->bytes);
    batch->count = 0;
}

/* ---- stores ---- */

int store_make_directory(struct env *env, const char *path, struct peri_error *err)
{
    int rc = env_path_mkdir(env, path, err);
    if (rc != 0 && rc != -EEXIST) /* whoever made it may not have come as far as the sync */
        return rc;
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return env_path_sync(env, slash == NULL ? "." : "/", err);
    char *parent = strndup(path, (size_t)(slash - path));
    rc = parent == NULL ? peri_fail(err, PERI_ENOMEM, "make %s", path)
                        : env_path_sync(env, parent, err);
    free(parent);
    return rc;
}

/* LevelDB and the memory backend both have a file of this name. */
static bool is_made_by_env(struct env *env, const char *path)
{
    char current[4096];
    struct env_stat stat;
    (void)snprintf(current, sizeof current, "%s/CURRENT", path);
    return env_path_stat(env, current, &stat, NULL) == 0;
}

int store_open(struct store **out, struct env *env, const char *path,
               const struct store_options *options, struct peri_error *err)
{
    bool is_real = env_files_are_real(env);
    enum store_backend backend = options->backend;
    if (backend == STORE_BY_ENV || (backend == STORE_JOURNAL && is_made_by_env(env, path)))
        backend = is_real ? STORE_LEVELDB : STORE_MEMORY;
    if (backend == STORE_LEVELDB && !is_real)
        return peri_fail_plain(err, PERI_EINVAL, "open %s: LevelDB does not see simulated files",
                               path);
    int rc = store_make_directory(env, path, err);
    if (rc != 0)
        return rc;
    if (backend == STORE_JOURNAL)
        return store_journal_open(out, env, path, options, err);
    return backend == STORE_LEVELDB ? store_leveldb_open(out, env, path, options, err)
                                    : store_memory_open(out, env, path, options, err);
}

void store_close(struct store *store)
{
    if (store != NULL)
        store->ops->close(store);
}

bool store_is_damaged(const struct store *store)
{
    return store->is_damaged;
}

bool store_is_clean(const struct store *store)
{
    return !store->is_damaged && !store->is_dirty;
}

uint64_t store_written_bytes(const struct store *store)
{
    return store->written_bytes;
}

static int remove_entries(struct env *env, const char *path, struct env_dir *dir,
                          struct peri_error *err)
{
    char file[4096];
    const char *name = NULL;
    enum env_file_type type;
    int rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        (void)snprintf(file, sizeof file, "%s/%s", path, name);
        rc = env_path_remove(env, file, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

bool store_is_want_of_room(int code)
{
    return code == -ENOSPC || code == -EDQUOT;
}

int store_remove(struct env *env, const char *path, struct peri_error *err)
{
    struct env_dir *dir = NULL;
    int rc = env_dir_open(env, path, &dir, err);
    if (rc == -ENOENT)
        return 0;
    if (rc != 0)
        return rc;
    rc = remove_entries(env, path, dir, err);
    env_dir_close(dir);
    return rc == 0 ? env_path_remove(env, path, err) : rc;
}

int store_write(struct store *store, const struct store_batch *batch, bool is_synced,
                struct peri_error *err)
{
    return store->ops->write(store, batch, is_synced, err);
}

int store_flush(struct store *store, struct peri_error *err)
{
    return store->ops->flush(store, err);
}

int store_get(struct store *store, const struct store_snapshot *snapshot, struct peri_slice key,
              struct peri_buffer *out, struct peri_error *err)
{
    return store->ops->get(store, snapshot, key, out, err);
}

int store_snapshot_take(struct store *store, struct store_snapshot **out)
{
    return store->ops->snapshot_take(store, out);
}

void store_snapshot_release(struct store *store, struct store_snapshot *snapshot)
{
    store->ops->snapshot_release(store, snapshot);
}

int store_iterator_open(struct store *store, const struct store_snapshot *snapshot,
                        struct store_iterator **out)
{
    return store->ops->iterator_open(store, snapshot, out);
}

void store_iterator_close(struct store_iterator *iterator)
{
    if (iterator != NULL)
        iterator->store->ops->iterator_close(iterator);
}

void store_iterator_seek(struct store_iterator *iterator, struct peri_slice key)
{
    iterator->store->ops->iterator_seek(iterator, key);
}

void store_iterator_next(struct store_iterator *iterator)
{
    iterator->store->ops->iterator_next(iterator);
}

void store_iterator_seek_below(struct store_iterator *iterator, struct peri_slice key)
{
    iterator->store->ops->iterator_seek_below(iterator, key);
}

bool store_iterator_is_valid(const struct store_iterator *iterator)
{
    return iterator->store->ops->iterator_is_valid(iterator);
}

struct peri_slice store_iterator_key(const struct store_iterator *iterator)
{
    return iterator->store->ops->iterator_key(iterator);
}

struct peri_slice store_iterator_value(const struct store_iterator *iterator)
{
    return iterator->store->ops->iterator_value(iterator);
}

int store_iterator_status(const struct store_iterator *iterator, struct peri_error *err)
{
    return iterator->store->ops->iterator_status(iterator, err);
}
