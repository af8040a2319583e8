/* raft.h - one replica of one group, as a function of (state, event).
 *
 * The host feeds events and carries out the actions that come back:
 *
 *      host: message, timer, proposal, "record 7 is on disk", ...
 *        |  struct raft_event                      struct raft_output  |
 *        +-------------->  raft_step(raft, event, out)  -------------->+
 *                                     host: write record 8, send, apply 12..15, ...
 *
 * Durability. RAFT_PERSIST hands out records, numbered without gaps, that the host makes durable
 * strictly in that order, each of them wholly or not at all (term, vote, truncation and new entries
 * together: what is written later must never survive what was promised earlier). A message and a
 * window to apply carry after_seq: they wait until that record is durable. A leader's entries
 * travel while its own disk still writes (Thesis 10.2.1), but it counts itself only from
 * RAFT_PERSISTED.
 *
 * Time. Every event carries the host's monotonic clock; RAFT_TIME at raft_deadline_us() drives the
 * rest. Random numbers come from options.seed. The same events give the same states and actions.
 *
 * Refusals. raft_step checks first: when it returns an error nothing has changed, whatever a peer
 * sent. Pre-votes and leaders that step down without a quorum (Thesis 9.6, 6.2) are not optional.
 *
 * Outcomes. A proposal succeeded when its (index, term) is applied, and never will when another
 * term is applied at its index. Until then it is open: a log that truncates it says nothing about
 * other logs. The core therefore reports no lost proposals; the host compares when it applies. */
#ifndef PERI_RAFT_RAFT_H
#define PERI_RAFT_RAFT_H

#include "raft/configuration.h"
#include "raft/log.h"

struct raft; /* opaque: raft/state.h */

/* Who waits less for a leader leads more often: with each step below RAFT_PRIORITY_MAX an election
 * timeout is longer by max - min, so that replicas of a higher priority are through with theirs
 * before. Logs decide first, as ever. With 0 a replica votes, and never leads. */
enum { RAFT_PRIORITY_MAX = 4 };

struct raft_options {
    uint64_t id;   /* of this replica; not 0 */
    uint64_t seed; /* differs between replicas, and between starts of one */
    uint64_t election_min_us, election_max_us; /* timeouts are drawn from [min, max) */
    uint64_t heartbeat_us;
    uint32_t priority;              /* RAFT_PRIORITY */
    uint64_t lease_margin_us;       /* what clocks may differ by within an election_min_us */
    uint64_t message_max_bytes;     /* entries in an AppendEntries; one entry always goes */
    uint64_t inflight_max_bytes;    /* sent to a peer and not acknowledged */
    uint64_t uncommitted_max_bytes; /* a leader's proposals above this are refused */
    uint64_t unapplied_max_bytes;   /* in a window to apply */
    uint32_t
        catchup_rounds_max; /* that a new member may take before it becomes a voter, at least 1 */
    uint32_t sizes_max;     /* recent entries whose sizes are remembered; at least 16 */
    uint64_t
        sleep_after_us; /* a group that rested so long falls asleep; 0: never. The host must say */
                        /* which peers are up: RAFT_PEER_UP */
    bool has_leases;    /* reads need no round while a lease lasts; the same on all replicas */
};

/* Reasonable options for a group whose replicas are on one host or nearby. */
void raft_options_init(struct raft_options *options, uint64_t id, uint64_t seed);

enum raft_entry_type { RAFT_COMMAND, RAFT_NOOP, RAFT_CONFIGURATION };

/* An entry without its payload, which is the host's and named by (index, term). */
struct raft_entry {
    uint64_t term;
    uint32_t size_bytes;
    enum raft_entry_type type;
    const struct raft_configuration *configuration; /* of a RAFT_CONFIGURATION; borrowed */
};

/* A configuration and the entry that it stands in. */
struct raft_history {
    uint64_t index;
    struct raft_configuration configuration;
};

