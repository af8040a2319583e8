#include "store/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "store/state_internal.h"

enum { CHECK_BYTES = 8, IDENTITY_BYTES = 1 + 2 * 8 + CHECK_BYTES };

static const struct peri_slice identity_key = {"I", 1};

/* ---- opening ---- */

void store_state_options_init(struct store_state_options *options, uint64_t cluster, uint64_t node)
{
    *options = (struct store_state_options){.cluster = cluster,
                                            .node = node,
                                            .write_buffer_bytes = 32 << 20,
                                            .cache_bytes = 32 << 20,
                                            .backend = STORE_BY_ENV};
}

static void write_identity(const struct store_state_options *options, char *out)
{
    out[0] = STATE_VERSION;
    bits_put_le64(out + 1, options->cluster);
    bits_put_le64(out + 9, options->node);
    bits_put_le64(out + 17, XXH3_64bits(out, IDENTITY_BYTES - CHECK_BYTES));
}

static int compare_identity(struct peri_slice found, const struct store_state_options *options,
                            const char *path, struct peri_error *err)
{
    if (found.data == NULL || found.size != IDENTITY_BYTES ||
        bits_get_le64(found.data + 17) != XXH3_64bits(found.data, IDENTITY_BYTES - CHECK_BYTES))
        return peri_fail(err, PERI_ECORRUPT, "state %s", path);
    if (found.data[0] != STATE_VERSION)
        return peri_fail(err, PERI_EVERSION, "state %s", path);
    uint64_t cluster = bits_get_le64(found.data + 1), node = bits_get_le64(found.data + 9);
    if (cluster == options->cluster && node == options->node)
        return 0;
    return peri_fail_plain(err, PERI_ECLUSTER,
                           "state %s belongs to node %" PRIu64 " of cluster %016" PRIx64
                           ", not to node %" PRIu64 " of %016" PRIx64,
                           path, node, cluster, options->node, options->cluster);
}

static int check_identity(struct store_state *state, const struct store_state_options *options,
                          const char *path, struct peri_error *err)
{
    char wanted[IDENTITY_BYTES];
    struct peri_buffer found = {0};
    int rc = store_get(state->store, NULL, identity_key, &found, err);
    if (rc == 0) {
        struct store_batch batch = {0};
        write_identity(options, wanted);
        rc = store_batch_put(&batch, identity_key, peri_slice_of(wanted, sizeof wanted));
        if (rc == 0) /* durable with what is written behind it, or gone with it */
            rc = store_write(state->store, &batch, false, err);
        store_batch_deinit(&batch);
    } else if (rc == 1) {
        rc = compare_identity(peri_buffer_slice(&found), options, path, err);
    }
    peri_buffer_deinit(&found);
    return rc;
}

int store_state_open(struct store_state **out, struct env *env, const char *path,
                     const struct store_state_options *options, struct peri_error *err)
{
    if (options->cluster == 0 || options->node == 0)
        return peri_fail_plain(err, PERI_EINVAL, "state %s: cluster and node are not 0", path);
    struct store_state *state = calloc(1, sizeof *state + strlen(path) + 1);
    if (state == NULL)
        return peri_fail(err, PERI_ENOMEM, "open state %s", path);
    memcpy(state->path, path, strlen(path) + 1);
    state->env = env;
    state->how = (struct store_options){
        .backend = options->backend,
        .write_buffer_bytes = options->write_buffer_bytes,
        .file_max_bytes = 8 << 20,
        .cache_bytes = options->cache_bytes,
        .is_compressed = true,
        .has_filter = true,
        .drops_unflushed = true,
    };
    peri_list_init(&state->sources);
    int rc = store_open(&state->store, env, path, &state->how, err);
    if (rc == 0)
        rc = check_identity(state, options, path, err);
    if (rc != 0) {
        store_state_close(state);
        return rc;
    }
    *out = state;
    return 0;
}

void store_state_close(struct store_state *state)
{
    if (state == NULL)
        return;
    while (!peri_list_is_empty(&state->sources))
        state_source_free(state->sources.next);
    store_close(state->store);
    free(state);
}

/* What the open reads of LevelDB's log it writes again, as a table. */
static int look_for_room(const struct store_state *state, struct peri_error *err)
{
    char file[4096];
    struct env_file *room = NULL;
    (void)snprintf(file, sizeof file, "%s.room", state->path); /* not a name of the store's */
    int rc = env_file_open(state->env, file, ENV_FILE_WRITE | ENV_FILE_CREATE, &room, err);
    if (rc != 0)
        return rc;
    rc = env_file_reserve(room, state->how.write_buffer_bytes, err);
    if (rc == -EOPNOTSUPP) /* the file system cannot say */
        rc = 0;
    (void)env_file_close(room, NULL);
    int removed = env_path_remove(state->env, file, rc == 0 ? err : NULL);
    return rc == 0 ? removed : rc;
}

