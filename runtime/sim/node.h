/* node.h - simulated machines, each with one process, an environment, clocks, a disk, a name.
 *
 * The code of a node runs on sim_node_env: everything that env.h offers, simulated. What cannot be
 * made deterministic (child processes, real byte streams, signals) fails with
 * PERI_ENONDETERMINISTIC.
 *
 *   created --start--> running --exit, kill, crash--> down --start--> running (incarnation + 1) ...
 *                      running --pause--> paused --resume--> running
 *
 * Whoever starts the node's code hears of its end by on_down, and then frees what it holds; until
 * it returns the environment still answers, but has no effect on anybody. */
#ifndef PERI_SIM_NODE_H
#define PERI_SIM_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "sim/world.h"

enum sim_node_state { SIM_NODE_CREATED, SIM_NODE_RUNNING, SIM_NODE_PAUSED, SIM_NODE_DOWN };

/* How a process ended. */
enum sim_down {
    SIM_DOWN_EXIT,  /* by itself: sim_node_exit */
    SIM_DOWN_KILL,  /* its machine and page cache live on */
    SIM_DOWN_CRASH, /* with its machine */
};

struct sim_node_events {
    /* The process starts: runs as an event of the node, and starts the node's code, which must not
     * block. Not 0: it could not, and the node is down again. */
    int (*on_start)(void *data, struct sim_node *node);
    /* The process has ended: closes everything that was made on its environment (a vm_state, ...).
     * Nothing that happens here is seen by anybody. */
    void (*on_down)(void *data, struct sim_node *node, enum sim_down how);
};

/* Adds a machine. name (letters, digits, "_", "-", "."; at most 63) is copied, and is its host name
 * in addresses. The world owns the node; it lives as long. Errors: PERI_EINVAL, -EEXIST,
 * PERI_ENOMEM. */
int sim_node_create(struct sim_world *world, const char *name, const struct sim_node_events *events,
                    void *data, struct sim_node **out, struct peri_error *err);

/* Starts the process of a node that is created or down: on_start runs in an event of now. Errors:
 * PERI_EBUSY while it runs. */
int sim_node_start(struct sim_node *node, struct peri_error *err);

/* The process ends by itself, in the next event; peers' connections are closed in order. */
void sim_node_exit(struct sim_node *node, int status);

/* Ends the process at once, as kill -9 does: connections are reset, the disk keeps its page cache.
 * May be called from the node's own event: it then takes effect when that event returns. No effect
 * on a node that is not up. */
void sim_node_kill(struct sim_node *node);

/* Ends the machine at once, as a power failure does: peers hear nothing until the machine is up
 * again or their own patience ends, and the disk forgets (disk.h). */
void sim_node_crash(struct sim_node *node);

/* The process stands still: its events wait. Peers see silence. No effect unless it runs. */
void sim_node_pause(struct sim_node *node);

/* What waited happens now, in its order. No effect unless it is paused. */
void sim_node_resume(struct sim_node *node);

/* The environment. Lent for the world's life; usable from on_start to the end of on_down. */
struct env *sim_node_env(struct sim_node *node);

/* The node that an environment belongs to, or NULL when it is not a simulated one. */
struct sim_node *sim_node_of(struct env *env);

/* What a node is, and how it is. Names are lent for the world's life. */
const char *sim_node_name(const struct sim_node *node);
enum sim_node_state sim_node_state(const struct sim_node *node);
uint64_t
sim_node_incarnation(const struct sim_node *node);     /* 0 before the first start, then 1, 2 */
int sim_node_exit_status(const struct sim_node *node); /* of the last sim_node_exit */
struct sim_world *sim_node_world(struct sim_node *node);

/* The data that sim_node_create was given. */
void *sim_node_data(const struct sim_node *node);

/* Finds a node, or NULL. */
struct sim_node *sim_world_node(struct sim_world *world, const char *name);

/* Nodes in the order of their creation: 0 .. count - 1. */
size_t sim_world_node_count(const struct sim_world *world);
struct sim_node *sim_world_node_at(struct sim_world *world, size_t index);

/* The node's stream of a purpose, of this incarnation. Lent until it ends. */
struct sim_stream *sim_node_stream(struct sim_node *node, enum sim_purpose purpose);

/* Sets a variable that env_variable of the node finds. Errors: PERI_ENOMEM. */
int sim_node_set_variable(struct sim_node *node, const char *name, const char *value);

#endif
