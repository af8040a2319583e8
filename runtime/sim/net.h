/* net.h - the network between simulated nodes.
 *
 * Nodes reach each other by the message connections of env.h: the host of an address is a node's
 * name. A connection is opened by a round trip; a message arrives after the link's latency, behind
 * those sent before it on the connection unless reordering lets it overtake. Settings are faults of
 * env/fault.def, applied with sim_fault_apply (fault.h).
 *
 * A cut is silence: messages vanish, a connect over it fails only at the idle limit, and
 * established connections stay as they are on both sides until theirs. Whoever connects where
 * nobody listens is refused (ECONNREFUSED). A killed process's peers see their connections close
 * after the latency; a crashed machine's peers see nothing, until they send something to its
 * restarted successor, which resets the connection. */
#ifndef PERI_SIM_NET_H
#define PERI_SIM_NET_H

#include "sim/node.h"

/* Shapes of partitions. Each cuts links between the nodes given, and touches no other. */

/* Cuts both directions between each node of one group and each of the other. */
void sim_net_partition(struct sim_world *world, struct sim_node *const *left, size_t left_count,
                       struct sim_node *const *right, size_t right_count);

/* Cuts the node from every other, also those to come, both directions. */
void sim_net_isolate(struct sim_world *world, struct sim_node *node);

/* Both halves see the middle node (the one at count / 2) and not each other. */
void sim_net_bridge(struct sim_world *world, struct sim_node *const *nodes, size_t count);

/* Each node sees a majority, centred on it in the order given, and no two see the same one
 * (Jepsen's majorities-ring). */
void sim_net_ring(struct sim_world *world, struct sim_node *const *nodes, size_t count);

/* Ends every cut and every hold; what was held is delivered. */
void sim_net_heal(struct sim_world *world);

/* The network of the MIT labs (labrpc), which then decides fates and delays instead of the links'
 * latency, loss, duplication and reordering; cuts still hold. Requests are the messages of the side
 * that connected, replies those of the other.
 * unreliable: a request takes 0 to 26 ms, 10 % of requests and 10 % of replies vanish, and the call
 * fails at once (EDISCONNECTED: nobody knows whether it was executed).
 * long_reordering: 2 of 3 replies take 200 ms + U(0..R), R itself uniform in 0..1999 ms.
 * A connection over a cut fails after 0 to 99 ms, with long_delays after 0 to 6999 ms.
 * Harsher than labrpc: a cut ends the connection, and the next call waits until the caller has
 * connected again; a call whose handler still runs hears of it when it sends or when the answer
 * should leave, not within 100 ms. Milder: bodies of more than one chunk are never lost. */
struct sim_net_labs {
    bool is_on;
    bool unreliable, long_reordering, long_delays;
};
void sim_net_set_labs(struct sim_world *world, const struct sim_net_labs *labs);

/* What the network has done. */
struct sim_net_counts {
    uint64_t sent, bytes; /* messages handed over by nodes, and their bytes */
    uint64_t delivered, lost, duplicated, corrupted, cut;
    uint64_t connects, refused;
};
struct sim_net_counts sim_net_counts(const struct sim_world *world);

#endif