int store_state_reopen(struct store_state *state, struct peri_error *err)
{
    int rc = look_for_room(state, err);
    if (rc != 0)
        return rc;
    if (state->store != NULL)
        for (struct peri_list *at = state->sources.next; at != &state->sources; at = at->next)
            state_source_end(at);
    store_close(state->store);
    state->store = NULL;
    struct store_options how = state->how;
    how.drops_unflushed = false; /* this process has written it, and counts on it */
    return store_open(&state->store, state->env, state->path, &how, err);
}

bool store_state_is_open(const struct store_state *state)
{
    return state->store != NULL;
}

/* ---- what there is ---- */

int store_state_applied(struct store_state *state, const struct store_snapshot *snapshot,
                        uint64_t group, struct store_applied *out, struct peri_buffer *extra,
                        struct peri_error *err)
{
    char name[STATE_NAME_BYTES];
    extra->size = 0;
    int rc =
        store_get(state->store, snapshot, state_name(STATE_KEY_APPLIED, group, name), extra, err);
    if (rc != 1)
        return rc;
    rc = state_applied_decode(peri_buffer_slice(extra), group, out);
    return rc == 0 ? 1 : peri_fail(err, rc, "state of group %" PRIu64, group);
}

int store_state_groups(struct store_state *state,
                       int (*each)(void *data, const struct store_applied *applied), void *data,
                       struct peri_error *err)
{
    static const char first[] = {STATE_KEY_APPLIED};
    struct store_iterator *iterator = NULL;
    int rc = store_iterator_open(state->store, NULL, &iterator);
    if (rc != 0)
        return peri_fail(err, rc, "list the groups");
    store_iterator_seek(iterator, peri_slice_of(first, 1));
    while (rc == 0 && store_iterator_is_valid(iterator)) {
        struct peri_slice key = store_iterator_key(iterator);
        if (key.size != STATE_NAME_BYTES || key.data[0] != STATE_KEY_APPLIED)
            break;
        struct store_applied applied;
        rc = state_applied_decode(store_iterator_value(iterator), bits_get_be64(key.data + 1),
                                  &applied);
        if (rc != 0)
            (void)peri_fail(err, rc, "state of group %" PRIu64, bits_get_be64(key.data + 1));
        else
            rc = each(data, &applied);
        store_iterator_next(iterator);
    }
    if (rc == 0)
        rc = store_iterator_status(iterator, err);
    store_iterator_close(iterator);
    return rc;
}

/* ---- rounds ---- */

int store_round_put(struct store_round *round, const struct store_applied *of,
                    struct peri_slice key, struct peri_slice value)
{
    char prefix[STATE_PREFIX_BYTES];
    return state_put(&round->changes, state_prefix(of->group, of->epoch, prefix), key, value);
}

int store_round_delete(struct store_round *round, const struct store_applied *of,
                       struct peri_slice key)
{
    char prefix[STATE_PREFIX_BYTES];
    struct peri_buffer name = {0};
    (void)state_prefix(of->group, of->epoch, prefix);
    int rc = peri_buffer_append(&name, prefix, sizeof prefix);
    if (rc == 0)
        rc = peri_buffer_append(&name, key.data, key.size);
    if (rc == 0)
        rc = store_batch_delete(&round->changes, peri_buffer_slice(&name));
    peri_buffer_deinit(&name);
    return rc;
}

int store_round_applied(struct store_round *round, const struct store_applied *applied)
{
    char name[STATE_NAME_BYTES];
    struct peri_buffer value = {0};
    if (applied->extra.size > STORE_EXTRA_MAX)
        return PERI_EINVAL;
    int rc = state_applied_encode(applied, &value);
    if (rc == 0)
        rc = store_batch_put(&round->changes, state_name(STATE_KEY_APPLIED, applied->group, name),
                             peri_buffer_slice(&value));
    peri_buffer_deinit(&value);
    return rc;
}

int store_round_drop(struct store_round *round, uint64_t group)
{
    char name[STATE_NAME_BYTES];
    int rc = store_batch_delete(&round->changes, state_name(STATE_KEY_STAGED, group, name));
    return rc == 0 ? store_batch_delete(&round->changes, state_name(STATE_KEY_APPLIED, group, name))
                   : rc;
}

int store_state_write(struct store_state *state, const struct store_round *round,
                      struct peri_error *err)
{
    return store_write(state->store, &round->changes, false, err);
}

