/* progress.h - what a leader knows of a member's log (Raft figure 2, nextIndex and matchIndex).
 *
 *   probe      where the logs agree is not known: one AppendEntries at a time
 *   replicate  it is: entries are sent ahead of their acknowledgements, within a window
 *   snapshot   what the member needs next was cut off: it gets a snapshot first */
#ifndef PERI_RAFT_PROGRESS_H
#define PERI_RAFT_PROGRESS_H

#include "raft/raft.h"

enum { RAFT_INFLIGHT_MAX = 16 }; /* AppendEntries without an answer, a power of two */

/* Reads of one source on their way through a leader: one batch in a round of heartbeats, the rest
 * waits for the next one (Thesis 6.4). Reads are numbered; a batch is known by its last number. */
struct raft_read_slot {
    uint64_t waiting;              /* last number that waits for a round; 0: none */
    uint64_t number, index, round; /* the batch in a round; number 0: none */
};

struct raft_progress {
    uint64_t match_index; /* durable there; of the leader itself: durable here */
    uint64_t next_index;  /* above match_index */
    uint64_t commit_sent;
    uint64_t snapshot_index;     /* that it is being sent */
    uint64_t acked_round;        /* the newest heartbeat round that it answered, */
    uint64_t acked_us;           /* and when what it answered last was sent; 0: never */
    uint64_t heartbeat_match;    /* match_index at its last heartbeat reply */
    uint64_t catchup_index;      /* learners: the round of catching up ends here, */
    uint64_t catchup_us;         /* and began then (Thesis 4.2.1) */
    uint32_t catchup_rounds;     /* that were too long */
    struct raft_read_slot reads; /* that it forwarded */
    uint64_t inflight_bytes;
    uint32_t inflight_first, inflight_count;
    struct {
        uint64_t last, bytes;
    } window[RAFT_INFLIGHT_MAX]; /* a ring, in the order of last */
    enum raft_progress_state state;
    bool is_paused;   /* probe: an answer is awaited */
    bool is_fetching; /* entries for it are being read */
    bool is_sleepy;   /* it answered that it sleeps */
};

/* A member of whose log nothing is known: probe from next_index. */
void raft_progress_init(struct raft_progress *progress, uint64_t next_index);

/* Back to probing, behind what is known to match. */
void raft_progress_probe(struct raft_progress *progress);

/* Counts an AppendEntries up to last as under way; next_index moves behind it. */
void raft_progress_sent(struct raft_progress *progress, uint64_t last, uint64_t size_bytes);

/* The member holds everything up to index: match_index, next_index and the window move. True when
 * match_index grew. */
bool raft_progress_matched(struct raft_progress *progress, uint64_t index);

/* The member lacks the entry at rejected; the logs may agree at hint. Returns false, and changes
 * nothing, when this is old news (a reordered or repeated answer). */
bool raft_progress_rejected(struct raft_progress *progress, uint64_t rejected, uint64_t hint);

/* True when entries may be sent to it now. */
bool raft_progress_may_send(const struct raft_progress *progress, uint64_t inflight_max_bytes);

#endif
