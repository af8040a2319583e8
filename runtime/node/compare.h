/* compare.h - replicas compare the rolling hashes of their machines; one that differs from a
 * majority is set aside and rebuilt.
 *
 * For machines that have a hash (machine.h). Each replica asks the voters, now and then while
 * something is applied, for the hash behind the entry that both have applied, and judges only
 * itself (compare.c, ballot.c). When a hash differs, all voters are asked for theirs at that index:
 *
 *   a majority of the voters has another one than this replica: it is quarantined. It answers no
 *     query and applies nothing. Which entry was the first to differ is found out, and then the
 *     whole state comes from one of the majority, with the log behind it (rebuild.c)
 *   a majority has that of this replica: the others will find out themselves; people are told
 *   neither: nobody knows who is right. People are told, and all go on
 *
 * A quarantined replica goes on to keep the log, to acknowledge entries and to vote: these promises
 * are about the log, which is right. It does not lead.
 *
 * Calls, one byte string each way (numbers u64, little-endian):
 *
 *   raft.hashes   envelope without messages (message.h), group, count u8, indexes
 *     answer      applied index, known u8, hash; for each index known u8, hash
 *   raft.state    envelope without messages, group, index: asks for a state at that index or later
 *     answer      nothing; the state comes by raft.rebuild, as snapshots do (transfer.c), or by
 *                 raft.chunk_of_state where a machine keeps keys (stream.c) */
#ifndef PERI_NODE_COMPARE_H
#define PERI_NODE_COMPARE_H

#include "node/snapshot.h"

enum {
    COMPARE_INDEXES_MAX = 16, /* in a question */
    COMPARE_PERIOD_US = 250000,
    COMPARE_BALLOT_PERIODS = 20, /* then nobody knows who is right */
    COMPARE_HOLD_US = 2000000,   /* that a snapshot waits for a majority to have its hash */
};

/* Another voter, and what it said. */
struct node_compared {
    struct node_compare *compare;
    uint64_t id; /* 0: the place is free */
    struct rpc_request request;
    struct peri_buffer args;
    uint64_t asked[COMPARE_INDEXES_MAX];
    size_t asked_count;
    uint64_t pause_us;          /* it did not answer: not before then */
    uint64_t equal_index;       /* the last one at which the hashes were known to be the same */
    uint64_t differs_index;     /* the first one at which they were not; 0: none */
    uint64_t ballot;            /* its hash at the ballot's index */
    bool is_asked, is_searched; /* the second: for the first entry that differs */
    bool has_ballot, is_good;   /* the second: its hash was that of a majority */
    bool is_blamed, is_judged;  /* people were told; and that a majority is against it */
};

enum node_compare_phase {
    NODE_SOUND,
    NODE_SEARCHING, /* quarantined: which entry was the first? */
    NODE_FETCHING   /* quarantined: the state of a good replica comes */
};

struct node_compare {
    struct node_group *group;
    struct node_compared others[RAFT_MEMBERS_MAX];
    uint64_t due_us;

    uint64_t ballot_index, ballot_own; /* index 0: none is under way */
    unsigned ballot_periods;
    uint64_t held_index, held_us; /* a snapshot that waits, and since when */

    enum node_compare_phase phase;
    uint64_t low, high; /* the hashes are equal at low, and not at high; low 0: not known */
    uint64_t good;      /* who has a good state */
    uint64_t fetch_us;  /* when to ask for it again */
    struct rpc_request fetch;
    struct peri_buffer fetch_args;
    bool is_fetching;
    uint32_t priority; /* before it was 0 */
    struct node_stage stage;
    bool has_state, is_restoring;
};

/* ---- compare.c ---- */

/* Errors: PERI_ENOMEM. No effect for machines without a hash. */
int node_compare_open(struct node_group *group);
void node_compare_close(struct node_group *group);
/* When there is something to ask; and asks it. */
uint64_t node_compare_due_us(const struct node_group *group);
void node_compare_on_time(struct node_group *group, uint64_t now_us);
/* Something was applied, or restored. */
void node_compare_applied(struct node_group *group);
/* Serves a question for hashes. */
void node_compare_on_call(struct rpc_call *call);
/* Begins the args of a call to another node: an envelope. Errors: PERI_ENOMEM. */
int node_compare_begin_args(const struct node_group *group, uint64_t to, struct peri_buffer *args);
/* Opens the args of a call: the group, or NULL with err, and what follows its number. */
struct node_group *node_compare_open_args(struct rpc_call *call, struct peri_slice *rest,
                                          uint64_t *from, struct peri_error *err);

/* ---- ballot.c ---- */

/* True when that member votes in the configuration in force. */
bool node_compare_is_voter(const struct raft_configuration *members, uint64_t id);
/* Another hash was found at index than this replica's own: all are asked, unless they are already.
 */
void node_ballot_begin(struct node_compare *compare, uint64_t index, uint64_t own);
/* Concludes, if what is known by now suffices. */
void node_ballot_judge(struct node_compare *compare);
/* Another period has passed: ends one that does not come to an end. */
void node_ballot_on_time(struct node_compare *compare);
/* True when the snapshot at index may be sent: a majority had the hash that this replica had, there
 * or later, so that no wrong state spreads. When too few of them answer it may after a while all
 * the same, for else a group that needs it could not go on. */
bool node_compare_may_send(struct node_group *group, uint64_t index);

/* ---- rebuild.c ---- */

/* True while this replica's state is known to be wrong. */
bool node_compare_is_quarantined(const struct node_group *group);
/* Says so. Returns PERI_EDIVERGED. */
int node_compare_fail(const struct node_group *group, struct peri_error *err);
/* A majority, of which good is one, has another hash at that index; at low, if not 0, it was equal.
 */
void node_rebuild_begin(struct node_compare *compare, uint64_t low, uint64_t high, uint64_t good);
/* Which entry was the first is known as well as it can be: a state is fetched. */
void node_rebuild_found(struct node_compare *compare);
/* Asks for the state, when that is due. */
void node_rebuild_on_time(struct node_compare *compare, uint64_t now_us);
/* True when the machine shall be restored from *state, which is lent until that is done. */
bool node_rebuild_to_restore(struct node_group *group, struct peri_slice *state, uint64_t *index,
                             uint64_t *term);
/* Of a machine that keeps keys: whether a chunk of a state at that index is wanted. 0, PERI_EBUSY
 * when it is too early, PERI_ECLOSED. A chunk was taken: the rest comes. The state is staged
 * (intake.c). */
int node_rebuild_judge(const struct node_group *group, uint64_t index);
void node_rebuild_wait(struct node_group *group);
void node_rebuild_staged(struct node_group *group, uint64_t index, uint64_t term);
/* The machine was restored. True when that was from here. */
bool node_rebuild_restored(struct node_group *group);
void node_rebuild_close(struct node_compare *compare);
/* Serves who asks for a state; a piece of one that comes. */
void node_rebuild_on_state_call(struct rpc_call *call);
void node_rebuild_on_piece(struct rpc_call *call);

#endif
