/* change.c - keys, their history and their leases.
 *
 *      k key             as it is now
 *      a lease, key      what ends with a lease
 *
 * The event is told (history.h), and becomes records later. */
#include "kv/history.h"
#include "kv/parts.h"

int kv_find(struct kv_view *view, struct peri_slice key, struct kv_entry *out)
{
    struct kv_name name;
    struct peri_slice bytes;
    kv_name_key(&name, key);
    int rc = kv_view_get(view, &name, &bytes);
    *out = (struct kv_entry){.revision = 0};
    if (rc != 1)
        return rc;
    rc = kv_entry_get(bytes, out);
    return rc == 0 ? 1 : rc;
}

int kv_put_scratch(struct kv_run *run, const struct kv_name *name, int rc)
{
    if (rc == 0)
        rc = kv_view_put(run->view, name, peri_buffer_slice(&run->scratch));
    run->scratch.size = 0;
    return rc;
}

/* The event of a change. */
static int tell_event(struct kv_run *run, const struct kv_event *event)
{
    const struct kv_told told = {run->meta.revision + 1, run->changes, *event};
    if (run->changes == KV_CHANGES_MAX)
        return peri_fail_plain(run->err, PERI_ETOOBIG, "a command changes at most %d keys",
                               KV_CHANGES_MAX);
    run->changes++;
    return kv_history_tell(run->view, &told);
}

/* ---- leases ---- */

/* The lease has so many keys more. Errors: PERI_ELEASE. */
static int count_keys(struct kv_run *run, uint64_t id, int more)
{
    struct kv_lease lease;
    int rc = kv_lease_find(run, id, &lease);
    if (rc < 0)
        return rc;
    if (rc == 0 && more < 0)
        return 0; /* it has ended, and its keys are about to */
    if (rc == 0)
        return peri_fail_plain(run->err, PERI_ELEASE, "there is no such lease, or it has ended");
    if (more > 0 && lease.keys == KV_LEASE_KEYS_MAX)
        return peri_fail_plain(run->err, PERI_ETOOBIG, "a lease has at most %d keys",
                               KV_LEASE_KEYS_MAX);
    lease.keys += (uint64_t)more; /* -1 wraps around */
    if (lease.keys == 0 && lease.ttl_ms == 0)
        return kv_lease_drop_own(run, id, &lease);
    return kv_lease_write(run, id, &lease);
}

static int detach(struct kv_run *run, uint64_t lease, struct peri_slice key)
{
    struct kv_name name;
    kv_name_attached(&name, lease, key);
    int rc = kv_view_delete(run->view, &name);
    return rc == 0 ? count_keys(run, lease, -1) : rc;
}

/* The record has the key's last event: what ends with a lease is not read. */
static int attach(struct kv_run *run, uint64_t lease, struct peri_slice key, bool is_new)
{
    const struct kv_attached attached = {run->meta.revision + 1, run->changes};
    struct kv_name name;
    int rc = is_new ? count_keys(run, lease, 1) : 0;
    kv_name_attached(&name, lease, key);
    return rc == 0 ? kv_put_scratch(run, &name, kv_attached_put(&run->scratch, &attached)) : rc;
}

/* ---- changes ---- */

int kv_change_put(struct kv_run *run, struct peri_slice key, const struct kv_entry *old,
                  struct peri_slice value, uint64_t lease)
{
    const bool is_new = old->revision == 0;
    const struct kv_entry entry = {.revision = run->meta.revision + 1,
                                   .created = is_new ? run->meta.revision + 1 : old->created,
                                   .version = old->version + 1,
                                   .lease = lease,
                                   .number = run->changes,
                                   .value = value};
    const struct kv_event event = {
        .before = old->revision, .before_number = old->number, .entry = entry, .key = key};
    struct kv_name name;
    int rc = old->lease != 0 && old->lease != lease ? detach(run, old->lease, key) : 0;
    if (rc == 0 && lease != 0)
        rc = attach(run, lease, key, old->lease != lease);
    if (rc == 0)
        rc = tell_event(run, &event);
    if (rc != 0)
        return rc;
    run->meta.keys += is_new;
    kv_name_key(&name, key);
    return kv_put_scratch(run, &name, kv_entry_put(&run->scratch, &entry));
}

/* The key goes, its last event being that one. */
static int remove_key(struct kv_run *run, struct peri_slice key, uint64_t before,
                      uint64_t before_number)
{
    const struct kv_event event = {
        .is_delete = true, .before = before, .before_number = before_number, .key = key};
    struct kv_name name;
    kv_name_key(&name, key);
    int rc = tell_event(run, &event);
    run->meta.keys--;
    return rc == 0 ? kv_view_delete(run->view, &name) : rc;
}

int kv_change_delete(struct kv_run *run, struct peri_slice key, const struct kv_entry *old)
{
    int rc = old->lease != 0 ? detach(run, old->lease, key) : 0;
    return rc == 0 ? remove_key(run, key, old->revision, old->number) : rc;
}

int kv_change_expire(struct kv_run *run, struct peri_slice key, const struct kv_attached *last)
{
    return remove_key(run, key, last->revision, last->number);
}
