/* invariants.h - what always holds: in one replica, from step to step, and among all replicas.
 *
 * A watch sees every replica after every event, from outside and all at once, which no replica can.
 * It keeps the history that the properties of Raft figure 3 speak about: who led in which term, and
 * what was ever committed. For tests and simulations. */
#ifndef PERI_RAFT_INVARIANTS_H
#define PERI_RAFT_INVARIANTS_H

#include "raft/raft.h"

/* Checks what holds in every state of a replica. Errors: PERI_ECORRUPT with the reason in err. */
int raft_check(const struct raft *raft, struct peri_error *err);

struct raft_watch; /* opaque: invariants.c */

/* Creates a watch over a group of which nothing is committed yet. On success the caller owns *out.
 * Errors: PERI_ENOMEM. */
int raft_watch_create(struct raft_watch **out);
void raft_watch_close(struct raft_watch *watch);

/* Looks at a replica after an event of its own. all: the replicas that run, borrowed; among them
 * raft. Checks raft_check, and
 *   - term and commit index only grow, a vote is not changed in a term (Raft figure 2);
 *   - election safety, leader append-only, log matching, leader completeness, state machine safety
 *     (Raft figure 3).
 * Errors: PERI_ECORRUPT with the reason in err; PERI_ENOMEM. */
int raft_watch_step(struct raft_watch *watch, const struct raft *raft,
                    const struct raft *const *all, size_t count, struct peri_error *err);

/* Forgets what a replica was, because it stopped: it comes back as its disk says. */
void raft_watch_stop(struct raft_watch *watch, uint64_t id);

/* The term of a committed entry; 0 when none is known there. */
uint64_t raft_watch_committed(const struct raft_watch *watch, uint64_t index);

/* The last index that any replica has committed. */
uint64_t raft_watch_last(const struct raft_watch *watch);

#endif
