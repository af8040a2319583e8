/* recorder.h - a flight recorder: the last events of a core, with the state before the first.
 *
 * Two halves: when the newer one is full it becomes the older one, and a fresh half begins with a
 * dump of the core. What was recorded can be stepped again, on any machine, to the same states:
 *
 *   half    magic "PFR1", size u32, dump; then events
 *   event   size u32; as varints type, success, now_us, peer, seq, index, last, term, size_bytes,
 *           then message, entries, configuration and changes, each with its count; i32 what the
 *           step returned (missing when it never did)
 *
 * Pure, but for memory. When that lacks, recording begins anew with the next event. */
#ifndef PERI_NODE_RECORDER_H
#define PERI_NODE_RECORDER_H

#include "base/buffer.h"
#include "raft/raft.h"

/* Starts zeroed. */
struct node_recorder {
    struct peri_buffer older, newer;
    size_t half_bytes; /* of events; 0: records nothing */
    size_t dump_bytes; /* before the events of the newer half */
};

/* A recorder of about that many bytes of events, and two dumps; 0: none. Errors: PERI_EINVAL when
 * it is too small. */
int node_recorder_init(struct node_recorder *recorder, uint64_t bytes);
void node_recorder_deinit(struct node_recorder *recorder);

/* Records the event that raft is about to be stepped with. */
void node_recorder_before(struct node_recorder *recorder, const struct raft *raft,
                          const struct raft_event *event);

/* Records what the step returned. */
void node_recorder_after(struct node_recorder *recorder, int rc);

/* Appends all that is recorded. Errors: PERI_EINVAL when nothing is; PERI_ENOMEM. */
int node_recorder_write(const struct node_recorder *recorder, struct peri_buffer *out);

/* Called for every event that is stepped again; lent for the call. */
typedef void (*node_recorder_cb)(void *data, const struct raft_event *event, int rc,
                                 const struct raft *raft);

/* Steps a core through what was recorded. Returns 0 when every step did what it did then. Errors:
 * PERI_ECORRUPT with the event that did not; PERI_EFORMAT; PERI_ENOMEM. on_event may be NULL. */
int node_recorder_replay(struct peri_slice bytes, node_recorder_cb on_event, void *data,
                         struct peri_error *err);

#endif
