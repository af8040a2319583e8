/* reducer.h - named algebraic reducers, combined in C in emit, spill, merge and reduce.
 *
 * A state is bytes that values are added to and other states merged into; both are associative, and
 * the result depends only on the values and their input positions, never on how the input was split
 * or on who combined what:
 *
 *   sum          integers wrap as in Lua; floats are added exactly and rounded once at the end; the
 *                result is a float as soon as one value was one
 *   count        how many values
 *   avg          exact sum / count, a float
 *   min max      by the order of keys (key.h), any type but tables
 *   first last   the value emitted at the lowest, highest input position
 *   any all      true when some, when every value is truthy (Lua's rule)
 *   distinct     how many different values: exact up to 16,384, then a HyperLogLog estimate (2^14
 *                registers, standard error 0.8 %)
 *   topk(n)      the n greatest values, greatest first (n 10 unless given, at most 10,000)
 *   set          the different values, ascending; more than limit (65,536) is an error
 *   concat       strings and numbers in input order with sep ("") between; a result of more than
 *                limit bytes (1 MiB) is an error
 *   identity     no reduction: every pair as it is
 *
 * topk and set give tables. States are bounded by these limits and by MR_STATE_MAX. Pure. */
#ifndef PERI_MAPREDUCE_REDUCER_H
#define PERI_MAPREDUCE_REDUCER_H

#include "mapreduce/value.h"

enum mr_reducer_kind {
    MR_REDUCE_NONE, /* not a named reducer: values are kept */
    MR_REDUCE_IDENTITY,
    MR_REDUCE_SUM,
    MR_REDUCE_COUNT,
    MR_REDUCE_MIN,
    MR_REDUCE_MAX,
    MR_REDUCE_AVG,
    MR_REDUCE_FIRST,
    MR_REDUCE_LAST,
    MR_REDUCE_ANY,
    MR_REDUCE_ALL,
    MR_REDUCE_DISTINCT,
    MR_REDUCE_TOPK,
    MR_REDUCE_SET,
    MR_REDUCE_CONCAT,
};

/* A reducer and its arguments; plain data, may be copied. sep is borrowed for as long as it is
 * used. */
struct mr_reducer {
    enum mr_reducer_kind kind;
    uint64_t limit;        /* topk: n; set: values; concat: bytes */
    struct peri_slice sep; /* concat */
};

/* Where a value was emitted. Positions order as (file, offset, sequence). */
struct mr_position {
    uint64_t file;     /* index of the input file in the job's order */
    uint64_t offset;   /* of the record in the file */
    uint64_t sequence; /* of the emission within the record */
};

/* Bytes of one state. The owner gives the room. */
struct mr_state {
    char *data;
    size_t size; /* 0 for a state that nothing was added to */
    size_t capacity;
};

enum { MR_STATE_MAX = 1 << 26 };

/* Makes room for capacity bytes in state, keeping its bytes. Returns 0 or a code, state unchanged.
 */
typedef int (*mr_state_grow)(void *data, struct mr_state *state, size_t capacity);

/* Where states get their room from. */
struct mr_room {
    mr_state_grow grow;
    void *data;
};

/* Finds a reducer by name with its default arguments; "topk(3)" sets the limit. Errors:
 * PERI_EINVAL, with the names that exist. */
int mr_reducer_parse(struct mr_reducer *out, const char *name, struct peri_error *err);

/* The reducer's name, for messages. Lent for ever. */
const char *mr_reducer_name(enum mr_reducer_kind kind);

/* True when values are folded into states: every kind but none and identity. */
bool mr_reducer_has_state(const struct mr_reducer *reducer);

/* Adds one encoded value to state. On error state means what it meant before. Errors: what grow
 * returned; PERI_EINVAL for a value that the reducer cannot take; PERI_ETOOBIG past a limit. */
int mr_reducer_add(const struct mr_reducer *reducer, struct mr_state *state,
                   struct peri_slice value, const struct mr_position *position,
                   const struct mr_room *room, struct peri_error *err);

/* Merges encoded, the bytes that mr_reducer_encode made of another state. Errors as above, and
 * PERI_EFORMAT. */
int mr_reducer_merge(const struct mr_reducer *reducer, struct mr_state *state,
                     struct peri_slice encoded, const struct mr_room *room, struct peri_error *err);

/* Appends state in the form that spill files carry: equal states give equal bytes. May tidy state
 * in place without changing what it means. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int mr_reducer_encode(const struct mr_reducer *reducer, struct mr_state *state,
                      struct peri_buffer *out, struct peri_error *err);

/* Appends the result of state as an encoded value. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int mr_reducer_finish(const struct mr_reducer *reducer, struct mr_state *state,
                      struct peri_buffer *out, struct peri_error *err);

#endif
