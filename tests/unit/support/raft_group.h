/* raft_group.h - a host for the Raft core in memory: disks, a bag of packets, state machines, and
 * oracles that look after every step.
 *
 * The host keeps every promise of raft.h and no more: records reach the disk when the test says so
 * and in their order; messages and windows wait for theirs; a crash forgets what is not on disk.
 * When something breaks, group->err says what, and nothing moves any more. */
#ifndef PERI_TEST_RAFT_GROUP_H
#define PERI_TEST_RAFT_GROUP_H

#include "raft/invariants.h"
#include "raft/raft.h"

enum { GROUP_MAX = 7, GROUP_ENTRIES_MAX = 256 /* in a packet */ };

struct group_entry {
    uint64_t term, payload;
    uint32_t size_bytes;
    enum raft_entry_type type;
    struct raft_configuration members;
};

/* entries[i] stands at base + 1 + i. */
struct group_log {
    uint64_t base, base_term;
    struct group_entry *entries;
    size_t count, capacity;
};

struct group_snapshot {
    uint64_t index, term, state;
    struct raft_configuration members;
};

/* A record on its way to the disk, with what it writes. */
struct group_write {
    struct raft_record record;
    struct group_snapshot snapshot;
    struct group_log entries; /* base: the entry before the first */
};

struct group_disk {
    uint64_t term, vote;
    struct group_log log;
    struct group_snapshot snapshot;
    struct raft_configuration base_members; /* as of log.base */
};

/* A message on its way, with its payload. */
struct group_packet {
    struct raft_message message;
    struct group_entry *entries;
    size_t count;
    struct group_snapshot snapshot;
    uint64_t at_us, order; /* for whoever delivers */
};

struct group_held {
    struct raft_action action;
    struct group_packet packet; /* of a message */
};

struct group_read {
    uint64_t number, least; /* the index that it must see */
};

enum { GROUP_READS_MAX = 256 };

/* What a disk has lost: nothing; perhaps its newest record, when power failed; anything. */
enum group_health { GROUP_WHOLE, GROUP_SUSPECT, GROUP_DAMAGED };

/* A disk before its newest record, when that only appended. */
struct group_undo {
    bool is_possible;
    uint64_t term, vote, last;
};

/* What another replica said of itself. */
struct group_answer {
    bool is_there, is_leader;
    enum group_health health;
    uint64_t term, last_index, last_term, commit_index;
    struct raft_configuration members;
};

/* A replica that becomes whole again: runtime/node/repair.c. */
struct group_repair {
    bool is_hearing, is_trusted;
    uint64_t floor_term, barrier_term, barrier_index;
    bool is_asked[GROUP_MAX];                           /* [id - 1]: a voter, as far as is known */
    bool is_met[GROUP_MAX];                             /* said that it leads */
    uint64_t led_term[GROUP_MAX], led_index[GROUP_MAX]; /* leaders' terms, and first answers */
    struct raft_configuration led_members;              /* as the leader of that term said */
    uint64_t led_members_term;
    struct group_answer on_their_way[GROUP_MAX], answers[GROUP_MAX]; /* [id - 1] */
};

struct group_replica {
    uint64_t id;
    struct raft *raft; /* NULL: down */
    enum group_health health;
    uint64_t lost_last; /* where its log ended before it lost what it is still missing */
    struct group_undo undo;
    struct group_repair repair;
    uint64_t floor_index, floor_term; /* of its votes */
    bool has_failed;                  /* its disk: nothing is written any more */
    uint64_t starts;
    struct group_disk disk;
    struct group_log log; /* as the core believes it to be */
    struct group_write *writes;
    size_t write_count, write_capacity;
    struct group_held *held; /* waits for a record */
    size_t held_count, held_capacity;
    uint64_t applied, state; /* the state machine: a chain of hashes */
    uint64_t apply_last;     /* end of the window to apply; 0: none */
    struct group_read reads[GROUP_READS_MAX];
    size_t read_count;
    uint64_t fetch_first[GROUP_MAX]; /* [id - 1]: an open RAFT_FETCH for that peer; 0: none */
    uint64_t fetch_bytes;
    int64_t skew_ppm; /* its clock runs so much faster */
};

