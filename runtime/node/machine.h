/* machine.h - replicated state machines, and what is asked of them: tasks and requests.
 *
 * A machine does one task at a time, in the order of the log (but for snapshots_beside), and ends
 * each with node_task_done: at once or later. What it does to its state may depend on nothing but
 * the commands before.
 *
 * A request is a command, a change of members or a query. A command ends as
 *   NODE_OK       applied; the result is the machine's
 *   NODE_NEVER    proved not to have happened: refused, or another entry stands in its place
 *   NODE_UNKNOWN  it may still happen or may have: (index, term) resolves it later */
#ifndef PERI_NODE_MACHINE_H
#define PERI_NODE_MACHINE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/list.h"
#include "raft/configuration.h"

struct node_group;
struct node_keys;
struct node_keys_layer;
struct node_keys_sweep;
struct node_keytail_piece;
struct node_machine;
struct node_request;

/* ---- machines ---- */

/* One thing for a machine to do. */
struct node_task {
    uint64_t index, term;      /* of the entry, or the last one that the snapshot holds */
    struct peri_slice input;   /* a command, a query, or a snapshot; lent until the end */
    struct peri_buffer output; /* of the machine: result, answer, or snapshot */
    struct peri_error err;     /* of the machine, when it ends with a failure */
    struct node_keys *keys;    /* of a machine that keeps them (keys.h); else NULL */
    struct node_group *group;
};

struct node_machine {
    /* The state is task->keys, ordered keys on disk, and nothing else: snapshot is not asked for,
     * and restore, which may be NULL, says only that the keys are others now. A command that fails
     * leaves them as they were. */
    bool keeps_keys;
    /* What a command writes counts also when it fails: the machine itself leaves out what shall
     * not. */
    bool keeps_failures;
    /* Applies a command. A failure is a result like others: the same on all replicas. */
    void (*apply)(struct node_machine *machine, struct node_task *task);
    /* The command is about to come, unless another leader's takes its place: what of it is not in
     * memory may be read until then (node_keys_want). NULL where keeps_keys is false, or for
     * machines that do not say. */
    void (*foresee)(struct node_machine *machine, struct node_keys *keys,
                    struct peri_slice command);
    /* Removes some of what no command and no query will ask for any more, in the background and
     * beside the tasks: it may use nothing but sweep (keys.h). Returns 1 when there is more to do,
     * else 0, after which node_keys_sweep asks for the next. Errors: PERI_ECORRUPT, PERI_ENOMEM,
     * those of sweep. NULL: nothing is left behind. */
    int (*sweep)(struct node_keys_sweep *sweep, struct peri_error *err);
    /* Turns what commands have told (node_keys_tell) into keys, in the background and beside the
     * tasks: from nothing but the piece and the mark, which is at most that of the last command
     * in it or before it. The keys may be of no use to commands and answers but by way of what was
     * told. Errors: PERI_ENOMEM, PERI_ECORRUPT. NULL: nothing is told. */
    int (*lay)(const struct node_keytail_piece *piece, uint64_t mark,
               struct node_keys_layer *layer);
    /* Answers from the state, which it leaves as it is. */
    void (*query)(struct node_machine *machine, struct node_task *task);
    /* Writes the whole state to task->output, as it is when this is called. With snapshots_beside
     * the machine gets other tasks before this one is done; never a restore. */
    bool snapshots_beside;
    void (*snapshot)(struct node_machine *machine, struct node_task *task);
    /* Replaces the state by that of a snapshot. A failure ends the replica. */
    void (*restore)(struct node_machine *machine, struct node_task *task);
    /* The hash of all that has happened up to the entry at index, which was applied: equal on
     * replicas that did the same, and never again once it was not. False when it is not known any
     * more. NULL: replicas are not compared (compare.h). */
    bool (*hash_at)(struct node_machine *machine, uint64_t index, uint64_t *hash);
};

/* The task is done: status is 0, or a code that task->err describes. The next one may be asked for
 * from inside of the call. Not after the group's close. */
void node_task_done(struct node_task *task, int status);

/* The same, for a machine that could not do what those of other replicas can (it lacks memory):
 * this replica must not go on, and ends. */
void node_task_broken(struct node_task *task, int status);

/* ---- requests ---- */

enum node_request_kind { NODE_PROPOSE, NODE_CHANGE, NODE_READ };

enum node_consistency {
    NODE_LINEARIZABLE, /* sees every write that was completed before; also on followers */
    NODE_LEASE,        /* the same, without a round while a lease lasts: for groups with leases */
    NODE_STALE         /* what this replica has, at once */
};

enum node_certainty { NODE_OK, NODE_NEVER, NODE_UNKNOWN };

/* How a request ended; lent for the call. */
struct node_outcome {
    enum node_certainty certainty; /* of a query: NODE_OK or NODE_NEVER */
    int code;                      /* 0, why it failed, or what the machine ended with */
    struct peri_slice result;
    const struct peri_error *err; /* when code is not 0 */
};

struct node_member_change {
    struct raft_change change;
    const char *address; /* of a member that is added */
};

/* Embedded by whoever asks; the first members are the caller's to fill, and lent until the end. */
struct node_request {
    enum node_request_kind kind;
    enum node_consistency consistency;        /* of a query */
    struct peri_slice body;                   /* command or query */
    const struct node_member_change *changes; /* of NODE_CHANGE */
    size_t change_count;
    uint64_t due_us;
    bool is_patient; /* waits while no leader is known, rather than fail */
    void (*on_placed)(struct node_request *request); /* index and term are known now; or NULL */
    void (*on_done)(struct node_request *request, const struct node_outcome *outcome);

    uint64_t index, term; /* of its entry, once placed; else 0 */
    uint64_t number;      /* of a query: the core's */
    struct node_group *group;
    struct peri_list link; /* in one of the group's lists */
};

/* Starts a request; on_done ends it, once, and no later than due_us. Errors, with nothing started:
 * PERI_EBUSY when requests_max are open; PERI_ETOOBIG above NODE_COMMAND_MAX; PERI_EINVAL;
 * PERI_ECLOSED before the group is open; PERI_EFENCED. A command that comes to a leader whose disk
 * is full ends with PERI_EFULL. */
int node_request_start(struct node_group *group, struct node_request *request,
                       struct peri_error *err);

/* Forgets a request under way: on_done will not run. What was placed in the log stays there. */
void node_request_cancel(struct node_request *request);

#endif
