/* lease.c - leases: keys that end with them; and what is due.
 *
 * A lease ends when a command brings a time along that is not before its end. Nothing is looked for
 * at every command: there is one due record for each lease and session, which says when to look.
 * What was prolonged meanwhile gets a later one. */
#include "kv/parts.h"

int kv_lease_find(struct kv_run *run, uint64_t id, struct kv_lease *out)
{
    struct kv_name name;
    struct peri_slice bytes;
    kv_name_lease(&name, id);
    *out = (struct kv_lease){.keys = 0};
    int rc = kv_view_get(run->view, &name, &bytes);
    if (rc == 1)
        rc = kv_lease_get(bytes, out) != 0 ? PERI_ECORRUPT : out->expires_ms > run->meta.clock_ms;
    return rc;
}

int kv_lease_write(struct kv_run *run, uint64_t id, const struct kv_lease *lease)
{
    struct kv_name name;
    kv_name_lease(&name, id);
    return kv_put_scratch(run, &name, kv_lease_put(&run->scratch, lease));
}

static int write_due(struct kv_run *run, uint64_t due_ms, enum kv_due what, uint64_t id)
{
    struct kv_name name;
    kv_name_due(&name, due_ms, what, id);
    return kv_view_put(run->view, &name, peri_slice_of(NULL, 0));
}

/* ---- commands ---- */

static int create(struct kv_run *run, const struct kv_lease *lease, uint64_t *out)
{
    if (run->meta.leases >= KV_LEASES_MAX)
        return peri_fail_plain(run->err, PERI_EBUSY, "there are %d leases, which is the limit",
                               KV_LEASES_MAX);
    *out = ++run->meta.last_id;
    run->meta.leases++;
    int rc = kv_lease_write(run, *out, lease);
    return rc == 0 ? write_due(run, lease->expires_ms, KV_DUE_LEASE, *out) : rc;
}

int kv_lease_own(struct kv_run *run, uint64_t left_ms, uint64_t *id)
{
    const struct kv_lease lease = {.expires_ms = run->meta.clock_ms + left_ms};
    return create(run, &lease, id);
}

int kv_lease_drop_own(struct kv_run *run, uint64_t id, const struct kv_lease *lease)
{
    struct kv_name name;
    kv_name_lease(&name, id);
    int rc = kv_view_delete(run->view, &name);
    kv_name_due(&name, lease->expires_ms, KV_DUE_LEASE, id);
    run->meta.leases--;
    return rc == 0 ? kv_view_delete(run->view, &name) : rc;
}

int kv_lease_grant(struct kv_run *run)
{
    const struct kv_lease lease = {.ttl_ms = run->command->number,
                                   .expires_ms = run->meta.clock_ms + run->command->number};
    uint64_t id = 0;
    int rc = create(run, &lease, &id);
    wire_pack_uint(&run->result, id);
    return rc;
}

int kv_lease_keep(struct kv_run *run)
{
    struct kv_lease lease;
    int rc = kv_lease_find(run, run->command->number, &lease);
    if (rc == 0 || (rc == 1 && lease.ttl_ms == 0))
        return peri_fail_plain(run->err, PERI_ELEASE, "there is no such lease, or it has ended");
    if (rc < 0)
        return rc;
    lease.expires_ms = run->meta.clock_ms + lease.ttl_ms;
    wire_pack_uint(&run->result, lease.ttl_ms);
    return kv_lease_write(run, run->command->number, &lease);
}

/* Behind all keys of the lease: those of the next one come then. */
static void attached_bounds(uint64_t id, struct kv_name *from, struct kv_name *to)
{
    kv_name_attached(from, id, peri_slice_of(NULL, 0));
    kv_name_attached(to, id + 1, peri_slice_of(NULL, 0));
}

