/* machine_session.h - the sessions of a machine in a file: one slot a client (node/session.h).
 *
 * They end by log time, and travel in snapshots. Only results of commands that took effect are
 * kept: one that failed had no effect, and may be tried again. */
#ifndef PERI_VM_MACHINE_SESSION_H
#define PERI_VM_MACHINE_SESSION_H

#include "base/buffer.h"
#include "base/error.h"
#include "wire/pack.h"

enum { VM_SESSIONS_MAX = 100000 };

struct vm_session {
    uint64_t id, sequence, ttl_us, expires_us;
    struct peri_buffer result;
};

struct vm_sessions {
    struct vm_session *list; /* by id */
    size_t count, capacity;
    uint64_t last_id;
    uint64_t next_us; /* when the first of them ends; UINT64_MAX: none */

    bool is_tracked;            /* touched is kept, for a machine that has sessions in keys */
    struct peri_buffer touched; /* ids (u64) of those that were opened, changed or ended */
    int touched_rc;             /* PERI_ENOMEM: some are missing there */
};

void vm_sessions_deinit(struct vm_sessions *sessions);

/* Lets go of those that have ended. */
void vm_sessions_expire(struct vm_sessions *sessions, uint64_t now_us);

/* Opens one; *id is its number. Errors: PERI_EBUSY above VM_SESSIONS_MAX; PERI_ENOMEM, which breaks
 * the replica. */
int vm_sessions_open(struct vm_sessions *sessions, uint64_t now_us, uint64_t ttl_us, uint64_t *id,
                     struct peri_error *err);

/* The slot, or NULL. Lent until a session is opened or ends. */
struct vm_session *vm_sessions_find(struct vm_sessions *sessions, uint64_t id);

/* Ends one, if it is there. */
void vm_sessions_shut(struct vm_sessions *sessions, uint64_t id);

/* The command with that number took effect. Errors: PERI_ENOMEM, which breaks the replica. */
int vm_session_keep(struct vm_sessions *sessions, struct vm_session *session, uint64_t sequence,
                    struct peri_slice result, uint64_t now_us);

/* Puts one in behind those that are there. Errors: PERI_ENOMEM. */
int vm_sessions_add(struct vm_sessions *sessions, const struct vm_session *session,
                    struct peri_slice result);

/* All of them, for a snapshot; and back, in place of those that are there. Errors: PERI_ENOMEM,
 * PERI_EFORMAT. */
void vm_sessions_pack(const struct vm_sessions *sessions, struct wire_packer *packer);
int vm_sessions_unpack(struct vm_sessions *sessions, struct wire_unpacker *unpacker);

#endif
