/* state.h - what the reducers of reducer.c share. For reducer*.c only; states are the structs that
 * these files lay over struct mr_state, whose room is aligned to 8 bytes. */
#ifndef PERI_MAPREDUCE_STATE_H
#define PERI_MAPREDUCE_STATE_H

#include "mapreduce/reducer.h"

/* One call's view of a reducer. */
struct mr_fold {
    const struct mr_reducer *reducer;
    struct mr_state *state;
    const struct mr_room *room;
    struct peri_error *err;
};

/* What a kind of reducer does; see the functions of reducer.h. */
struct mr_reducer_ops {
    int (*add)(const struct mr_fold *fold, struct peri_slice value,
               const struct mr_position *position);
    int (*merge)(const struct mr_fold *fold, struct peri_slice encoded);
    int (*encode)(const struct mr_fold *fold, struct peri_buffer *out);
    int (*finish)(const struct mr_fold *fold, struct peri_buffer *out);
};

extern const struct mr_reducer_ops mr_reducer_sum_ops;      /* sum avg: reducer_sum.c */
extern const struct mr_reducer_ops mr_reducer_list_ops;     /* topk set concat: reducer_list.c */
extern const struct mr_reducer_ops mr_reducer_distinct_ops; /* reducer_distinct.c */

/* Makes the state's capacity at least size, at least doubling it when it grows. */
int mr_fold_reserve(const struct mr_fold *fold, size_t size);

/* Fails for a value of the wrong type or malformed bytes, naming the reducer. */
int mr_fold_refuse(const struct mr_fold *fold, struct peri_slice value, const char *wanted);
int mr_fold_malformed(const struct mr_fold *fold);

#endif
