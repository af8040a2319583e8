#include "mapreduce/room.h"

#include <stdlib.h>

static int grow(void *data, struct mr_state *state, size_t capacity)
{
    const struct mr_bounded_room *room = data;
    if (capacity > room->limit)
        return PERI_EMEMORY;
    char *bytes = realloc(state->data, capacity);
    if (bytes == NULL)
        return PERI_ENOMEM;
    state->data = bytes;
    state->capacity = capacity;
    return 0;
}

struct mr_bounded_room mr_bounded_room(size_t limit)
{
    return (struct mr_bounded_room){.limit = limit < MR_STATE_MAX ? limit : MR_STATE_MAX};
}

int mr_group_reduce(const struct mr_reducer *reducer, struct mr_values *values,
                    struct mr_bounded_room *room, struct peri_error *err)
{
    const struct mr_room source = {grow, room};
    struct peri_slice encoded;
    int rc;
    room->state.size = 0;
    while ((rc = values->next(values, &encoded, err)) == 1) {
        rc = mr_reducer_merge(reducer, &room->state, encoded, &source, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

int mr_room_try(const struct mr_reducer *reducer, struct mr_bounded_room *room,
                struct peri_slice value, struct peri_error *err)
{
    const struct mr_room source = {grow, room};
    const struct mr_position position = {0};
    room->state.size = 0;
    return mr_reducer_add(reducer, &room->state, value, &position, &source, err);
}

void mr_bounded_room_deinit(struct mr_bounded_room *room)
{
    free(room->state.data);
    room->state = (struct mr_state){0};
}
