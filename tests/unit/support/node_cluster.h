/* node_cluster.h - nodes of runtime/node in a simulated world, each with one machine a group.
 *
 * The machine is a text to which every command adds itself: what happened, and in which order, can
 * be read off it. With keeps_keys it is that of keys_machine.h. */
#ifndef PERI_TESTS_NODE_CLUSTER_H
#define PERI_TESTS_NODE_CLUSTER_H

#include "env/fault.h"
#include "keys_machine.h"
#include "node/node.h"
#include "sim/net.h"
#include "sim/node.h"

enum {
    CLUSTER_MAX = 7,
    CLUSTER_GROUPS_MAX = 1200,
    CLUSTER_TERMS_MAX = 1000,
    CLUSTER_HASHES = 4096,
    CLUSTER_MS = 1000,
    CLUSTER_S = 1000000
};

struct cluster;
struct cluster_host;

/* A group on a node. */
struct cluster_machine {
    struct node_machine machine;
    struct keys_machine keys;
    struct peri_buffer text; /* "a;b;c;" */
    struct cluster_hash {
        uint64_t index, hash;
    } * hashes;          /* CLUSTER_HASHES of them, of texts, with cluster.has_hashes; else NULL */
    uint64_t corrupt_at; /* behind that entry the text gets a character more; 0: never */
    struct node_group *group;
    struct cluster_host *host;
    bool is_open;
    int open_status;
};

struct cluster_host {
    struct cluster *cluster;
    struct sim_node *sim;
    uint64_t id;
    char name[24];
    struct node *node;
    bool is_idle; /* its machine starts without the node */
    struct rpc_identity self;
    bool is_open;
    int open_status;
    char open_error[PERI_ERROR_TEXT_SIZE];
    struct cluster_machine machines[CLUSTER_GROUPS_MAX];
};

/* Members of each group: the first voters nodes; the others join with the same list. */
struct cluster {
    struct sim_world *world;
    size_t count, voters, groups;
    bool has_hashes;                            /* machines that are compared (node/compare.h) */
    bool keeps_keys;                            /* of machines of nodes that start from now on */
    struct node_machine *machine;               /* in place of those, of all nodes; or NULL */
    struct node_machine *machines[CLUSTER_MAX]; /* the same, of each node */
    struct node_options options; /* of all nodes, but for id, path, listen and self */
    const char *cluster_name;    /* of nodes that start from now on */
    bool may_fail;               /* nodes and groups need not open: see open_status */
    struct cluster_host hosts[CLUSTER_MAX];
    uint64_t events[NODE_FENCED + 1]; /* by type */
    uint64_t quarantined, diverged_at,
        diverged_peer; /* replicas that found themselves wrong; last */
    struct cluster_host *leaders[CLUSTER_TERMS_MAX]; /* of group 1, by term: one each */
    bool is_lied_to;                                 /* there may be several leaders of a term */
    bool is_void;      /* the simulator itself lacked memory: nothing that happened counts */
    int fenced_status; /* of the last one */
};

/* A world of nodes that run. The caller ends it with cluster_close. */
struct cluster *cluster_create(uint64_t seed, size_t voters, size_t total);

/* The same, before anything runs: options may be changed, then cluster_start_all. */
struct cluster *cluster_prepare(uint64_t seed, size_t voters, size_t total, size_t groups);
void cluster_start_all(struct cluster *cluster);
void cluster_close(struct cluster *cluster);

/* Lets so much time pass. */
void cluster_run(struct cluster *cluster, uint64_t us);

/* The node that leads group 1 in the newest term, once there is one among those that can reach a
 * majority; fails the test when there is none for 10 s. but: that one does not count; or NULL. */
struct cluster_host *cluster_leader(struct cluster *cluster, const struct cluster_host *but);

/* The same now; NULL when there is none. */
struct cluster_host *cluster_find_leader(struct cluster *cluster, const struct cluster_host *but);

/* A request under way. Lives as long as the cluster. */
struct cluster_request {
    struct node_request request;
    struct cluster_host *host;
    bool is_done;
    enum node_certainty certainty;
    int code;
    char result[4096];
    char error[PERI_ERROR_TEXT_SIZE];
    char body[64];
};

/* Starts to propose the text to group 1 on the host. */
void cluster_propose(struct cluster_host *host, struct cluster_request *request, const char *text,
                     uint64_t limit_us);
void cluster_read(struct cluster_host *host, struct cluster_request *request,
                  enum node_consistency consistency, uint64_t limit_us);
void cluster_change(struct cluster_host *host, struct cluster_request *request,
                    const struct node_member_change *change, uint64_t limit_us);

/* Runs until the request is done. */
void cluster_await(struct cluster *cluster, struct cluster_request *request);

/* Proposes at whoever leads, until it is acknowledged; fails the test after 20 s. */
void cluster_commit(struct cluster *cluster, const char *text);

/* Runs until all nodes that run hold the same text in group 1; fails the test after 20 s. Returns
 * it. */
const char *cluster_settle(struct cluster *cluster);

void cluster_kill(struct cluster_host *host);
void cluster_crash(struct cluster_host *host);
void cluster_restart(struct cluster_host *host);

/* Closes group 1 on a node that runs, and opens it again at once. */
void cluster_reopen(struct cluster_host *host);

/* Sets or triggers a fault of a node. */
void cluster_fault(struct cluster_host *host, enum env_fault fault, int64_t number);

#endif
