/* mr_values.h - the values argument of reduce and combine: for value, key2 in values do ... end. */
#ifndef PERI_MODULES_MR_VALUES_H
#define PERI_MODULES_MR_VALUES_H

#include "mapreduce/merge.h"
#include "mr_task.h"

struct mr_group;

/* Pushes a new iterator onto L, to be filled again for every group. Raises on lack of memory.
 * partial is the reducer whose states the values are (a named combine before a reduce function), or
 * NULL; borrowed. */
struct mr_group *mr_group_push(lua_State *L, struct mr_task *task,
                               const struct mr_reducer *partial);

/* Points the iterator at a group: values and key are lent until mr_group_end, after which it
 * raises. With is_ranked, the keys of the values are ranked ones (see mr_order.h). */
void mr_group_begin(struct mr_group *group, struct mr_values *values, struct peri_slice key,
                    bool is_ranked);
void mr_group_end(struct mr_group *group);

/* The next value's encoding, with states turned into results. As mr_values_next. */
int mr_group_next(struct mr_group *group, struct peri_slice *value, struct peri_error *err);

void mr_group_deinit(struct mr_group *group); /* frees its buffers; the iterator then raises */

#endif
