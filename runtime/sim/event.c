#include "sim/event.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/internal.h"

enum { ARITY = 4, CAPACITY_MIN = 64 };

static bool is_before(const struct sim_heap_entry *a, const struct sim_heap_entry *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->sequence < b->sequence;
}

static void place(struct sim_heap *heap, size_t slot, struct sim_heap_entry entry)
{
    heap->entries[slot] = entry;
    entry.event->slot = slot;
}

static size_t parent_of(size_t slot)
{
    return (slot - 2) / ARITY + 1;
}

static void sift_up(struct sim_heap *heap, size_t slot, struct sim_heap_entry entry)
{
    while (slot > 1 && is_before(&entry, &heap->entries[parent_of(slot)])) {
        place(heap, slot, heap->entries[parent_of(slot)]);
        slot = parent_of(slot);
    }
    place(heap, slot, entry);
}

static size_t first_child_before(const struct sim_heap *heap, size_t slot)
{
    size_t child = (slot - 1) * ARITY + 2;
    size_t end = child + ARITY;
    if (child > heap->count)
        return 0;
    if (end > heap->count + 1)
        end = heap->count + 1;
    size_t best = child;
    while (++child < end)
        if (is_before(&heap->entries[child], &heap->entries[best]))
            best = child;
    return best;
}

static void sift_down(struct sim_heap *heap, size_t slot, struct sim_heap_entry entry)
{
    size_t child;
    while ((child = first_child_before(heap, slot)) != 0 &&
           is_before(&heap->entries[child], &entry)) {
        place(heap, slot, heap->entries[child]);
        slot = child;
    }
    place(heap, slot, entry);
}

static void put_back(struct sim_heap *heap, size_t slot, struct sim_heap_entry entry)
{
    if (slot > 1 && is_before(&entry, &heap->entries[parent_of(slot)]))
        sift_up(heap, slot, entry);
    else
        sift_down(heap, slot, entry);
}

static void take_out(struct sim_heap *heap, size_t slot)
{
    heap->entries[slot].event->slot = 0;
    struct sim_heap_entry last = heap->entries[heap->count--];
    if (slot <= heap->count)
        put_back(heap, slot, last);
}

static int reserve(struct sim_heap *heap)
{
    if (heap->reserved + 1 < heap->capacity) {
        heap->reserved++;
        return 0;
    }
    size_t capacity = heap->capacity < CAPACITY_MIN ? CAPACITY_MIN : heap->capacity * 2;
    struct sim_heap_entry *entries =
        realloc(heap->entries, capacity * sizeof *entries); /* slot 0 is unused */
    if (entries == NULL)
        return PERI_ENOMEM;
    heap->entries = entries;
    heap->capacity = capacity;
    heap->reserved++;
    return 0;
}

int sim_event_init(struct sim_world *world, struct sim_event *event,
                   const struct sim_event_kind *kind, struct sim_node *node, uint64_t payload)
{
    *event = (struct sim_event){.kind = kind, .node = node, .payload = payload};
    peri_list_init(&event->held);
    return reserve(&world->heap);
}

void sim_event_deinit(struct sim_world *world, struct sim_event *event)
{
    sim_event_cancel(world, event);
    PERI_ASSERT(world->heap.reserved > 0);
    world->heap.reserved--;
}

void sim_event_schedule(struct sim_world *world, struct sim_event *event, uint64_t time_us)
{
    struct sim_heap *heap = &world->heap;
    struct sim_heap_entry entry = {time_us > world->now_us ? time_us : world->now_us,
                                   ++heap->sequence, event};
    if (event->slot == SIM_EVENT_HELD)
        peri_list_remove(&event->held);
    else if (event->slot != 0) {
        put_back(heap, event->slot, entry);
        return;
    }
    sift_up(heap, ++heap->count, entry);
}

void sim_event_cancel(struct sim_world *world, struct sim_event *event)
{
    if (event->slot == SIM_EVENT_HELD) {
        peri_list_remove(&event->held);
        event->slot = 0;
    } else if (event->slot != 0) {
        take_out(&world->heap, event->slot);
    }
}

struct sim_event *sim_event_take(struct sim_world *world, uint64_t until_us)
{
    struct sim_heap *heap = &world->heap;
    if (heap->count == 0 || heap->entries[1].time_us > until_us)
        return NULL;
    struct sim_event *event = heap->entries[1].event;
    world->now_us = heap->entries[1].time_us;
    take_out(heap, 1);
    return event;
}

void sim_event_describe_number(const struct sim_event *event, char *out, size_t size)
{
    (void)snprintf(out, size, "#%" PRIu64, event->payload);
}
