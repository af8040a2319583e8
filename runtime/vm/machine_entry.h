/* machine_entry.h - what stands in the log for a machine: a command and what it may know.
 *
 * MessagePack: [1, kind, now_us, seed, session, sequence, body]. now_us is the clock of whoever
 * proposed it; log time is the latest so far. seed is where ctx.random begins. session and
 * sequence: machine_session.h; 0: none. body is bytes. Pure. */
#ifndef PERI_VM_MACHINE_ENTRY_H
#define PERI_VM_MACHINE_ENTRY_H

#include "base/error.h"
#include "base/slice.h"

enum vm_entry_kind {
    VM_ENTRY_COMMAND, /* body: the command, in MessagePack */
    VM_ENTRY_OPEN,    /* a session begins; body: for how many microseconds, in MessagePack. The
                         result is its number */
    VM_ENTRY_SHUT,    /* the session ends */
    VM_ENTRY_TRY,     /* an upgrade, whose effect is undone; body: [name, text] */
    VM_ENTRY_UPGRADE, /* the same, for good */
    VM_ENTRY_PREPARE, /* as VM_ENTRY_TRY, and until it is decided, or lapses by the time of the log,
                         no command runs; body: [name, text, microseconds]. The result is [version,
                         index of the entry] */
    VM_ENTRY_DECIDE,  /* the one that was prepared happens, or not; body: [index of that entry,
                         bool]. The result is the version, or false */
    VM_ENTRY_KINDS
};

struct vm_entry {
    enum vm_entry_kind kind;
    uint64_t now_us, seed, session, sequence;
    struct peri_slice body; /* lent from the bytes */
};

/* Errors: PERI_EFORMAT. */
int vm_entry_read(struct peri_slice bytes, struct vm_entry *out, struct peri_error *err);

#endif