/* Ends a lease that is there, and its keys. */
static int end_lease(struct kv_run *run, uint64_t id)
{
    struct kv_name from, to, name;
    struct peri_slice at, key, value;
    struct kv_attached last;
    struct kv_walk walk;
    int rc;
    attached_bounds(id, &from, &to);
    kv_walk_begin(&walk, run->view, &from, &to, KV_LEASE_KEYS_MAX + 1);
    while ((rc = kv_walk_next(&walk, &at, &value)) == 1) {
        if (kv_name_to_attached(at, &key) != 0 || kv_attached_get(value, &last) != 0)
            return PERI_ECORRUPT;
        kv_name_attached(&name, id, key);
        rc = kv_change_expire(run, key, &last);
        if (rc == 0)
            rc = kv_view_delete(run->view, &name); /* key may be gone then */
        if (rc != 0)
            return rc;
    }
    run->meta.leases--;
    kv_name_lease(&name, id);
    return rc == 0 ? kv_view_delete(run->view, &name) : rc;
}

int kv_lease_revoke(struct kv_run *run)
{
    struct kv_lease lease;
    int rc = kv_lease_find(run, run->command->number, &lease);
    if (rc == 0)
        return peri_fail_plain(run->err, PERI_ELEASE, "there is no such lease, or it has ended");
    if (rc == 1)
        rc = end_lease(run, run->command->number);
    wire_pack_uint(&run->result, run->changes);
    return rc; /* its due record finds nothing, and goes then */
}

/* ---- what is due ---- */

/* Looks at a lease whose time may have come. *ends: it has gone, or had already. */
static int look_at_lease(struct kv_run *run, uint64_t id, uint64_t *expires_ms, bool *ends)
{
    struct kv_name name;
    struct peri_slice bytes;
    struct kv_lease lease;
    kv_name_lease(&name, id);
    int rc = kv_view_get(run->view, &name, &bytes);
    *ends = rc == 0;
    if (rc != 1)
        return rc;
    if (kv_lease_get(bytes, &lease) != 0)
        return PERI_ECORRUPT;
    *expires_ms = lease.expires_ms;
    *ends = lease.expires_ms <= run->meta.clock_ms;
    return *ends ? end_lease(run, id) : 0;
}

static int look_at_session(struct kv_run *run, uint64_t id, uint64_t *expires_ms, bool *ends)
{
    struct kv_name name;
    struct peri_slice bytes;
    struct kv_session session;
    kv_name_session(&name, id);
    int rc = kv_view_get(run->view, &name, &bytes);
    *ends = rc == 0;
    if (rc != 1)
        return rc;
    if (kv_session_get(bytes, &session) != 0)
        return PERI_ECORRUPT;
    *expires_ms = session.expires_ms;
    *ends = session.expires_ms <= run->meta.clock_ms;
    if (!*ends)
        return 0;
    run->meta.sessions--;
    return kv_view_delete(run->view, &name);
}

static int look_at(struct kv_run *run, struct peri_slice name)
{
    uint64_t due_ms, id, expires_ms = 0;
    enum kv_due what;
    struct kv_name due;
    bool ends = false;
    if (kv_name_to_due(name, &due_ms, &what, &id) != 0)
        return PERI_ECORRUPT;
    int rc = what == KV_DUE_LEASE ? look_at_lease(run, id, &expires_ms, &ends)
                                  : look_at_session(run, id, &expires_ms, &ends);
    kv_name_due(&due, due_ms, what, id);
    if (rc == 0)
        rc = kv_view_delete(run->view, &due);
    return rc == 0 && !ends ? write_due(run, expires_ms, what, id) : rc;
}

/* Looks at what is due, the earliest first; answers whether there is more. Stops early when keys of
 * leases have been many: the next tick goes on. */
int kv_tick(struct kv_run *run)
{
    struct kv_name from, to;
    struct peri_slice name, value;
    struct kv_walk walk;
    unsigned count = 0;
    int rc;
    kv_name_due(&from, 0, KV_DUE_LEASE, 0);
    kv_name_due(&to, run->meta.clock_ms + 1, KV_DUE_LEASE, 0);
    kv_walk_begin(&walk, run->view, &from, &to, KV_TICK_MAX + 1);
    while ((rc = kv_walk_next(&walk, &name, &value)) == 1) {
        if (count++ == KV_TICK_MAX || run->changes > KV_LEASE_KEYS_MAX / 4 ||
            run->view->read_bytes > KV_STEP_BYTES)
            break;
        rc = look_at(run, name);
        if (rc != 0)
            return rc;
    }
    wire_pack_bool(&run->result, rc == 1);
    return rc < 0 ? rc : 0;
}
