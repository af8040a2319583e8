/* event.h - the world's events: embedded in what they happen to, ordered by (time, sequence).
 *
 * An event is embedded in its object and scheduled at most once at a time; the heap knows its slot,
 * so that it can be taken out. Nothing is allocated for an event but the heap's own array. */
#ifndef PERI_SIM_EVENT_H
#define PERI_SIM_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct sim_event;
struct sim_node;
struct sim_world;

/* What events of one kind share. */
struct sim_event_kind {
    uint32_t id;      /* enters the hash */
    const char *name; /* in traces */
    /* Runs when the event is due; it is no longer scheduled then, and may be freed. */
    void (*on_due)(struct sim_world *world, struct sim_event *event);
    /* Writes what the event is about, for traces: "n2 -> n1 14 bytes". NULL: nothing to say. */
    void (*describe)(const struct sim_event *event, char *out, size_t size);
};

struct sim_event {
    const struct sim_event_kind *kind;
    struct sim_node *node; /* whose event it is: waits while that node is paused; NULL: nobody's */
    uint64_t payload;      /* stands in the hash for what the event carries */
    size_t slot;           /* place in the heap, from 1; 0: not scheduled; SIM_EVENT_HELD */
    struct peri_list held; /* in sim_node.held while the node is paused */
};

#define SIM_EVENT_HELD SIZE_MAX

/* Makes an event that is not scheduled, and room for it in the heap, so that scheduling cannot
 * fail. Errors: PERI_ENOMEM. */
int sim_event_init(struct sim_world *world, struct sim_event *event,
                   const struct sim_event_kind *kind, struct sim_node *node, uint64_t payload);

/* Takes the event out, and its room back. */
void sim_event_deinit(struct sim_world *world, struct sim_event *event);

/* Schedules event at time_us, or now if that has passed, behind every event of the same time that
 * was scheduled before; moves it if it was scheduled already. */
void sim_event_schedule(struct sim_world *world, struct sim_event *event, uint64_t time_us);

/* Takes the event out; no effect on one that is not scheduled. */
void sim_event_cancel(struct sim_world *world, struct sim_event *event);

/* True while the event is scheduled, or waits for its paused node. */
static inline bool sim_event_is_scheduled(const struct sim_event *event)
{
    return event->slot != 0;
}

#endif