/* What was found on disk; all zero but for the configuration for a replica that begins. */
struct raft_boot {
    uint64_t now_us;
    uint64_t term, vote;
    uint64_t base_index, base_term;         /* the log begins after this entry */
    uint64_t snapshot_index, snapshot_term; /* newest snapshot, at least base; 0 for none */
    uint64_t last_index;
    const struct raft_run *runs; /* terms of (base_index, last_index]; borrowed */
    size_t run_count;
    const struct raft_history *configurations; /* [0]: as of base_index; then those in the log */
    size_t configuration_count;
    uint64_t last_applied; /* that the state machine on disk holds, at least snapshot_index */
    bool is_impaired;      /* the disk has lost what was durable: no votes before RAFT_TRUST */
};

enum raft_message_type {
    RAFT_PRE_VOTE,             /* term (the one it would campaign in), index, log_term */
    RAFT_PRE_VOTE_REPLY,       /* success */
    RAFT_REQUEST_VOTE,         /* index, log_term: the candidate's last entry; is_transfer */
    RAFT_REQUEST_VOTE_REPLY,   /* success */
    RAFT_APPEND_ENTRIES,       /* index, log_term: before the entries (index, last]; commit */
    RAFT_APPEND_ENTRIES_REPLY, /* success: holds all up to index; else index was not there, */
                               /* and last, log_term is where the logs may agree */
    RAFT_HEARTBEAT,            /* commit */
    RAFT_HEARTBEAT_REPLY,      /* not success: does not know whether it holds commit */
    RAFT_INSTALL_SNAPSHOT,     /* index, log_term: last entry included; RAFT_APPEND_ENTRIES_REPLY */
    RAFT_TIMEOUT_NOW,          /* campaign at once (Thesis 3.10) */
    RAFT_READ_INDEX,           /* round: number of the last read that waits */
    RAFT_READ_INDEX_REPLY      /* round, index: those reads may be served from there on */
};

/* A message, of fixed size. The host adds the payloads of the entries, or the snapshot. Round and
 * sent_us go from leader to follower and come back: they tell which of its questions, and of what
 * time, an answer belongs to. */
struct raft_message {
    enum raft_message_type type;
    bool success, is_transfer;
    bool is_sleepy; /* of a heartbeat: the group is at rest; of its reply: so am I, asleep */
    uint64_t from, to, term;
    uint64_t index, log_term, last, commit;
    uint64_t round, sent_us;
};

enum raft_event_type {
    RAFT_TIME,      /* nothing but now_us: due at raft_deadline_us(), harmless at any time */
    RAFT_MESSAGE,   /* message; entries, count of AppendEntries; configuration of a snapshot, */
                    /* which the host has staged completely and durably */
    RAFT_PROPOSE,   /* entries, count: commands; out->index is the first one's place */
    RAFT_CHANGE,    /* changes, count: of members; out->index */
    RAFT_READ,      /* out->read is its number */
    RAFT_PERSISTED, /* seq, index (the record's last), term: it and all before are durable */
    RAFT_PERSIST_FAILED, /* a write or fsync failed: this replica must never be trusted again */
    RAFT_APPLIED,        /* index: the state machine has come so far */
    RAFT_FETCHED,        /* peer, index (first), last, size_bytes of them; last 0: not to be had */
    RAFT_COMPACTED,      /* index: the log was cut up to here; last: index of the newest snapshot */
    RAFT_SNAPSHOT_SENT,  /* peer, success */
    RAFT_UNREACHABLE,    /* peer: messages to it were lost */
    RAFT_TRANSFER,       /* peer, or 0: whoever is furthest; leadership shall go there */
    RAFT_FORGET_LEADER,  /* the host knows that the leader is gone: votes are given at once */
    RAFT_CAMPAIGN,       /* as if the election timeout had passed; success: although it votes no */
                         /* more, because those who do have lost what is in its log */
    RAFT_PRIORITY,       /* index: it is that from now on; a leader that gets 0 hands over */
    RAFT_TRUST,     /* index, term: an impaired replica votes again, but only for logs that reach */
                    /* at least to that entry, as its own has to before it campaigns; last: and */
                    /* only in later terms, for up to there it may have voted already; 0: all */
    RAFT_PEER_LOST, /* peer, last: what it acknowledged behind last is gone from its disk; index, */
                    /* term: it waits for an entry behind that one. A leader of that term whose */
                    /* log ends there appends an empty one; index 0: it does not wait */
    RAFT_PEER_UP,   /* peer: the host hears it. So far, and as a new member, it is down; the */
    RAFT_PEER_DOWN  /* host tells it of every member after raft_create and after */
                    /* RAFT_NEW_MEMBERS. What restarted, or runs no more, was down */
};

