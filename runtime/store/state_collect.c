/* state_collect.c - epochs: one that is fresh, and removing what old ones left behind. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "store/state_internal.h"

/* The epochs of a group that are in use: its own, and that of a snapshot being installed. 0: none.
 */
static int epochs_in_use(struct store_state *state, uint64_t group, uint64_t epochs[2],
                         struct peri_error *err)
{
    static const char kinds[2] = {STATE_KEY_APPLIED, STATE_KEY_STAGED};
    struct peri_buffer value = {0};
    int rc = 0;
    epochs[0] = epochs[1] = UINT64_MAX;
    for (int i = 0; rc == 0 && i < 2; i++) {
        char name[STATE_NAME_BYTES];
        struct store_applied applied = {.epoch = 0};
        value.size = 0;
        rc = store_get(state->store, NULL, state_name(kinds[i], group, name), &value, err);
        if (rc != 1)
            continue;
        rc = state_applied_decode(peri_buffer_slice(&value), group, &applied);
        epochs[i] = applied.epoch;
        if (rc != 0)
            (void)peri_fail(err, rc, "state of group %" PRIu64, group);
    }
    peri_buffer_deinit(&value);
    return rc;
}

/* Gathers deletions of keys that nobody uses. */
static int gather_rubbish(struct store_state *state, struct store_iterator *iterator,
                          uint32_t keys_max, struct store_batch *out, struct peri_error *err)
{
    char from[STATE_PREFIX_BYTES];
    uint64_t group = 0, epochs[2] = {UINT64_MAX, UINT64_MAX};
    bool knows_group = false;
    int rc = 0;
    from[0] = STATE_KEY_VALUE;
    store_iterator_seek(iterator, peri_slice_of(from, 1));
    while (rc == 0 && out->count < keys_max && store_iterator_is_valid(iterator)) {
        struct peri_slice key = store_iterator_key(iterator);
        if (key.data[0] != STATE_KEY_VALUE || key.size < STATE_PREFIX_BYTES)
            break;
        uint64_t epoch = bits_get_be64(key.data + STATE_NAME_BYTES);
        if (!knows_group || bits_get_be64(key.data + 1) != group) {
            group = bits_get_be64(key.data + 1);
            knows_group = true;
            rc = epochs_in_use(state, group, epochs, err);
        }
        if (rc == 0 && (epoch == epochs[0] || epoch == epochs[1])) {
            store_iterator_seek(iterator, state_prefix(group, epoch + 1, from));
        } else if (rc == 0) {
            rc = store_batch_delete(out, key);
            store_iterator_next(iterator);
        }
    }
    return rc == 0 ? store_iterator_status(iterator, err) : rc;
}

int store_state_fresh_epoch(struct store_state *state, const struct store_applied *of,
                            uint64_t *epoch, struct peri_error *err)
{
    uint64_t group = of->group;
    char prefix[STATE_PREFIX_BYTES];
    uint64_t used[2];
    struct store_iterator *iterator = NULL;
    int rc = epochs_in_use(state, group, used, err);
    if (rc == 0 && store_iterator_open(state->store, NULL, &iterator) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "find an epoch for group %" PRIu64, group);
    if (rc != 0)
        return rc;
    *epoch = of->epoch + 1;
    for (size_t i = 0; i < 2; i++)
        if (used[i] != UINT64_MAX && used[i] >= *epoch)
            *epoch = used[i] + 1;
    for (;;) { /* behind everything that is left of older ones */
        store_iterator_seek(iterator, state_prefix(group, *epoch, prefix));
        if (!store_iterator_is_valid(iterator))
            break;
        struct peri_slice key = store_iterator_key(iterator);
        if (key.size < STATE_PREFIX_BYTES || memcmp(key.data, prefix, STATE_NAME_BYTES) != 0)
            break;
        *epoch = bits_get_be64(key.data + STATE_NAME_BYTES) + 1;
    }
    rc = store_iterator_status(iterator, err);
    store_iterator_close(iterator);
    return rc;
}

int store_state_collect(struct store_state *state, uint32_t keys_max, struct peri_error *err)
{
    struct store_iterator *iterator = NULL;
    struct store_batch rubbish = {0};
    int rc = store_iterator_open(state->store, NULL, &iterator);
    if (rc != 0)
        return peri_fail(err, rc, "collect old epochs");
    rc =
        gather_rubbish(state, iterator, keys_max < INT32_MAX ? keys_max : INT32_MAX, &rubbish, err);
    store_iterator_close(iterator);
    if (rc == 0 && rubbish.count > 0)
        rc = store_write(state->store, &rubbish, false, err);
    if (rc == 0)
        rc = (int)rubbish.count;
    store_batch_deinit(&rubbish);
    return rc;
}
