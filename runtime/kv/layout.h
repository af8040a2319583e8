/* layout.h - how the store's state lies in ordered keys (README.md draws it). Pure.
 *
 * Names are the keys on disk. Numbers in them are big-endian, so that their order is that of the
 * numbers; a user's key in front of something is escaped (00 is 00 ff, and 00 01 ends it), which
 * keeps its order, too. Values are varints, then bytes. */
#ifndef PERI_KV_LAYOUT_H
#define PERI_KV_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "kv/limits.h"

/* ---- names ---- */

enum { KV_NAME_MAX = 1 + 2 * KV_KEY_MAX + 2 + 8 + 1 };

struct kv_name {
    size_t size;
    char data[KV_NAME_MAX];
};

static inline struct peri_slice kv_name_slice(const struct kv_name *name)
{
    return peri_slice_of(name->data, name->size);
}

/* What a due time is of. */
enum kv_due { KV_DUE_LEASE, KV_DUE_SESSION };

/* The one record about all. */
void kv_name_meta(struct kv_name *out);
/* A key as it is now; of at most KV_KEY_MAX bytes, as everywhere here. */
void kv_name_key(struct kv_name *out, struct peri_slice key);
/* How far history is swept, on this replica. */
void kv_name_swept(struct kv_name *out);
/* Behind all keys. */
void kv_name_key_end(struct kv_name *out);
/* The change with that number in the command of that revision. */
void kv_name_event(struct kv_name *out, uint64_t revision, uint32_t number);
/* A key as it was from that revision on: the newest comes first. Revision 0 is behind all. */
void kv_name_version(struct kv_name *out, struct peri_slice key, uint64_t revision);
/* In front of all versions of the keys from key on, and behind those of all keys. */
void kv_name_versions(struct kv_name *out, struct peri_slice key);
void kv_name_versions_end(struct kv_name *out);
/* A lease; a key that is attached to it, and what comes in front of and behind all that are. */
void kv_name_lease(struct kv_name *out, uint64_t lease);
void kv_name_attached(struct kv_name *out, uint64_t lease, struct peri_slice key);
/* A client's slot. */
void kv_name_session(struct kv_name *out, uint64_t session);
/* When a lease or a session is looked at: it ends then, or was prolonged meanwhile. */
void kv_name_due(struct kv_name *out, uint64_t due_ms, enum kv_due what, uint64_t id);
/* Is it one of these? They are read in ranges alone, which ask the store. */
bool kv_name_is_due(const struct kv_name *name);

/* The user's key in a name of kv_name_key or kv_name_attached; lent. Errors: PERI_ECORRUPT. */
int kv_name_to_key(struct peri_slice name, struct peri_slice *key);
int kv_name_to_attached(struct peri_slice name, struct peri_slice *key);
/* The numbers in names of events and due times. Errors: PERI_ECORRUPT. */
int kv_name_to_event(struct peri_slice name, uint64_t *revision, uint32_t *number);
int kv_name_to_due(struct peri_slice name, uint64_t *due_ms, enum kv_due *what, uint64_t *id);
/* The key and the revision in the name of a version; room has KV_KEY_MAX bytes, and lends the key.
 * Errors: PERI_ECORRUPT. */
int kv_name_to_version(struct peri_slice name, char *room, struct peri_slice *key,
                       uint64_t *revision);

/* ---- values ---- */

struct kv_meta {
    uint64_t revision;  /* of the last command that changed a key */
    uint64_t compacted; /* history up to there is gone */
    uint64_t swept;     /* and what it took on disk, up to there, when commands still swept */
    uint64_t clock_ms;  /* log time: the latest that a command brought along */
    uint64_t last_id;   /* of leases and sessions */
    uint64_t keys, leases, sessions;
    uint64_t hash; /* of all that commands have changed; 0: of a state that began without one */
};

/* A key as it is. */
struct kv_entry {
    uint64_t revision, created; /* of its last change, and of the one that it began with */
    uint64_t version;           /* changes since then, the first is 1 */
    uint64_t lease;             /* or 0 */
    uint64_t number;            /* of the change in the command of that revision */
    struct peri_slice value;
};

struct kv_event {
    bool is_delete;
    uint64_t before, before_number; /* the event of the same key before this one; 0: none */
    struct kv_entry entry;          /* with is_delete: empty */
    struct peri_slice key;
};

struct kv_version {
    bool is_delete;
    uint64_t number;
};

struct kv_lease {
    uint64_t ttl_ms, expires_ms, keys;
};

/* The event that a key on a lease has as its last one. */
struct kv_attached {
    uint64_t revision, number;
};

struct kv_session {
    uint64_t sequence, ttl_ms, expires_ms;
    bool is_skipped;          /* the sequence was given up: its command never happens */
    struct peri_slice result; /* of the command with that sequence */
};

/* Each appends to an empty buffer. Errors: PERI_ENOMEM. */
int kv_meta_put(struct peri_buffer *out, const struct kv_meta *meta);
int kv_swept_put(struct peri_buffer *out, uint64_t revision);
int kv_entry_put(struct peri_buffer *out, const struct kv_entry *entry);
int kv_event_put(struct peri_buffer *out, const struct kv_event *event);
int kv_version_put(struct peri_buffer *out, const struct kv_version *version);
int kv_lease_put(struct peri_buffer *out, const struct kv_lease *lease);
int kv_attached_put(struct peri_buffer *out, const struct kv_attached *attached);
int kv_session_put(struct peri_buffer *out, const struct kv_session *session);

/* Each reads; slices are lent with the bytes. The event's revision stands in its name: its entry
 * has 0. Errors: PERI_ECORRUPT. */
int kv_meta_get(struct peri_slice bytes, struct kv_meta *out);
int kv_swept_get(struct peri_slice bytes, uint64_t *revision);
int kv_entry_get(struct peri_slice bytes, struct kv_entry *out);
int kv_event_get(struct peri_slice bytes, struct kv_event *out);
int kv_version_get(struct peri_slice bytes, struct kv_version *out);
int kv_lease_get(struct peri_slice bytes, struct kv_lease *out);
int kv_attached_get(struct peri_slice bytes, struct kv_attached *out);
int kv_session_get(struct peri_slice bytes, struct kv_session *out);

#endif
