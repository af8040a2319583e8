/* state.h - the state of a replica, and what the files of this folder do to it. Not for others.
 *
 * A step is: check the event (nothing changes), make room (nothing that is said changes), let the
 * event change the state, and then raft_settle: what follows from the new state, whatever the event
 * was. Only the fields below "of the step" differ between replicas that saw the same events. */
#ifndef PERI_RAFT_STATE_H
#define PERI_RAFT_STATE_H

#include "raft/progress.h"
#include "raft/quorum.h"
#include "raft/raft.h"

/* Local reads, numbered: those up to closed are confirmed or dropped, the rest up to last is open.
 */
struct raft_reads {
    uint64_t last, closed;
    uint64_t ready, ready_index; /* served once ready_index is applied; ready 0: none */
    uint64_t forwarded;          /* follower: the number that the leader was asked about; 0: none */
    uint64_t forwarded_us;       /* and when */
    struct raft_read_slot own;   /* leader */
};

struct raft {
    struct raft_options options;
    uint64_t random; /* state of the generator */
    uint64_t now_us;

    /* Persistent state (Raft figure 2), as it will be when all records are durable. */
    uint64_t term, vote;
    struct raft_log log;
    struct raft_history *history; /* ascending; [0]: as of log.base_index; last: in force */
    size_t history_count, history_capacity;
    uint64_t snapshot_index, snapshot_term;
    /* Votes go to logs that reach at least to this entry, because this replica's own did once, and
     * its disk has lost it. Terms of UINT64_MAX: to nobody. */
    uint64_t floor_index, floor_term;

    /* Records. */
    uint64_t seq, durable_seq; /* handed out; durable. seq >= durable_seq */
    uint64_t hard_seq;         /* the last that changed term or vote: messages wait for it */
    uint64_t install_seq;      /* the last that installs a snapshot: applying waits for it */
    uint64_t pending_since_us; /* when seq > durable_seq: the disk has shown no progress since */
    bool is_fenced;            /* a write failed */

    /* Volatile state. */
    enum raft_role role;
    uint64_t leader; /* 0: unknown */
    uint64_t commit_index, last_applied;
    uint64_t applying_index; /* end of the window handed out, or last_applied */
    uint64_t verified_index; /* the log matches that of this term's leader up to here */
    uint64_t election_deadline_us;
    uint64_t contact_us; /* when a leader was last heard */
    bool has_contact;
    uint64_t lost_us;              /* when it last lost a quorum as leader, or began */
    bool is_asleep;                /* no timer runs: sleep.c */
    uint64_t up[RAFT_MEMBERS_MAX]; /* members that the host hears, in no order */
    size_t up_count;
    uint8_t votes[RAFT_MEMBERS_MAX]; /* enum raft_vote, in the order of the members */
    struct raft_reads reads;

    /* Of a leader. peers: one a member, in their order; there is room for them from candidacy on.
     */
    struct raft_progress *peers;
    size_t peer_capacity;
    uint64_t term_start;      /* the index of its first entry */
    uint64_t round;           /* of heartbeats */
    uint64_t quorum_since_us; /* CheckQuorum counts from then at the earliest */
    uint64_t heartbeat_deadline_us;
    uint64_t active_us;    /* when there was something to do last */
    uint64_t sleepy_round; /* the first heartbeat since that said so; 0: none */
    uint64_t transfer_to, transfer_deadline_us; /* 0: none */
    bool is_transfer_told;
    bool is_lease_over; /* somebody was told to campaign: whenever that arrives, it is allowed to */

    /* Of the step: not part of the state. */
    struct raft_output *out;
    struct raft_record *record; /* this step's, once there is something to write */
    bool has_new_members;
};

/* ---- emit.c ---- */

/* Adds an action; its members are to be filled. */
struct raft_action *raft_emit(struct raft *raft, enum raft_action_type type);

/* The record of this step, with the present term and vote. */
struct raft_record *raft_record_open(struct raft *raft);

/* A message of the present term, to wait until term and vote are durable; lent for filling. */
struct raft_message *raft_send(struct raft *raft, enum raft_message_type type, uint64_t to);

/* Makes the last message wait for everything handed out so far. */
void raft_send_after_all(struct raft *raft);

