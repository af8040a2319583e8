#include "vm/machine_session.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 16, FIELDS = 5 };

void vm_sessions_deinit(struct vm_sessions *sessions)
{
    for (size_t i = 0; i < sessions->count; i++)
        peri_buffer_deinit(&sessions->list[i].result);
    free(sessions->list);
    peri_buffer_deinit(&sessions->touched);
    *sessions = (struct vm_sessions){.next_us = UINT64_MAX};
}

static void touch(struct vm_sessions *sessions, uint64_t id)
{
    if (sessions->is_tracked && sessions->touched_rc == 0)
        sessions->touched_rc = peri_buffer_append(&sessions->touched, (const char *)&id, sizeof id);
}

static void find_next(struct vm_sessions *sessions)
{
    sessions->next_us = UINT64_MAX;
    for (size_t i = 0; i < sessions->count; i++)
        if (sessions->list[i].expires_us < sessions->next_us)
            sessions->next_us = sessions->list[i].expires_us;
}

void vm_sessions_expire(struct vm_sessions *sessions, uint64_t now_us)
{
    size_t kept = 0;
    if (now_us < sessions->next_us)
        return;
    for (size_t i = 0; i < sessions->count; i++) {
        struct vm_session *session = &sessions->list[i];
        if (session->expires_us > now_us) {
            sessions->list[kept++] = *session;
            continue;
        }
        touch(sessions, session->id);
        peri_buffer_deinit(&session->result);
    }
    sessions->count = kept;
    find_next(sessions);
}

/* Room for one more. */
static int grow(struct vm_sessions *sessions)
{
    if (sessions->count < sessions->capacity)
        return 0;
    size_t capacity = sessions->capacity == 0 ? CAPACITY_MIN : 2 * sessions->capacity;
    struct vm_session *list = realloc(sessions->list, capacity * sizeof *list);
    if (list == NULL)
        return PERI_ENOMEM;
    sessions->list = list;
    sessions->capacity = capacity;
    return 0;
}

int vm_sessions_open(struct vm_sessions *sessions, uint64_t now_us, uint64_t ttl_us, uint64_t *id,
                     struct peri_error *err)
{
    if (sessions->count >= VM_SESSIONS_MAX)
        return peri_fail_plain(err, PERI_EBUSY, "there are %d sessions, which is the limit",
                               VM_SESSIONS_MAX);
    if (grow(sessions) != 0)
        return peri_fail(err, PERI_ENOMEM, "a session");
    *id = ++sessions->last_id;
    sessions->list[sessions->count++] =
        (struct vm_session){.id = *id, .ttl_us = ttl_us, .expires_us = now_us + ttl_us};
    if (now_us + ttl_us < sessions->next_us)
        sessions->next_us = now_us + ttl_us;
    touch(sessions, *id);
    return 0;
}

int vm_sessions_add(struct vm_sessions *sessions, const struct vm_session *session,
                    struct peri_slice result)
{
    if (grow(sessions) != 0)
        return PERI_ENOMEM;
    struct vm_session *added = &sessions->list[sessions->count++];
    *added = *session;
    added->result = (struct peri_buffer){NULL, 0, 0};
    if (added->expires_us < sessions->next_us)
        sessions->next_us = added->expires_us;
    return peri_buffer_append(&added->result, result.data, result.size);
}

struct vm_session *vm_sessions_find(struct vm_sessions *sessions, uint64_t id)
{
    size_t low = 0, high = sessions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sessions->list[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sessions->count && sessions->list[low].id == id ? &sessions->list[low] : NULL;
}

void vm_sessions_shut(struct vm_sessions *sessions, uint64_t id)
{
    struct vm_session *session = vm_sessions_find(sessions, id);
    if (session == NULL)
        return;
    size_t behind = sessions->count - (size_t)(session - sessions->list) - 1;
    touch(sessions, id);
    peri_buffer_deinit(&session->result);
    memmove(session, session + 1, behind * sizeof *session);
    sessions->count--;
}

int vm_session_keep(struct vm_sessions *sessions, struct vm_session *session, uint64_t sequence,
                    struct peri_slice result, uint64_t now_us)
{
    session->sequence = sequence;
    session->expires_us = now_us + session->ttl_us;
    session->result.size = 0;
    touch(sessions, session->id);
    /* next_us may be too early now: then nothing ends, and it is found again */
    return peri_buffer_append(&session->result, result.data, result.size);
}

void vm_sessions_pack(const struct vm_sessions *sessions, struct wire_packer *packer)
{
    wire_pack_uint(packer, sessions->last_id);
    wire_pack_array(packer, (uint32_t)sessions->count);
    for (size_t i = 0; i < sessions->count; i++) {
        const struct vm_session *session = &sessions->list[i];
        wire_pack_array(packer, FIELDS);
        wire_pack_uint(packer, session->id);
        wire_pack_uint(packer, session->sequence);
        wire_pack_uint(packer, session->ttl_us);
        wire_pack_uint(packer, session->expires_us);
        wire_pack_bytes(packer, peri_buffer_slice(&session->result));
    }
}

static int unpack_one(struct vm_sessions *sessions, struct wire_unpacker *unpacker)
{
    struct vm_session session = {.id = 0};
    bool is_one = wire_unpack_array(unpacker) == FIELDS;
    session.id = wire_unpack_uint(unpacker);
    session.sequence = wire_unpack_uint(unpacker);
    session.ttl_us = wire_unpack_uint(unpacker);
    session.expires_us = wire_unpack_uint(unpacker);
    struct peri_slice result = wire_unpack_bytes(unpacker);
    return is_one && unpacker->rc == 0 ? vm_sessions_add(sessions, &session, result) : PERI_EFORMAT;
}

int vm_sessions_unpack(struct vm_sessions *sessions, struct wire_unpacker *unpacker)
{
    int rc = 0;
    vm_sessions_deinit(sessions);
    sessions->last_id = wire_unpack_uint(unpacker);
    uint32_t count = wire_unpack_array(unpacker);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = unpack_one(sessions, unpacker);
    return rc;
}
