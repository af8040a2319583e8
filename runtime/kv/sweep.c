/* sweep.c - history that is let go of.
 *
 * Compacting says which history is gone; its records leave the disk later, in steps, on each
 * replica by itself. An event makes the one before it on the same key superfluous: that one is
 * removed when the event is swept, for then no read can ask for it. A deletion needs no record of
 * itself, either: nothing of the key means the same. */
#include "kv/sweep.h"

#include "kv/layout.h"

struct sweeping {
    struct node_keys_sweep *keys;
    uint64_t revision; /* of the last event that was swept, or how far an earlier step came */
    uint64_t end;      /* history is gone up to there */
    unsigned count;
    size_t bytes;
    bool has_deleted; /* the last event's command, with that event or one before it */
    bool is_more;
};

static int remove_event(const struct sweeping *at, uint64_t revision, uint64_t number,
                        struct peri_slice key, uint64_t newer)
{
    struct kv_name name;
    kv_name_event(&name, revision, (uint32_t)number);
    int rc = at->keys->remove(at->keys, kv_name_slice(&name));
    if (rc != 0 || revision == newer) /* several changes in one command share their version */
        return rc;
    kv_name_version(&name, key, revision);
    return at->keys->remove(at->keys, kv_name_slice(&name));
}

/* A key that a command deletes and sets again has one version, which the deletion takes along: it
 * is written again. */
static int restore_version(const struct sweeping *at, uint32_t number, struct peri_slice key)
{
    const struct kv_version version = {false, number};
    struct peri_buffer bytes = {NULL, 0, 0};
    struct kv_name name;
    kv_name_version(&name, key, at->revision);
    int rc = kv_version_put(&bytes, &version);
    if (rc == 0)
        rc = at->keys->put(at->keys, kv_name_slice(&name), peri_buffer_slice(&bytes));
    peri_buffer_deinit(&bytes);
    return rc;
}

static int sweep_event(struct sweeping *at, uint32_t number, const struct kv_event *event)
{
    int rc = 0;
    if (event->before != 0)
        rc = remove_event(at, event->before, event->before_number, event->key, at->revision);
    else if (at->has_deleted && !event->is_delete)
        rc = restore_version(at, number, event->key);
    if (rc != 0 || !event->is_delete)
        return rc;
    at->has_deleted = true;
    return remove_event(at, at->revision, number, event->key, 0);
}

enum { ENOUGH = 1 };

/* Whole commands: one has no more events than fit. */
static int take_event(void *data, struct peri_slice name, struct peri_slice value)
{
    struct sweeping *at = data;
    struct kv_event event;
    struct kv_name end;
    uint64_t revision = 0;
    uint32_t number = 0;
    kv_name_event(&end, at->end + 1, 0);
    if (peri_slice_compare(name, kv_name_slice(&end)) >= 0)
        return ENOUGH;
    if (kv_name_to_event(name, &revision, &number) != 0 || kv_event_get(value, &event) != 0)
        return PERI_ECORRUPT;
    at->bytes += value.size;
    at->is_more = revision != at->revision && at->count > 0 &&
                  (at->count >= KV_SWEEP_MAX || at->bytes > KV_STEP_BYTES);
    if (at->is_more)
        return ENOUGH;
    at->count++;
    at->has_deleted = at->has_deleted && revision == at->revision;
    at->revision = revision;
    return sweep_event(at, number, &event);
}

/* What is compacted, and how far an earlier step came. 1, or 0 when that is all of it. */
static int begin(struct sweeping *at, struct peri_error *err)
{
    struct node_keys_sweep *keys = at->keys;
    struct peri_buffer bytes = {NULL, 0, 0};
    struct kv_meta meta = {.revision = 0};
    struct kv_name name;
    uint64_t swept = 0;
    kv_name_meta(&name);
    int rc = keys->get(keys, kv_name_slice(&name), &bytes, err);
    if (rc == 1)
        rc = kv_meta_get(peri_buffer_slice(&bytes), &meta);
    bytes.size = 0;
    kv_name_swept(&name);
    if (rc == 0)
        rc = keys->get(keys, kv_name_slice(&name), &bytes, err);
    if (rc == 1)
        rc = kv_swept_get(peri_buffer_slice(&bytes), &swept);
    peri_buffer_deinit(&bytes);
    at->revision = swept > meta.swept ? swept : meta.swept;
    at->end = meta.compacted;
    return rc == 0 ? at->revision < at->end : rc;
}

static int remember(const struct sweeping *at)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    struct kv_name name;
    kv_name_swept(&name);
    int rc = kv_swept_put(&bytes, at->is_more ? at->revision : at->end);
    if (rc == 0)
        rc = at->keys->put(at->keys, kv_name_slice(&name), peri_buffer_slice(&bytes));
    peri_buffer_deinit(&bytes);
    return rc;
}

int kv_sweep(struct node_keys_sweep *keys, struct peri_error *err)
{
    struct sweeping at = {.keys = keys};
    struct kv_name from;
    int rc = begin(&at, err);
    if (rc != 1)
        return rc;
    kv_name_event(&from, at.revision + 1, 0);
    rc = keys->scan(keys, kv_name_slice(&from), take_event, &at, err);
    if (rc >= 0)
        rc = remember(&at);
    return rc == 0 ? at.is_more : rc;
}