/* The next random number. */
uint64_t raft_random(struct raft *raft);

/* ---- raft.c ---- */

/* True while a write has shown no progress for an election timeout. */
bool raft_is_stalled(const struct raft *raft);

/* ---- refuse.c ---- */

/* The errors of raft_step but PERI_ENOMEM; *next is what a RAFT_CHANGE leads to. */
int raft_check_event(const struct raft *raft, const struct raft_event *event,
                     struct raft_configuration *next);

/* True for what only the leader of its term sends. */
bool raft_is_from_leader(enum raft_message_type type);

/* ---- election.c ---- */

/* Changes term (and forgets the vote) when it is newer, and follows leader, which may be 0. */
void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader);

/* Draws the next election deadline. */
void raft_election_arm(struct raft *raft);

/* Changes the priority; the wait for a leader begins anew. */
void raft_set_priority(struct raft *raft, uint32_t priority);

/* Asks for pre-votes, or with is_transfer for votes at once. */
void raft_campaign(struct raft *raft, bool is_transfer);

/* True when this replica votes in the configuration in force, or in one before it that may still be
 * the group's: a removed replica can be needed until its removal is committed (Thesis 4.2.2). */
bool raft_is_electable(const struct raft *raft);

/* True when this replica may campaign: it is electable, or is_needed by those who vote, its disk
 * works and has lost nothing that is still missing, it installs no snapshot. */
bool raft_may_campaign(const struct raft *raft, bool is_needed);

/* True while a leader is so recent that no other may be elected (Thesis 4.2.3, 6.4.1). */
bool raft_is_in_lease(const struct raft *raft);

/* The handlers of messages; term rules are done before. */
void raft_on_vote_request(struct raft *raft, const struct raft_message *message);
void raft_on_vote_reply(struct raft *raft, const struct raft_message *message);

/* Counts the vote for itself, now that it is durable. */
void raft_election_on_durable(struct raft *raft);

/* ---- replication.c ---- */

/* Appends an entry of this leader's; conf for RAFT_CONFIGURATION only. */
void raft_append_own(struct raft *raft, enum raft_entry_type type, uint32_t size_bytes,
                     const struct raft_configuration *configuration);

/* Moves commit_index up to index, never back. */
void raft_commit_to(struct raft *raft, uint64_t index);

/* Sends a heartbeat to every member. */
void raft_heartbeat(struct raft *raft);

/* The time that a quorum has answered messages of, at the earliest when it last changed. */
uint64_t raft_quorum_contact_us(const struct raft *raft);

/* The same, but at the earliest when CheckQuorum began to count. */
uint64_t raft_quorum_seen_us(const struct raft *raft);

/* True when a leader's message denies what cannot be otherwise: a committed entry (Raft 5.4.3), or
 * what the leader of this term said itself (it never overwrites its log, Raft 5.3). */
bool raft_is_contradiction(const struct raft *raft, const struct raft_message *message,
                           uint64_t index, uint64_t term);

/* Checks a message's entries against the log. Errors: PERI_EPROTOCOL. */
int raft_check_append(const struct raft *raft, const struct raft_event *event);

/* The handlers of messages from and to a leader. */
void raft_on_append(struct raft *raft, const struct raft_event *event);
void raft_on_append_reply(struct raft *raft, size_t at, const struct raft_message *message);
void raft_on_heartbeat(struct raft *raft, const struct raft_message *message);
void raft_on_heartbeat_reply(struct raft *raft, size_t at, const struct raft_message *message);

/* A peer's disk has lost what was behind last. */
void raft_on_peer_lost(struct raft *raft, size_t at, const struct raft_event *event);

/* Entries for a peer have been read. */
void raft_on_fetched(struct raft *raft, size_t at, const struct raft_event *event);

/* Advances the commit index from what is durable where (Raft 5.3, 5.4.2). */
void raft_settle_commit(struct raft *raft);

/* Sends what each peer can take. */
void raft_settle_sends(struct raft *raft);

/* Hands out the next window to apply. */
void raft_settle_apply(struct raft *raft);

/* ---- membership.c ---- */