struct group {
    struct raft_options options;
    struct raft_configuration first;
    uint64_t seed, now_us, packet_order;
    struct group_replica replicas[GROUP_MAX]; /* [i] has id i + 1 */
    size_t count;
    struct group_packet *packets;
    size_t packet_count, packet_capacity;
    struct raft_watch *watch;
    uint64_t *states; /* [i]: state after entry i; 0: not applied yet */
    size_t states_count;
    uint64_t applied_max, reads_done, elections, snapshots, changes, repairs;
    bool checks_dumps; /* after every step, load(dump) is the same */
    struct raft_output out;
    struct peri_error err; /* code 0: all is well */
    /* Looks at what a step gave; may be NULL. */
    void (*on_action)(struct group *group, struct group_replica *replica,
                      const struct raft_action *action);
    void *data;
};

/* Appends a copy of entry: for logs that a test wants to begin with. */
void group_log_add(struct group_log *log, const struct group_entry *entry);

/* A group of total replicas, down, of which the first voters are its voters. */
struct group *group_create(size_t voters, size_t total, uint64_t seed,
                           const struct raft_options *options);
void group_close(struct group *group);

struct group_replica *group_replica(struct group *group, uint64_t id);

/* The time that a replica's clock shows, and the time when it will show clock_us. */
uint64_t group_clock_us(const struct group *group, const struct group_replica *replica);
uint64_t group_when_us(const struct group *group, const struct group_replica *replica,
                       uint64_t clock_us);

/* Starts a replica from its disk; stops it, after survivors of its pending writes have become
 * durable without its knowing. */
void group_start(struct group *group, uint64_t id);
void group_crash(struct group *group, uint64_t id, size_t survivors);

/* Feeds an event, whose now_us is filled in, and carries out the actions. Returns raft_step's. */
int group_step(struct group *group, uint64_t id, struct raft_event *event);

int group_propose(struct group *group, uint64_t id, uint64_t payload, uint32_t size_bytes);
int group_read(struct group *group, uint64_t id);

/* The oldest count records become durable. */
void group_persist(struct group *group, uint64_t id, size_t count);

/* Applies the window that is open, if any. */
void group_apply(struct group *group, uint64_t id);

/* Answers the open RAFT_FETCHes. */
void group_fetch(struct group *group, uint64_t id);
bool group_has_fetch(const struct group_replica *replica);

/* Takes a snapshot of what is applied, and cuts the log but for so many trailing entries. */
void group_snapshot(struct group *group, uint64_t id, uint64_t trailing);

/* A replica crashes, and its disk loses its last entries, but not those of its snapshot, and with
 * loses_vote the vote, and all terms newer than its last entry. */
void group_damage(struct group *group, uint64_t id, uint64_t entries, bool loses_vote);

/* Power fails: all crash, nothing is on its way any more, and replicas whose bit (id - 1) is set in
 * losers lose their newest record; but what was committed, and the newest term, stay on the disk of
 * some voter. */
void group_power_cut(struct group *group, unsigned losers);

/* Replicas whose health is at best that bad. */
size_t group_ailing(const struct group *group, enum group_health least);

/* True when those who are whole and not among these (bit id - 1) can elect a leader, in every
 * configuration that may be in force, and in next, which may be NULL. */
bool group_can_spare(struct group *group, unsigned without, const struct raft_configuration *next);

/* A replica that has lost something asks another, which answers; hears the answer. */
void group_repair_ask(struct group *group, uint64_t id, uint64_t peer);
void group_repair_hear(struct group *group, uint64_t id, uint64_t peer);

/* Delivers packets[at], leaving it there when keep; or loses it. */
void group_deliver(struct group *group, size_t at, bool keep);
void group_drop(struct group *group, size_t at);

#endif
