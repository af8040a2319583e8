/* state.h - the state machines of all groups of a node, in one store.
 *
 * What a round of applying changes is one batch: the mutations of all groups, and for each of them
 * how far it has come. The batch is not synced, for the log has it all; a state is never torn,
 * since after a restart the store is as it was at its last flush, whole, and the rest is applied
 * again. Therefore the log may be cut only up to what was applied before a barrier:
 *
 *      apply 1..100 | apply 101..180 |  barrier  | apply 181..230 | crash
 *                                    ^ after the restart: 180 (or more), never a mixture
 *
 * The keys of a group stand under an epoch. A snapshot is installed into a new epoch, chunk by
 * chunk (snapshot.h), and one batch makes that the group's; what old epochs held is collected bit
 * by bit.
 *
 *      A group             1 | 0 | epoch index term | members size u8, members | extra
 *      G group             the same of a snapshot that is being installed, with its progress
 *      S group epoch key   value
 *
 * Functions block: they are for background work; one thread at a time writes, others may read. */
#ifndef PERI_STORE_STATE_H
#define PERI_STORE_STATE_H

#include "raft/configuration.h"
#include "store/store.h"

struct store_state;

struct store_state_options {
    uint64_t cluster, node;     /* a directory of another cluster or node is refused; not 0 */
    size_t write_buffer_bytes;  /* 32 MiB: at most so much is applied again after a restart */
    size_t cache_bytes;         /* 32 MiB */
    enum store_backend backend; /* STORE_BY_ENV, but for tests */
};

/* Reasonable options. */
void store_state_options_init(struct store_state_options *options, uint64_t cluster, uint64_t node);

/* Opens the state in directory path, or makes an empty one: as of its last flush. The caller owns
 * *out. Errors: PERI_ECLUSTER, PERI_EVERSION, and those of store_open. */
int store_state_open(struct store_state **out, struct env *env, const char *path,
                     const struct store_state_options *options, struct peri_error *err);
/* Accepts NULL; does not flush. Ends sources that are still open (snapshot.h). */
void store_state_close(struct store_state *state);

/* After a write that found no room: opens the store again, with all that was written to it, which
 * is durable then. Nobody else uses the state meanwhile; sources that are open fail from then on.
 * Errors: -ENOSPC with nothing done while there is less room than that takes. Else as store_open,
 * and the state is of no use (store_state_is_open) until this was done again without one. */
int store_state_reopen(struct store_state *state, struct peri_error *err);
bool store_state_is_open(const struct store_state *state);

enum { STORE_EXTRA_MAX = 64 << 10 };

/* How far a group's state has come. extra is the caller's (sessions, hashes, versions of code), and
 * travels with snapshots. */
struct store_applied {
    uint64_t group;
    uint64_t epoch; /* of a group that begins: store_state_fresh_epoch of 0 */
    uint64_t index, term;
    struct raft_configuration members; /* as of index */
    struct peri_slice extra;           /* at most STORE_EXTRA_MAX bytes */
};

/* Reads what the store holds of a group, as of a snapshot or (NULL) now; out->extra points into
 * extra, a buffer of the caller's. Returns 1, or 0 for an unknown group. Errors: PERI_ECORRUPT,
 * errno codes, PERI_ENOMEM. */
int store_state_applied(struct store_state *state, const struct store_snapshot *snapshot,
                        uint64_t group, struct store_applied *out, struct peri_buffer *extra,
                        struct peri_error *err);

/* Calls each(data, applied) for every group, in the order of their ids, until it returns not 0,
 * which is then returned. Errors: as above. */
int store_state_groups(struct store_state *state,
                       int (*each)(void *data, const struct store_applied *applied), void *data,
                       struct peri_error *err);

/* An epoch behind that of a group's state (of; 0: it begins), under which no key of the group
 * stands, not even of one of that id that was dropped. A state that is in memory alone so far has
 * left no trace of its epoch in the store. Errors: as store_get. */
int store_state_fresh_epoch(struct store_state *state, const struct store_applied *of,
                            uint64_t *epoch, struct peri_error *err);

/* A round: what is applied together. Begins zeroed; ended by store_batch_deinit(&round.changes),
 * used again after store_batch_clear. */
struct store_round {
    struct store_batch changes;
};

/* Add changes of a group's keys; where its state is now (epoch) comes from store_applied. Errors:
 * PERI_ENOMEM. */
int store_round_put(struct store_round *round, const struct store_applied *of,
                    struct peri_slice key, struct peri_slice value);
int store_round_delete(struct store_round *round, const struct store_applied *of,
                       struct peri_slice key);

/* Says how far a group has come with this round. Errors: PERI_EINVAL for an extra that is too long,
 * PERI_ENOMEM. */
int store_round_applied(struct store_round *round, const struct store_applied *applied);

/* Forgets a group; its keys go with store_state_collect. Errors: PERI_ENOMEM. */
int store_round_drop(struct store_round *round, uint64_t group);

/* Writes a round, all of it or nothing. Errors: as store_write. */
int store_state_write(struct store_state *state, const struct store_round *round,
                      struct peri_error *err);

/* Makes all rounds so far durable. What was applied before the call may then be cut from the log.
 * Takes a while: for every 30 s or so, or some ten MiB. Errors: as store_write; then nothing may be
 * cut any more. */
int store_state_barrier(struct store_state *state, struct peri_error *err);

/* Reads a key of a group. Returns 1, or 0 when it is not there. Errors: as store_get. */
int store_state_get(struct store_state *state, const struct store_snapshot *snapshot,
                    const struct store_applied *of, struct peri_slice key, struct peri_buffer *out,
                    struct peri_error *err);

/* Calls each(data, key, value) for the group's keys that are not below from, in order, until it
 * returns not 0, which is then returned. Key and value are lent for the call. Errors: as store_get.
 */
int store_state_scan(struct store_state *state, const struct store_snapshot *snapshot,
                     const struct store_applied *of, struct peri_slice from,
                     int (*each)(void *data, struct peri_slice key, struct peri_slice value),
                     void *data, struct peri_error *err);

/* The same for the keys below to, from the last one back. */
int store_state_scan_back(struct store_state *state, const struct store_snapshot *snapshot,
                          const struct store_applied *of, struct peri_slice to,
                          int (*each)(void *data, struct peri_slice key, struct peri_slice value),
                          void *data, struct peri_error *err);

/* Deletes up to keys_max keys of epochs that no group uses, and of groups that are gone. Returns
 * how many; 0 when nothing is left to do. Errors: as store_write. */
int store_state_collect(struct store_state *state, uint32_t keys_max, struct peri_error *err);

#endif
