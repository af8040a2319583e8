/* node.h - many Raft groups on one node.
 *
 * The node hosts the pure core (raft/raft.h): what a replica decides is written, then what waited
 * for the record is sent, then what is committed is applied. All groups share one log (store), one
 * connection and one envelope to each other node (message.h), and one timer. A node has one replica
 * of a group at most, and its id is the node's; a node that lost its disk comes back under another.
 *
 *   request -> queue -> raft_step -> write + send -> committed -> machine -> on_done
 *
 * Everything happens on the loop of the node's env. Callbacks never run from inside the call that
 * asked for them. Times are microseconds on env_now_us's clock. */
#ifndef PERI_NODE_NODE_H
#define PERI_NODE_NODE_H

#include "env/env.h"
#include "node/machine.h"
#include "raft/raft.h"
#include "rpc/handshake.h"
#include "store/log.h"

struct node;
struct node_group;

enum { NODE_ADDRESS_MAX = 255, NODE_COMMAND_MAX = 8 << 20 };

/* ---- nodes ---- */

enum node_event_type {
    NODE_ROLE,               /* role, term, peer: the leader or 0 */
    NODE_MEMBERS,            /* index: of the configuration that is in force now */
    NODE_SNAPSHOT_TAKEN,     /* index */
    NODE_SNAPSHOT_INSTALLED, /* index */
    NODE_REPAIRED,           /* term, index: what its disk had lost is here again */
    NODE_DIVERGED,           /* index, peer: the machine of that replica, which may be this one, has
                                another state than a majority behind that entry, or than this one
                                when there is no majority (compare.h) */
    NODE_REBUILT,            /* index: this replica has a state of the others, as of that entry */
    NODE_FENCED,             /* status: why the disk failed; this node does nothing any more */
};

/* What observers hear of; lent for the call. */
struct node_event {
    enum node_event_type type;
    uint64_t group, term, index, peer;
    enum raft_role role;
    int status;
};

struct node_options {
    uint64_t id;               /* of this node in all its groups; not 0 */
    const char *path;          /* the directory of its data; made when it is not there */
    const char *listen;        /* address for other nodes */
    struct rpc_identity self;  /* cluster, secret and limits; what it points to is lent */
    struct raft_options raft;  /* of every group, but for id and seed */
    uint64_t requests_max;     /* open ones of a group; then PERI_EBUSY */
    uint64_t snapshot_entries; /* applied since the last snapshot when one is taken; 0: never */
    uint64_t trailing_entries; /* kept before a snapshot for followers that are a little behind */
    uint64_t snapshot_max_bytes;
    uint64_t recorder_bytes;       /* of the flight recorder of a group; 0: none */
    uint64_t log_generation_bytes; /* after so much the log begins a new generation; 0: the store's
                                      own measure (store/log.h) */
    void (*on_event)(void *data, const struct node_event *event); /* or NULL */
    void *data;
};

/* Reasonable options, for a node of that id. */
void node_options_init(struct node_options *options, uint64_t id);

/* Opens a node: listens, makes its directory, reads its log. on_open(data, status, err) says once
 * how that ended; until then no group can be opened. options is copied, the strings of self are
 * lent. On success the caller owns *out; after on_open with a failure it still closes it. Errors,
 * with nothing made on the disk: PERI_EINVAL for options that cannot be, env_listener_open's,
 * PERI_ENOMEM. */
int node_open(struct node **out, struct env *env, const struct node_options *options,
              void (*on_open)(void *data, int status, const struct peri_error *err), void *data,
              struct peri_error *err);

/* Ends all groups and their requests (PERI_ECLOSED), hangs up, closes the log. Machines are not
 * used any more after the call. on_closed(data), unless NULL, runs when the disk is at rest, so
 * that the directory can be opened again; perhaps before the call returns. Not from inside of a
 * callback of the node. Accepts NULL, and then calls nobody. */
void node_close(struct node *node, void (*on_closed)(void *data), void *data);

/* Where it listens; lent until the close. */
const char *node_address(const struct node *node);

struct rpc_handler;
struct rpc_server;

/* Has the node answer one more function to other nodes, which knows whom it asks: data is the
 * handler's, and lent until the close. Errors: -EEXIST for a name that is served already,
 * PERI_ENOMEM; PERI_EINVAL before the node is open. */
int node_serve(struct node *node, const char *name, const struct rpc_handler *handler,
               struct peri_error *err);

/* What the node listens with, for functions that belong to no group and end with the node; lent
 * until the close. NULL before the node is open. */
struct rpc_server *node_server(const struct node *node);

/* Who this node is to others; lent until the close. */
const struct rpc_identity *node_identity(const struct node *node);

/* Its environment, and its number. */
struct env *node_env(const struct node *node);
uint64_t node_id(const struct node *node);

