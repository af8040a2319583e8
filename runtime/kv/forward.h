/* forward.h - commands for a group, whoever leads it: what this replica may not propose itself goes
 * to the leader's node, and waits while there is none.
 *
 *      kv_propose --> here: proposed             --> outcome
 *                 --> another leads: kv.propose  --> there: proposed --> outcome
 *                 --> nobody leads, or the leader is not reached: again, a little later
 *
 * Only what was proved not to have happened is tried again: a command takes effect at most once. */
#ifndef PERI_KV_FORWARD_H
#define PERI_KV_FORWARD_H

#include "node/node.h"
#include "rpc/client.h"

/* Has the node take commands from others, for all its groups. Once a node is enough; more do no
 * harm. Errors: as of node_serve, but for -EEXIST. */
int kv_forward_serve(struct node *node, struct peri_error *err);

/* The commands of one group, a key/value store, that this process sends. */
struct kv_forwarder;

/* group is lent. On success the caller owns *out. Errors: PERI_ENOMEM. */
int kv_forwarder_create(struct kv_forwarder **out, struct node *node, uint64_t group_id,
                        struct node_group *group);
/* All proposals have ended or were cancelled. Accepts NULL. */
void kv_forwarder_close(struct kv_forwarder *forwarder);

/* Embedded by whoever proposes, zeroed; the first three members are the caller's. */
struct kv_proposal {
    struct peri_buffer *body; /* that kv_command_begin began; lent until the end, its time is set */
    uint64_t due_us;
    void (*on_done)(struct kv_proposal *proposal, const struct node_outcome *outcome);

    struct kv_forwarder *forwarder;
    struct node_request here;
    struct rpc_request there;
    struct peri_list link; /* of those that wait to be tried again */
    struct peri_error err; /* of the last attempt */
};

/* Proposes a command; on_done ends it, once, not much later than due_us and never from inside of
 * the call. */
void kv_propose(struct kv_forwarder *forwarder, struct kv_proposal *proposal);

/* Forgets a proposal under way: on_done will not run; the command may still happen. No effect on
 * one that has ended. */
void kv_proposal_cancel(struct kv_proposal *proposal);

#endif
