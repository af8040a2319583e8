/* room.h - one reducer state at a time, on the heap under a limit. */
#ifndef PERI_MAPREDUCE_ROOM_H
#define PERI_MAPREDUCE_ROOM_H

#include "mapreduce/reducer.h"
#include "mapreduce/values.h"

enum { MR_STATE_SHARE = 8 }; /* a state may take this part of a memory limit */

/* A state, and how large it may grow. */
struct mr_bounded_room {
    struct mr_state state;
    size_t limit;
};

/* An empty room for a state of up to limit bytes. */
struct mr_bounded_room mr_bounded_room(size_t limit);

/* Merges a group's encoded states into room->state, emptied first; the room is kept from group to
 * group. Errors: those of the values and of mr_reducer_merge; PERI_EMEMORY past the limit. */
int mr_group_reduce(const struct mr_reducer *reducer, struct mr_values *values,
                    struct mr_bounded_room *room, struct peri_error *err);

/* Adds one value to an empty state in room: whether the reducer takes it at all. Errors: those of
 * mr_reducer_add; PERI_EMEMORY past the limit. */
int mr_room_try(const struct mr_reducer *reducer, struct mr_bounded_room *room,
                struct peri_slice value, struct peri_error *err);

void mr_bounded_room_deinit(struct mr_bounded_room *room);

#endif