/* What happened. Pointers are borrowed for the call. */
struct raft_event {
    enum raft_event_type type;
    bool success;
    uint64_t now_us;
    const struct raft_message *message;
    const struct raft_entry *entries;
    const struct raft_configuration *configuration;
    const struct raft_change *changes;
    size_t count;
    uint64_t peer, seq, index, last, term, size_bytes;
};

/* One atomic write. In this order: install the snapshot (the log is then empty behind it, and a
 * window to apply that was handed out before is void), truncate, append. An entry that this replica
 * made itself is described; those of AppendEntries the host has. */
struct raft_record {
    uint64_t seq, term, vote;
    uint64_t snapshot_index, snapshot_term; /* 0: none */
    uint64_t truncate_from;                 /* 0: nothing */
    uint64_t first, last;                   /* 0: no entries */
    enum raft_entry_type type;              /* of entries made here */
    const struct raft_configuration
        *configuration; /* of a RAFT_CONFIGURATION made here, or of the */
                        /* snapshot; lent until the next step */
};

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

enum raft_action_type {
    RAFT_PERSIST,    /* record; at most one in a step, before everything that waits for it */
    RAFT_SEND,       /* message, after_seq */
    RAFT_FETCH,      /* peer, first, size_bytes: read that much of the log for RAFT_FETCHED */
    RAFT_APPLY,      /* first, last, after_seq; the next window comes after RAFT_APPLIED of last */
    RAFT_READ_READY, /* last, index: reads up to last that were not dropped; the state is there */
    RAFT_READ_DROPPED, /* first, last */
    RAFT_ROLE,         /* role, term, peer (the leader, or 0) changed */
    RAFT_NEW_MEMBERS,  /* configuration, index: in force now */
};

struct raft_action {
    enum raft_action_type type;
    union {
        struct raft_record record;
        struct raft_message message;
        struct {
            uint64_t peer, first, last, index, size_bytes, term;
            enum raft_role role;
            const struct raft_configuration *configuration; /* lent until the next step */
        };
    };
    uint64_t after_seq;
};

enum { RAFT_SENDS_MAX = 4 /* AppendEntries to a peer in a step */ };
enum { RAFT_ACTIONS_MAX = RAFT_MEMBERS_MAX * (RAFT_SENDS_MAX + 6) + 16 };

/* The actions of a step, to be carried out in their order. The caller lends it, uninitialized. */
struct raft_output {
    size_t count;
    uint64_t index, read; /* see RAFT_PROPOSE, RAFT_CHANGE, RAFT_READ */
    struct raft_action actions[RAFT_ACTIONS_MAX];
};

struct raft_status {
    enum raft_role role;
    bool is_fenced, is_asleep, is_impaired;
    uint64_t id, term, vote, leader;
    uint64_t base_index, last_index, commit_index, last_applied;
    uint64_t snapshot_index, seq, durable_seq;
    uint64_t transfer_to;
    uint32_t priority;
    uint64_t configuration_index;
    /* When the group was last known to have a quorum: of a leader, when what a quorum has answered
     * was sent; else when a leader was last heard, or led here, or this replica began. The quorum
     * is missing when that is older than election_max_us and the group does not sleep. */
    uint64_t quorum_us;
};

