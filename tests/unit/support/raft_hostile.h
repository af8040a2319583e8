/* raft_hostile.h - events with fields from anywhere, most of which no correct host or peer would
 * send: for one replica that may refuse them, but must survive. */
#ifndef PERI_TEST_RAFT_HOSTILE_H
#define PERI_TEST_RAFT_HOSTILE_H

#include "raft/raft.h"

/* Where choices come from: random numbers, or the bytes of a fuzzer. */
struct raft_hostile_source {
    uint64_t (*draw)(void *data, uint64_t below);
    void *data;
};

enum { RAFT_HOSTILE_ENTRIES = 4, RAFT_HOSTILE_CHANGES = 3 };

/* One event; what it points to lives here. */
struct raft_hostile {
    struct raft_event event;
    struct raft_message message;
    struct raft_entry entries[RAFT_HOSTILE_ENTRIES];
    struct raft_configuration members[RAFT_HOSTILE_ENTRIES], snapshot;
    struct raft_change changes[RAFT_HOSTILE_CHANGES];
};

/* Makes an event near the state of raft, whose id is 1; now_us is its time, mostly. */
void raft_hostile_make(struct raft_hostile *hostile, const struct raft *raft, uint64_t now_us,
                       const struct raft_hostile_source *source);

/* Changes one field of a message. */
void raft_hostile_damage(struct raft_message *message, const struct raft_hostile_source *source);

/* Steps, and looks: an error changes nothing, and what always holds does. Returns raft_step's;
 * *err.code is PERI_ECORRUPT, with the reason, when it does not hold. */
int raft_hostile_step(struct raft *raft, const struct raft_event *event, struct raft_output *out,
                      struct peri_error *err);

/* Loads a dump of raft: *out is its equal. Errors: PERI_ECORRUPT when it is not; PERI_ENOMEM. */
int raft_hostile_copy(struct raft **out, const struct raft *raft, struct peri_error *err);

/* Loads a damaged dump of raft, which gives a replica in a valid state, or none. Errors:
 * PERI_ECORRUPT when it is not valid; PERI_ENOMEM. */
int raft_hostile_load(const struct raft *raft, const struct raft_hostile_source *source,
                      struct peri_error *err);

#endif