/* Gives up leadership in favour of whoever is furthest, because of the disk or a removal. */
void raft_abdicate(struct raft *raft);

/* Errors: PERI_EINVAL for options that a replica cannot live with. */
int raft_check_options(const struct raft_options *options, struct peri_error *err);

/* Makes room for count more configurations. Errors: PERI_ENOMEM. */
int raft_history_reserve(struct raft *raft, size_t count);

/* Makes room for the progress of count members. Errors: PERI_ENOMEM. */
int raft_peers_reserve(struct raft *raft, size_t count);

/* Returns the memory of peers: only who leads, or is about to, needs it. */
void raft_peers_release(struct raft *raft);

/* A configuration is in force from its entry on; it ceases when the entry is truncated; those
 * below base are forgotten but for the one in force there. */
void raft_history_push(struct raft *raft, uint64_t index,
                       const struct raft_configuration *configuration);
void raft_history_truncate(struct raft *raft, uint64_t first);
void raft_history_compact(struct raft *raft, uint64_t base_index);

/* The configuration in force. */
static inline const struct raft_configuration *raft_active(const struct raft *raft)
{
    return &raft->history[raft->history_count - 1].configuration;
}

/* Checks, and proposes, a change. Errors as of raft_step. */
int raft_check_change(const struct raft *raft, const struct raft_event *event,
                      struct raft_configuration *next);

/* Leaves a joint configuration, promotes learners, retires a leader that was removed. */
void raft_settle_members(struct raft *raft);

/* A transfer's conditions; the transfer; its next step. */
int raft_check_transfer(const struct raft *raft, uint64_t to);
void raft_transfer(struct raft *raft, uint64_t to);
void raft_settle_transfer(struct raft *raft);

/* ---- sleep.c ---- */

/* Wakes a replica that sleeps, if this event does. */
void raft_wake(struct raft *raft, const struct raft_event *event);

/* True when this leader's next heartbeat, of the present round, says that the group is at rest. */
bool raft_is_sleepy(struct raft *raft);

/* Falls asleep on a heartbeat that says so, if this replica is at rest, too. */
bool raft_falls_asleep(struct raft *raft, const struct raft_message *heartbeat);

/* Sends the leader of a group to sleep whose members sleep. */
void raft_settle_sleep(struct raft *raft);

/* What the host sees of a peer. Errors: PERI_EINVAL for one that is no member. */
int raft_check_peer(const struct raft *raft, uint64_t id);
void raft_on_peer(struct raft *raft, uint64_t id, bool is_up);
bool raft_is_up(const struct raft *raft, uint64_t id);

/* Forgets what was seen of peers that are members no more. */
void raft_forget_strangers(struct raft *raft);

/* ---- read.c ---- */

/* Numbers a read; the round trip begins when the step settles. */
void raft_read(struct raft *raft);

/* A follower's reads: asks the leader; and again when the question or its answer may be lost. */
void raft_reads_forward(struct raft *raft);
void raft_reads_retry(struct raft *raft);

/* Drops the reads that are not confirmed. */
void raft_reads_drop(struct raft *raft);

/* The handlers of messages. */
void raft_on_read_index(struct raft *raft, size_t at, const struct raft_message *message);
void raft_on_read_index_reply(struct raft *raft, const struct raft_message *message);

/* Moves a leader's reads through their rounds; delivers those whose state is there. */
void raft_settle_rounds(struct raft *raft);
void raft_settle_reads(struct raft *raft);

/* ---- snapshot.c ---- */

/* Offers the newest snapshot to a peer. */
void raft_snapshot_offer(struct raft *raft, size_t at);

/* Checks a staged snapshot. Errors: PERI_EPROTOCOL. */
int raft_check_install(const struct raft *raft, const struct raft_event *event);

/* Installs one. */
void raft_on_install(struct raft *raft, const struct raft_event *event);

/* A snapshot was delivered to a peer, or was not. */
void raft_on_snapshot_sent(struct raft *raft, size_t at, bool success);

/* Checks, and cuts, what the host has cut. Errors: PERI_EINVAL. */
int raft_check_compacted(const struct raft *raft, const struct raft_event *event);
void raft_compacted(struct raft *raft, const struct raft_event *event);

#endif