int store_state_barrier(struct store_state *state, struct peri_error *err)
{
    return store_flush(state->store, err);
}

/* ---- keys of a group ---- */

int store_state_get(struct store_state *state, const struct store_snapshot *snapshot,
                    const struct store_applied *of, struct peri_slice key, struct peri_buffer *out,
                    struct peri_error *err)
{
    char prefix[STATE_PREFIX_BYTES];
    struct peri_buffer name = {0};
    (void)state_prefix(of->group, of->epoch, prefix);
    int rc = peri_buffer_append(&name, prefix, sizeof prefix);
    if (rc == 0)
        rc = peri_buffer_append(&name, key.data, key.size);
    rc = rc == 0 ? store_get(state->store, snapshot, peri_buffer_slice(&name), out, err)
                 : peri_fail(err, rc, "read a key");
    peri_buffer_deinit(&name);
    return rc;
}

static bool has_prefix(struct peri_slice key, const char *prefix)
{
    return key.size >= STATE_PREFIX_BYTES && memcmp(key.data, prefix, STATE_PREFIX_BYTES) == 0;
}

/* An iterator over a group's keys, and the full name of one of them. On success the caller closes
 * it. */
static int open_scan(struct store_state *state, const struct store_snapshot *snapshot,
                     const struct store_applied *of, struct peri_slice key,
                     struct store_iterator **out, struct peri_buffer *name, struct peri_error *err)
{
    char prefix[STATE_PREFIX_BYTES];
    (void)state_prefix(of->group, of->epoch, prefix);
    int rc = peri_buffer_append(name, prefix, sizeof prefix);
    if (rc == 0)
        rc = peri_buffer_append(name, key.data, key.size);
    if (rc == 0)
        rc = store_iterator_open(state->store, snapshot, out);
    return rc == 0 ? 0 : peri_fail(err, rc, "scan group %" PRIu64, of->group);
}

/* The iterator's key without its prefix; data NULL when it is no key of the group. */
static struct peri_slice scanned_key(const struct store_iterator *iterator,
                                     const struct peri_buffer *name)
{
    if (!store_iterator_is_valid(iterator))
        return peri_slice_of(NULL, 0);
    struct peri_slice key = store_iterator_key(iterator);
    return has_prefix(key, name->data)
               ? peri_slice_of(key.data + STATE_PREFIX_BYTES, key.size - STATE_PREFIX_BYTES)
               : peri_slice_of(NULL, 0);
}

static int close_scan(struct store_iterator *iterator, struct peri_buffer *name, int rc,
                      struct peri_error *err)
{
    if (rc == 0)
        rc = store_iterator_status(iterator, err);
    store_iterator_close(iterator);
    peri_buffer_deinit(name);
    return rc;
}

int store_state_scan(struct store_state *state, const struct store_snapshot *snapshot,
                     const struct store_applied *of, struct peri_slice from,
                     int (*each)(void *data, struct peri_slice key, struct peri_slice value),
                     void *data, struct peri_error *err)
{
    struct peri_buffer name = {0};
    struct store_iterator *iterator = NULL;
    struct peri_slice key;
    int rc = open_scan(state, snapshot, of, from, &iterator, &name, err);
    if (rc == 0)
        store_iterator_seek(iterator, peri_buffer_slice(&name));
    while (rc == 0 && (key = scanned_key(iterator, &name)).data != NULL) {
        rc = each(data, key, store_iterator_value(iterator));
        store_iterator_next(iterator);
    }
    return close_scan(iterator, &name, rc, err);
}

int store_state_scan_back(struct store_state *state, const struct store_snapshot *snapshot,
                          const struct store_applied *of, struct peri_slice to,
                          int (*each)(void *data, struct peri_slice key, struct peri_slice value),
                          void *data, struct peri_error *err)
{
    struct peri_buffer name = {0};
    struct store_iterator *iterator = NULL;
    struct peri_slice key;
    int rc = open_scan(state, snapshot, of, to, &iterator, &name, err);
    if (rc == 0)
        store_iterator_seek_below(iterator, peri_buffer_slice(&name));
    while (rc == 0 && (key = scanned_key(iterator, &name)).data != NULL) {
        rc = each(data, key, store_iterator_value(iterator));
        if (rc != 0)
            break;
        name.size = STATE_PREFIX_BYTES;
        rc = peri_buffer_append(&name, key.data, key.size);
        if (rc == 0)
            store_iterator_seek_below(iterator, peri_buffer_slice(&name));
    }
    return close_scan(iterator, &name, rc, err);
}
