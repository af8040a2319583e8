/* parts.h - what the files of a run share; for this folder. */
#ifndef PERI_KV_PARTS_H
#define PERI_KV_PARTS_H

#include "kv/run.h"
#include "wire/pack.h"

/* A command on its way. Functions return 0, or what ends the run. */
struct kv_run {
    struct kv_view *view;
    const struct kv_command *command;
    struct kv_meta meta;
    struct wire_packer result; /* behind revision and clock, which come last */
    uint32_t changes;          /* events so far */
    struct peri_buffer scratch;
    struct peri_error *err;
};

/* ---- change.c: keys, with their history ---- */

/* The key as it is: 1 when it is there, else 0 and an empty entry. */
int kv_find(struct kv_view *view, struct peri_slice key, struct kv_entry *out);

/* Sets a key, which was as old says; with lease, or 0. Errors: PERI_ELEASE, PERI_ETOOBIG for keys
 * of one lease. */
int kv_change_put(struct kv_run *run, struct peri_slice key, const struct kv_entry *old,
                  struct peri_slice value, uint64_t lease);

/* Removes a key, which is there as old says. */
int kv_change_delete(struct kv_run *run, struct peri_slice key, const struct kv_entry *old);

/* Removes a key whose last event was that one, and whose lease ends with it. */
int kv_change_expire(struct kv_run *run, struct peri_slice key, const struct kv_attached *last);

/* Puts what was written to scratch under the name, and empties scratch; rc: of the writing. */
int kv_put_scratch(struct kv_run *run, const struct kv_name *name, int rc);

/* ---- lease.c: leases, and what is due ---- */

/* The lease: 1 when it is there and has not ended, else 0. */
int kv_lease_find(struct kv_run *run, uint64_t id, struct kv_lease *out);
int kv_lease_write(struct kv_run *run, uint64_t id, const struct kv_lease *lease);

/* The commands of that name; each appends what it has to say to the result. */
int kv_lease_grant(struct kv_run *run);
int kv_lease_keep(struct kv_run *run);
int kv_lease_revoke(struct kv_run *run);
int kv_tick(struct kv_run *run);

/* A lease of one key, which nobody prolongs and which goes with that key: its ttl_ms is 0. */
int kv_lease_own(struct kv_run *run, uint64_t left_ms, uint64_t *id);
int kv_lease_drop_own(struct kv_run *run, uint64_t id, const struct kv_lease *lease);

/* ---- session.c: one slot a client ---- */

/* The slot: 1 when it is there and has not ended, else 0. */
int kv_session_find(struct kv_run *run, uint64_t id, struct kv_session *out);
int kv_session_write(struct kv_run *run, uint64_t id, const struct kv_session *session);
int kv_session_open(struct kv_run *run);
int kv_session_shut(struct kv_run *run);

/* ---- operate.c, string.c ---- */

/* If, then, else. */
int kv_operate(struct kv_run *run);
/* Operations, one after the other; the result is a list. */
int kv_operate_all(struct kv_run *run, const struct kv_operation *operations, uint32_t count);
/* Those from KV_SET on. */
int kv_operate_string(struct kv_run *run, const struct kv_operation *operation);
/* As kv_find, but a key whose lease has ended is not there: 0, although *out says how it was. */
int kv_find_alive(struct kv_run *run, struct peri_slice key, struct kv_entry *out);
/* Has the keys of a command that is a KV_DO read, all side by side. */
void kv_want_keys(struct kv_run *run, const struct kv_command *command);
/* A script. */
int kv_eval(struct kv_run *run);
/* Commands one after the other; the result is a list. */
int kv_batch(struct kv_run *run);

/* ---- range.c ---- */

/* Appends [[key, value, revision, created, version, lease], ...], the key where it goes on or nil,
 * and how many there were: keys in bounds as they are. */
int kv_pack_range(struct kv_view *view, const struct kv_bounds *bounds, struct wire_packer *out);

/* The same for keys as they were at a revision, which is not compacted. */
int kv_pack_range_at(struct kv_view *view, const struct kv_bounds *bounds, uint64_t revision,
                     struct wire_packer *out);
/* As kv_find, at such a revision. */
int kv_find_at(struct kv_view *view, struct peri_slice key, uint64_t revision,
               struct kv_entry *out);

/* The revision at which a key, which is as now says, was set or removed last. Of one that is not
 * there history knows what was removed after the last compaction: it is never below that one. */
int kv_find_change(struct kv_run *run, struct peri_slice key, const struct kv_entry *now,
                   uint64_t *revision);

/* Appends value, revision, created, version, lease. */
void kv_pack_entry(struct wire_packer *out, struct peri_slice value, const struct kv_entry *entry);

/* The bounds as names of keys. */
void kv_bounds_names(const struct kv_bounds *bounds, struct kv_name *from, struct kv_name *to);
/* Is a key in there? */
bool kv_bounds_have(const struct kv_bounds *bounds, struct peri_slice key);

/* ---- apply.c ---- */

/* What was too big, where err does not say it. */
void kv_explain_size(struct peri_error *err);

#endif
