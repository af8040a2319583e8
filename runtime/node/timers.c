#include "node/timers.h"

#include <stdlib.h>

#include "base/error.h"
#include "node/parts.h"

/* timer_at is the place in the heap plus one; 0: not in it. */

void node_timers_deinit(struct node_timers *timers)
{
    free(timers->heap);
    *timers = (struct node_timers){NULL, 0, 0};
}

static void put(struct node_timers *timers, size_t at, struct node_group *group)
{
    timers->heap[at] = group;
    group->timer_at = at + 1;
}

static void rise(struct node_timers *timers, size_t at)
{
    struct node_group *group = timers->heap[at];
    for (; at > 0 && group->due_us < timers->heap[(at - 1) / 2]->due_us; at = (at - 1) / 2)
        put(timers, at, timers->heap[(at - 1) / 2]);
    put(timers, at, group);
}

static void sink(struct node_timers *timers, size_t at)
{
    struct node_group *group = timers->heap[at];
    for (size_t child = 2 * at + 1; child < timers->count; child = 2 * at + 1) {
        if (child + 1 < timers->count &&
            timers->heap[child + 1]->due_us < timers->heap[child]->due_us)
            child++;
        if (timers->heap[child]->due_us >= group->due_us)
            break;
        put(timers, at, timers->heap[child]);
        at = child;
    }
    put(timers, at, group);
}

int node_timers_add(struct node_timers *timers, struct node_group *group)
{
    if (timers->count == timers->capacity) {
        size_t capacity = 2 * timers->capacity + 16;
        struct node_group **heap = realloc(timers->heap, capacity * sizeof *heap);
        if (heap == NULL)
            return PERI_ENOMEM;
        timers->heap = heap;
        timers->capacity = capacity;
    }
    group->due_us = UINT64_MAX;
    put(timers, timers->count++, group);
    return 0;
}

void node_timers_remove(struct node_timers *timers, struct node_group *group)
{
    if (group->timer_at == 0)
        return;
    size_t at = group->timer_at - 1;
    struct node_group *last = timers->heap[--timers->count];
    group->timer_at = 0;
    if (last == group)
        return;
    put(timers, at, last);
    rise(timers, at);
    sink(timers, last->timer_at - 1);
}

void node_timers_set(struct node_timers *timers, struct node_group *group, uint64_t due_us)
{
    if (group->timer_at == 0 || group->due_us == due_us)
        return;
    group->due_us = due_us;
    rise(timers, group->timer_at - 1);
    sink(timers, group->timer_at - 1);
}

struct node_group *node_timers_first(const struct node_timers *timers)
{
    return timers->count > 0 ? timers->heap[0] : NULL;
}
