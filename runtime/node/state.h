/* state.h - the insides of a node and its groups, for this folder. */
#ifndef PERI_NODE_STATE_H
#define PERI_NODE_STATE_H

#include "node/message.h"
#include "node/node.h"
#include "node/recorder.h"
#include "node/snapshot_file.h"
#include "node/timers.h"
#include "rpc/client.h"
#include "rpc/server.h"

enum {
    NODE_HELD_MAX = 4096,          /* messages of a group that wait for its disk; more are lost */
    NODE_BUCKETS = 1024,           /* of groups by id */
    NODE_WHY_SIZE = 192,           /* of a sentence about a disk */
    NODE_ENVELOPE_MAX = 192 << 10, /* then another one; so that few travel in chunks */
};

struct node_disk;
struct node_rounds;
struct node_snapshots;
struct node_repair;
struct node_compare;

/* Another replica of a group, that repairs itself. */
struct node_ailing {
    uint64_t id, heard_us;
    enum store_log_health health;
};

/* Another node. */
struct node_peer {
    struct node *node;
    uint64_t id;
    char address[NODE_ADDRESS_MAX + 1];
    struct rpc_client *client; /* NULL until something is to be said */
    struct peri_buffer urgent; /* messages without entries: they go first */
    struct peri_buffer bulk;   /* AppendEntries, in their order */
    struct {
        size_t at; /* in bulk; 0: there is none */
        uint64_t group, term, index;
    } notice;       /* an AppendEntries without entries, the last message of bulk */
    uint64_t *lost; /* groups whose AppendEntries could not be sent */
    size_t lost_count, lost_capacity;
    bool is_losing;                          /* in this round */
    uint64_t introduced_us;                  /* this node, not again before then */
    bool is_on_other_disk, knows_other_disk; /* births.c; the second: of this node */
    bool is_up, has_said; /* liveness.c; something went to it in this heartbeat's time */
    uint64_t incarnation, heard_us, reconnected_us;
    struct peri_list link;
    struct peri_list dirty; /* has something to be sent */
};

struct node {
    struct env *env;
    struct node_options options;
    uint64_t cluster; /* hash of the cluster's name */
    char *path, *listen, *snapshots_path;
    struct rpc_server *server;
    struct node_disk *disk;
    struct node_rounds *rounds; /* NULL until a machine keeps keys */
    struct env_timer *timer;
    struct env_turn *turn;
    struct env_timer *liveness;    /* NULL: groups never sleep */
    uint64_t disk_birth, disk_age; /* births.c */
    struct peri_buffer births;     /* of the others' disks */
    bool has_new_births, is_keeping_births;
    bool is_aging,
        is_old_copy; /* the own disk: its next age is on its way; others know a later one */
    uint64_t age_due_us;
    uint64_t incarnation; /* another one after each start, and after a group was closed */
    bool is_turning;
    uint64_t armed_us;   /* when the timer rings; UINT64_MAX: never */
    uint64_t blocker_us; /* when to look again who keeps an old generation of the log */
    struct node_timers timers;
    struct peri_list buckets[NODE_BUCKETS];
    struct peri_list groups;
    struct peri_list peers, dirty_peers;
    struct peri_list dirty_groups; /* have queued requests, or something new to do */
    struct raft_output out;        /* of the step that runs */
    struct peri_buffer scratch;
    struct store_log_entry *entries; /* of the message that is taken; and as the core sees them */
    struct raft_entry *bare;
    size_t entry_capacity;
    struct raft_configuration *configurations;
    size_t configuration_capacity;
    struct node_stats stats;
    bool is_open, is_fenced, is_closing;
    int fenced_by; /* why */
    void (*on_open)(void *data, int status, const struct peri_error *err);
    void (*on_closed)(void *data); /* or NULL */
    void *open_data, *closed_data;
    size_t references; /* groups, background work that comes back, and whoever runs inside */
};

/* A message that waits for a record. */
struct node_held {
    struct raft_message message;
    uint64_t after_seq;
};

/* Entries that are committed and not applied yet. */
struct node_window {
    bool is_set;
    bool is_reading; /* an entry comes from the disk */
    uint64_t first, last, after_seq;
    uint64_t next; /* that the machine gets */
};

enum node_task_kind { NODE_TASK_NONE, NODE_TASK_APPLY, NODE_TASK_QUERY, NODE_TASK_RESTORE };

struct node_group {
    struct node *node;
    uint64_t id;
    struct node_machine *machine;
    void *data;
    struct raft *raft; /* NULL until the disk has said what was there */
    void (*on_open)(struct node_group *group, int status, const struct peri_error *err);
    bool is_open, is_closing, is_running;
    bool is_led;                      /* a leader is known */
    bool has_new_members;             /* the core hears which of them are up */
    bool is_failing;                  /* the disk failed: its core hears of that next */
    bool lost_entries, lost_snapshot; /* without memory: its core hears of that next */
    size_t references;                /* operations of disk and network under way */
    struct raft_configuration first_members;
    enum store_log_health health; /* not clean: its disk has lost something */
    bool has_forgotten;           /* perhaps also its last term and vote */
    bool has_begun;               /* the disk is not as it was found any more */
    bool is_reopened;             /* the node has had it open before */
    struct node_repair *repair;   /* repair.c; NULL of a clean one */
    struct node_ailing *ailing;   /* others of which repair.c has heard */
    size_t ailing_count;
    struct peri_list link, bucket, dirty;
    uint64_t due_us; /* of its timer */
    size_t timer_at;
    uint64_t leaderless_us; /* since when no leader is known here; of use while none is */

    uint64_t durable_seq;
    struct node_held *held;
    size_t held_count, held_capacity;
    uint64_t held_due_seq; /* the first of those that they wait for */
    struct node_window window;

    struct node_task task;
    enum node_task_kind task_kind;
    bool is_task_done;
    int task_status;
    struct peri_buffer command;        /* that the machine applies */
    struct node_request *task_request; /* whose query it answers; NULL: nobody's any more */
    uint64_t applied_index, applied_term;

    struct peri_list queue;   /* requests that have not been stepped */
    struct peri_list waiting; /* for a leader */
    struct peri_list pending; /* placed in the log, by index */
    struct peri_list reads;   /* that wait for the core, by number */
    struct peri_list ready;   /* queries that the machine may answer */
    size_t request_count;
    uint64_t requests_due_us;
    uint64_t hand_over_us; /* when a leader that lacks room may ask another one next */

    struct node_snapshots *snapshots;
    struct node_keys *keys;       /* of a machine that keeps them; else NULL */
    struct node_compare *compare; /* of one that has a hash; else NULL */
    struct node_recorder recorder;
};

/* What belongs to an event beyond what the core sees. */
struct node_step {
    struct raft_event event;
    const struct store_log_entry *entries; /* the first is entry first */
    uint64_t first;                        /* 0: that of the core's answer */
    struct peri_slice members;             /* of a snapshot, with addresses */
    struct peri_list *placed;              /* requests that the answer is for */
};

#endif
