/* groups.h - a sorted stream of records cut into groups of equal keys. */
#ifndef PERI_MAPREDUCE_GROUPS_H
#define PERI_MAPREDUCE_GROUPS_H

#include "base/buffer.h"
#include "mapreduce/fan.h"
#include "mapreduce/values.h"

/* Embedded; starts by mr_groups_init, ended by mr_groups_deinit. */
struct mr_groups {
    struct mr_values values; /* of the current group */
    struct mr_fan *fan;
    size_t group_parts;     /* 0: the whole key */
    struct peri_buffer key; /* of the current group */
    struct peri_slice next_key, next_value;
    enum { GROUPS_START, GROUPS_AHEAD, GROUPS_TAKEN, GROUPS_END } at; /* is next_* still to give? */
};

/* Cuts fan, which it borrows, into groups by the first group_parts key parts. */
void mr_groups_init(struct mr_groups *groups, struct mr_fan *fan, size_t group_parts);

/* Skips what is left of the current group. Returns 1 and the next group's key, lent until the next
 * call, with its values in groups->values; 0 at the end; or a code. */
int mr_groups_next(struct mr_groups *groups, struct peri_slice *key, struct peri_error *err);

void mr_groups_deinit(struct mr_groups *groups);

#endif