struct node_stats {
    uint64_t groups;
    uint64_t steps;            /* of all cores */
    uint64_t envelopes_sent;   /* to other nodes */
    uint64_t envelopes_lost;   /* that could not be sent */
    uint64_t messages_sent;    /* in them */
    uint64_t messages_heard;   /* that came */
    uint64_t messages_refused; /* of unknown groups, impossible, or malformed */
    uint64_t bytes_sent;
    uint64_t entries_applied;
    uint64_t snapshots_taken, snapshots_installed, snapshots_sent;
};
void node_stats(const struct node *node, struct node_stats *out);

/* ---- groups ---- */

struct node_member {
    uint64_t id;
    const char *address;
};

struct node_group_options {
    uint64_t id;                       /* the same on all nodes; not 0 */
    const struct node_member *members; /* voters of a group that begins; a node that joins later
                                        * names those that are there, not itself */
    size_t member_count;
    struct node_machine *machine; /* lent until the close */
    void *data;
};

/* Opens this node's replica: as the disk has it, or new. on_open says once how that ended; requests
 * are refused before. The node owns *out. Errors: PERI_EINVAL, -EEXIST for a group that is open,
 * PERI_EFENCED, PERI_ENOMEM. */
int node_group_open(struct node *node, const struct node_group_options *options,
                    void (*on_open)(struct node_group *group, int status,
                                    const struct peri_error *err),
                    struct node_group **out, struct peri_error *err);

/* Ends the replica on this node as node_close does; its data stay. */
void node_group_close(struct node_group *group);

/* The data of the options. */
void *node_group_data(const struct node_group *group);

/* Finds a group that is open, or NULL. */
struct node_group *node_group_find(struct node *node, uint64_t id);

struct node_status {
    struct raft_status raft;
    uint64_t group;
    uint64_t applied_index; /* that the machine holds */
    uint64_t requests;      /* open ones */
    bool is_open;
    enum store_log_health health; /* not clean: it gives no votes until it is repaired */
    const char *why;              /* what its disk has lost; lent until the next callback */
    uint64_t diverged_index;      /* its machine's state differs from that of a majority since that
                                     entry, or before: it answers nothing until it is rebuilt; 0: it
                                     does not */
    struct raft_configuration members;
};
void node_group_status(const struct node_group *group, struct node_status *out);

/* Does this replica lead; *term is that in which it is. */
bool node_group_leads(const struct node_group *group, uint64_t *term);
/* The node that leads, as far as this one knows; 0: nobody. */
uint64_t node_group_leader(const struct node_group *group);

/* Another member, as this node knows it. */
struct node_member_status {
    struct raft_peer raft;
    uint64_t heard_us; /* when anything of its node last came, on env_now_us's clock; 0: never */
};

/* The other members, in the order of node_status.members. False for one that is not there, and for
 * this node. */
bool node_group_member(const struct node_group *group, size_t at, struct node_member_status *out);

/* For how long, in us, the group has had no quorum, as far as this replica knows; 0 while it has
 * one, and for a replica that is not open. */
uint64_t node_group_quorum_missing_us(const struct node_group *group);

/* True while this replica, whose disk may have forgotten what it promised, takes no part before
 * that voter has said in which term it is. */
bool node_group_waits_for(const struct node_group *group, uint64_t id);

/* What the group was opened with; lent until the close. */
struct node_machine *node_group_machine(const struct node_group *group);

/* How the hash of another voter's machine compared to that of this replica: the last index at which
 * they were the same (0: not compared yet), and the first at which they were not (0: none). False
 * when the machine has no hash, or the voter is not known. */
bool node_group_compared(const struct node_group *group, uint64_t id, uint64_t *equal_index,
                         uint64_t *differs_index);

/* Has hashes compared now, not within the next quarter of a second. */
void node_group_compare(struct node_group *group);

/* The address of a member, or NULL when none is known; lent until the next callback. */
const char *node_group_member_address(const struct node_group *group, uint64_t id);

/* Asks the leader, which this replica is, to hand over to a member, or with 0 to whoever is
 * furthest. Errors: PERI_ENOTLEADER, with the leader named; PERI_EINVAL; PERI_EBUSY. */
int node_group_transfer(struct node_group *group, uint64_t to, struct peri_error *err);

/* Changes how soon this replica campaigns, until it is closed: raft_options.priority. Errors:
 * PERI_EINVAL above RAFT_PRIORITY_MAX, PERI_ECLOSED, PERI_EFENCED. */
int node_group_set_priority(struct node_group *group, uint32_t priority, struct peri_error *err);

/* Takes a snapshot as soon as the machine is free; NODE_SNAPSHOT_TAKEN tells. Errors: PERI_EBUSY
 * when one is under way. */
int node_group_snapshot(struct node_group *group, struct peri_error *err);

/* Says what became of the entry that a request was given: NODE_OK when it was applied, NODE_NEVER
 * when another stands in its place, NODE_UNKNOWN while neither is known here. */
enum node_certainty node_group_certainty(const struct node_group *group, uint64_t index,
                                         uint64_t term);

/* Writes the flight recorder's contents, which node_recorder_replay understands. Errors:
 * PERI_ENOMEM; PERI_EINVAL when there is no recorder. */
int node_group_record(const struct node_group *group, struct peri_buffer *out);

#endif
