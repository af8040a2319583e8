/* mr_order.h - reduce keys in an order of the user's: compare = "descending" or a function.
 *
 * Spill files are sorted by key bytes. A reduce task with another order merges its partition once
 * into a file of its own, in which keys are (rank, first part of the key, whole key), and then
 * reads that, grouped by the first two.
 * For "descending" the rank counts down while groups go by; a function sorts the list of the
 * partition's keys first, which has to fit into Lua's memory. */
#ifndef PERI_MODULES_MR_ORDER_H
#define PERI_MODULES_MR_ORDER_H

#include "mapreduce/merge.h"
#include "mr_task.h"

enum { MR_RANKED_GROUP = 1, MR_RANKED_KEY, MR_RANKED_PARTS }; /* parts behind the rank */

struct mr_order;

/* Errors: PERI_ENOMEM. The caller ends *out with mr_order_close, which accepts NULL. */
int mr_order_create(struct mr_order **out, struct mr_task *task);
void mr_order_close(struct mr_order *order);

/* Writes the groups of options' merge to a spill file at path, ranked; values are finished (no
 * states any more). compare is the registry reference of the user's function, or LUA_NOREF for
 * descending. Raises what that function raises. Errors are in task->failure. */
int mr_order_run(struct mr_order *order, lua_State *L, const struct mr_merge_options *options,
                 int compare, const char *path);

#endif
