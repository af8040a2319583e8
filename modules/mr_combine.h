/* mr_combine.h - a combine function of the user's, called by the emit table while it spills.
 *
 * It runs on a coroutine of its own: the emit table may spill in the middle of any call of out,
 * also in one made inside a coroutine of the user's. */
#ifndef PERI_MODULES_MR_COMBINE_H
#define PERI_MODULES_MR_COMBINE_H

#include "mapreduce/emit.h"
#include "mr_out.h"
#include "mr_task.h"
#include "mr_values.h"

/* Embedded by its owner, zeroed before use. */
struct mr_combiner {
    struct mr_task *task;
    lua_State *L; /* the coroutine */
    struct mr_out *out;
    struct mr_group *group;
    struct mr_datum key; /* of the group */
    struct peri_buffer text;
    int function; /* registry reference */
};

/* Prepares the step's combine function; false when it has none, or when that failed (then err is
 * filled). */
bool mr_combiner_open(struct mr_combiner *combiner, struct mr_task *task, struct peri_error *err);

/* The callback for mr_emit_options; data is the combiner. */
int mr_combiner_group(void *data, struct peri_slice key, struct mr_values *values,
                      struct mr_combine_out *group, struct peri_error *err);

/* The attempt is over: what combine kept raises from now on. Before its state closes; accepts a
 * zeroed one. */
void mr_combiner_retire(struct mr_combiner *combiner);
void mr_combiner_close(struct mr_combiner *combiner); /* accepts a zeroed one */

#endif
