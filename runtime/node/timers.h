/* timers.h - groups by when they are due: a binary heap, so that one timer serves all. Pure. */
#ifndef PERI_NODE_TIMERS_H
#define PERI_NODE_TIMERS_H

#include <stddef.h>
#include <stdint.h>

struct node_group;

/* Starts zeroed; ended by node_timers_deinit. */
struct node_timers {
    struct node_group **heap;
    size_t count, capacity;
};

void node_timers_deinit(struct node_timers *timers);

/* Adds a group that is never due. Errors: PERI_ENOMEM. */
int node_timers_add(struct node_timers *timers, struct node_group *group);

/* Takes a group out; no effect on one that is not in. */
void node_timers_remove(struct node_timers *timers, struct node_group *group);

/* The group is due at due_us; UINT64_MAX: never. */
void node_timers_set(struct node_timers *timers, struct node_group *group, uint64_t due_us);

/* The group that is due first, or NULL. */
struct node_group *node_timers_first(const struct node_timers *timers);

#endif
