/* sweep.c - history that is let go of.
 *
 * Compacting says at once which history is gone; its records leave the disk in steps. An event
 * makes the one before it on the same key superfluous: that one is removed when the event is swept,
 * for then no read can ask for it. A deletion needs no record of itself, either: nothing of the key
 * means the same. */
#include <inttypes.h>

#include "kv/parts.h"

static int remove_event(struct kv_run *run, uint64_t revision, uint64_t number,
                        struct peri_slice key, uint64_t newer)
{
    struct kv_name name;
    kv_name_event(&name, revision, (uint32_t)number);
    int rc = kv_view_delete(run->view, &name);
    if (rc != 0 || revision == newer) /* several changes in one command share their version */
        return rc;
    kv_name_version(&name, key, revision);
    return kv_view_delete(run->view, &name);
}

/* A key that a command deletes and sets again has one version, which the deletion takes along: it
 * is written again. *has_deleted: the command has deleted something. */
static int restore_version(struct kv_run *run, uint64_t revision, uint32_t number,
                           struct peri_slice key)
{
    const struct kv_version version = {false, number};
    struct kv_name name;
    kv_name_version(&name, key, revision);
    return kv_put_scratch(run, &name, kv_version_put(&run->scratch, &version));
}

static int sweep_event(struct kv_run *run, uint64_t revision, uint32_t number,
                       struct peri_slice bytes, bool *has_deleted)
{
    struct kv_event event;
    int rc = 0;
    if (kv_event_get(bytes, &event) != 0)
        return PERI_ECORRUPT;
    if (event.before != 0)
        rc = remove_event(run, event.before, event.before_number, event.key, revision);
    else if (*has_deleted && !event.is_delete)
        rc = restore_version(run, revision, number, event.key);
    if (rc != 0 || !event.is_delete)
        return rc;
    *has_deleted = true;
    return remove_event(run, revision, number, event.key, 0);
}

/* Sweeps some; answers whether there is more. Whole commands: one has no more events than fit. */
static int sweep(struct kv_run *run)
{
    struct kv_name from, to;
    struct peri_slice name, bytes;
    struct kv_walk walk;
    uint64_t revision = 0, at = run->meta.swept;
    uint32_t number = 0;
    unsigned count = 0;
    bool has_deleted = false;
    int rc;
    kv_name_event(&from, run->meta.swept + 1, 0);
    kv_name_event(&to, run->meta.compacted + 1, 0);
    kv_walk_begin(&walk, run->view, &from, &to, KV_SWEEP_MAX);
    while ((rc = kv_walk_next(&walk, &name, &bytes)) == 1) {
        if (kv_name_to_event(name, &revision, &number) != 0)
            return PERI_ECORRUPT;
        bool is_enough = count >= KV_SWEEP_MAX || run->view->read_bytes > KV_STEP_BYTES;
        if (is_enough && revision != at && count > 0)
            break;
        count++;
        has_deleted = has_deleted && revision == at;
        at = revision;
        rc = sweep_event(run, revision, number, bytes, &has_deleted);
        if (rc != 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    run->meta.swept = rc == 1 ? at : run->meta.compacted;
    wire_pack_bool(&run->result, rc == 1);
    return 0;
}

int kv_compact(struct kv_run *run)
{
    uint64_t revision = run->command->number;
    if (revision > run->meta.revision)
        return peri_fail_plain(run->err, PERI_EINVAL,
                               "revision %" PRIu64 " is still to come: the last one is %" PRIu64,
                               revision, run->meta.revision);
    if (revision > run->meta.compacted)
        run->meta.compacted = revision;
    return sweep(run);
}
