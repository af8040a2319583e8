/* merge.h - one partition of many spill files as one sorted stream of groups.
 *
 * Values of equal keys come in the order of the inputs, then in the order they were written; so
 * with inputs in task order the result does not depend on splits or workers. More inputs than
 * fan-in or memory allow are merged in passes through temporary spill files. Every input is checked
 * against its footer and against the summary that the caller expects. */
#ifndef PERI_MAPREDUCE_MERGE_H
#define PERI_MAPREDUCE_MERGE_H

#include "mapreduce/reducer.h"
#include "mapreduce/spill.h"

enum { MR_MERGE_FAN_IN = 64, MR_MERGE_MEMORY_MIN = 1 << 20 };

/* The values of one group. */
struct mr_values;
/* Returns 1 and the next value, lent until the next call; 0 at the group's end; or a code. */
int mr_values_next(struct mr_values *values, struct peri_slice *value, struct peri_error *err);
/* The whole key of the value that came last (secondary sort: its later parts order the group). */
struct peri_slice mr_values_key(const struct mr_values *values);

struct mr_merge_input {
    const char *path;
    const struct mr_sum *expected; /* of the partition, as the coordinator knows it; or NULL */
};

struct mr_merge_options {
    const struct mr_merge_input *inputs; /* borrowed until close */
    size_t inputs_count;
    uint32_t part;
    size_t group_parts;        /* key parts that make a group; 0 means the whole key */
    struct mr_reducer reducer; /* a named one: the files hold its states */
    size_t memory_bytes;       /* for block buffers, state and heap; at least MR_MERGE_MEMORY_MIN */
    const char *temp_path;     /* intermediate passes make temp_path.merge-N, removed by close */
};

struct mr_merge;

/* Opens all inputs and runs the intermediate passes. The caller owns *out. Errors: PERI_ENOMEM,
 * PERI_ECORRUPT, PERI_EMEMORY when memory_bytes cannot hold two inputs' buffers, errno codes; the
 * text names the input. *failed_input is then as mr_merge_failed_input says. */
int mr_merge_open(struct mr_merge **out, struct env *env, const struct mr_merge_options *options,
                  int64_t *failed_input, struct peri_error *err);

/* Moves to the next group, skipping values not taken. Returns 1 with its key (the first group_parts
 * parts) and values, both lent until the next call; 0 at the end, when all sums have been checked;
 * or a code. With a named reducer the values are encoded states: see mr_merge_reduce. */
int mr_merge_next(struct mr_merge *merge, struct peri_slice *key, struct mr_values **values,
                  struct peri_error *err);

/* Like mr_merge_next, but merges the group's states with options.reducer and gives the result, an
 * encoded value, in *value; lent until the next call. */
int mr_merge_reduce(struct mr_merge *merge, struct peri_slice *key, struct peri_slice *value,
                    struct peri_error *err);

/* Moves to the next pair, groups aside: 1 with key and value, both lent until the next call; 0 at
 * the end, when all sums have been checked; or a code. Not to be mixed with the two above. */
int mr_merge_pair(struct mr_merge *merge, struct peri_slice *key, struct peri_slice *value,
                  struct peri_error *err);

/* The index of the input whose damage or read error the last call reported, or -1: the map task to
 * run again. */
int64_t mr_merge_failed_input(const struct mr_merge *merge);

/* Summary of the partition over all inputs: what has been read once the end is reached. */
struct mr_sum mr_merge_sum(const struct mr_merge *merge);

void mr_merge_close(struct mr_merge *merge); /* accepts NULL */

#endif
