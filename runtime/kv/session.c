/* session.c - sessions: one slot a client, so that a command that was sent again applies once. */
#include "kv/parts.h"

int kv_session_find(struct kv_run *run, uint64_t id, struct kv_session *out)
{
    struct kv_name name;
    struct peri_slice bytes;
    kv_name_session(&name, id);
    *out = (struct kv_session){.sequence = 0};
    int rc = kv_view_get(run->view, &name, &bytes);
    if (rc == 1)
        rc = kv_session_get(bytes, out) != 0 ? PERI_ECORRUPT : out->expires_ms > run->meta.clock_ms;
    return rc;
}

int kv_session_write(struct kv_run *run, uint64_t id, const struct kv_session *session)
{
    struct kv_name name;
    kv_name_session(&name, id);
    return kv_put_scratch(run, &name, kv_session_put(&run->scratch, session));
}

int kv_session_open(struct kv_run *run)
{
    const struct kv_session session = {.ttl_ms = run->command->number,
                                       .expires_ms = run->meta.clock_ms + run->command->number};
    struct kv_name name;
    if (run->meta.sessions >= KV_SESSIONS_MAX)
        return peri_fail_plain(run->err, PERI_EBUSY, "there are %d sessions, which is the limit",
                               KV_SESSIONS_MAX);
    uint64_t id = ++run->meta.last_id;
    run->meta.sessions++;
    wire_pack_uint(&run->result, id);
    kv_name_due(&name, session.expires_ms, KV_DUE_SESSION, id);
    int rc = kv_view_put(run->view, &name, peri_slice_of(NULL, 0));
    return rc == 0 ? kv_session_write(run, id, &session) : rc;
}

int kv_session_shut(struct kv_run *run)
{
    struct kv_name name;
    kv_name_session(&name, run->command->session);
    run->meta.sessions--;
    return kv_view_delete(run->view, &name); /* its due record finds nothing, and goes then */
}
