/* raft_random.h - random schedules: a group under load, crashes, cuts, stalls and changes of
 * members, and then in peace, when it must get on. */
#ifndef PERI_TEST_RAFT_RANDOM_H
#define PERI_TEST_RAFT_RANDOM_H

#include <stdint.h>

#include "base/error.h"

/* What happened in schedules, summed up. */
struct raft_random_totals {
    uint64_t events, elections, commits, reads, snapshots, changes, crashes, repairs;
};

/* Runs the schedule of a seed: trouble for duration_us of virtual time, then peace. Returns 0, or
 * PERI_ECORRUPT with the reason in err: an invariant was broken, or peace brought no progress. */
int raft_random_run(uint64_t seed, uint64_t duration_us, struct raft_random_totals *totals,
                    struct peri_error *err);

enum { RAFT_LINKS = 10 /* between five replicas */ };

/* Five replicas at rest, of which suddenly only those hear each other whose bit is set in links: of
 * the pairs 1-2, 1-3, 1-4, 1-5, 2-3 ... in their order. When one of them still hears a majority,
 * one such leads within four election timeouts, stays leader, and commits; otherwise nobody
 * commits. Errors: PERI_ECORRUPT with the reason in err. */
int raft_random_links(uint64_t seed, unsigned links, struct peri_error *err);

#endif