enum raft_progress_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT }; /* raft/progress.h */

/* A member, as this replica knows it. */
struct raft_peer {
    uint64_t id;
    bool is_learner;
    bool is_up; /* the host hears it: RAFT_PEER_UP */
    /* A leader: it answered within an election_max_us. A candidate: in this campaign. Others: it is
     * the leader. */
    bool has_answered;
    /* What a leader knows of it; else 0. */
    enum raft_progress_state state;
    uint64_t match_index, next_index;        /* it holds all up to match; the next to be sent */
    uint64_t inflight_count, inflight_bytes; /* AppendEntries without an answer */
    uint64_t snapshot_index;                 /* that it is being sent */
    uint64_t answered_us; /* when what it answered last was sent; 0: nothing since the election */
};

/* Creates a replica as it was found on disk; copies what boot points to. On success the caller owns
 * *out; on error it is untouched. Errors: PERI_EINVAL for options or a disk that cannot be, with
 * the reason in err; PERI_ENOMEM. */
int raft_create(struct raft **out, const struct raft_options *options, const struct raft_boot *boot,
                struct peri_error *err);
void raft_close(struct raft *raft);

/* Steps. Errors, each of which leaves raft as it was: PERI_EINVAL for an event that cannot be (a
 * completion out of order, a message for another, an unknown peer), PERI_EPROTOCOL for a message
 * that no correct peer sends, PERI_ENOTLEADER (proposals and changes; reads without a known
 * leader), PERI_EBUSY when a quota, a transfer or another change stands in the way, PERI_EFENCED
 * after RAFT_PERSIST_FAILED, PERI_ENOMEM. On error out->count is 0. */
int raft_step(struct raft *raft, const struct raft_event *event, struct raft_output *out);

/* When RAFT_TIME is due; UINT64_MAX when nothing is awaited, as in a group that sleeps. */
uint64_t raft_deadline_us(const struct raft *raft);

/* The state of affairs. */
void raft_status(const struct raft *raft, struct raft_status *status);

/* The other members: the at-th of the configuration in force, from 0. False when there is none, and
 * for this replica itself, of which raft_status tells. */
bool raft_peer(const struct raft *raft, size_t at, struct raft_peer *out);

/* The replica as its disk will hold it when all records are durable, to create it again: snapshot
 * and last_applied are those of the base. What *out points to is lent until the next step. */
void raft_describe(const struct raft *raft, struct raft_boot *out);

/* The memory that a replica takes, in bytes. */
size_t raft_size_bytes(const struct raft *raft);

/* The term of an entry of the log; 0 when it is not there, or cut off. */
uint64_t raft_term_at(const struct raft *raft, uint64_t index);

/* The configuration in force; lent until the next step. */
const struct raft_configuration *raft_members(const struct raft *raft);

/* The configuration as of index, for a snapshot; NULL below the log. Lent until the next step. */
const struct raft_configuration *raft_members_at(const struct raft *raft, uint64_t index);

/* True while the entries that an AppendEntries of this replica names are those in its log: a host
 * that attaches payloads late asks before it does. */
bool raft_may_send(const struct raft *raft, const struct raft_message *message);

/* A hash of all state, the same on every machine after the same events. */
uint64_t raft_hash(const struct raft *raft);

/* Writes the state to data when size suffices; returns the bytes that it takes. */
size_t raft_dump(const struct raft *raft, void *data, size_t size);

/* Creates a replica from a dump, equal to the dumped one. Errors: PERI_EFORMAT when it is none, or
 * breaks an invariant; PERI_ENOMEM. *out is then untouched. */
int raft_load(struct raft **out, const void *data, size_t size, struct peri_error *err);

#endif
