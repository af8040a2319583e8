/* search.h - what a search works on; for linearizable.c and plan.c only. */
#ifndef PERI_CHECK_SEARCH_H
#define PERI_CHECK_SEARCH_H

#include "check/linearizable.h"
#include "check/memo.h"
#include "check/transitions.h"

enum { CHECK_NONE_ITEM = -1 };

/* One operation of the search. */
struct check_op {
    uint32_t item; /* of the part */
    uint32_t effect;
    uint32_t call, end;    /* CHECK_NEVER: open */
    uint32_t twin;         /* an op of the same effect that goes first, or CHECK_NEVER */
    uint32_t starts;       /* where its resets stand, up to those of the next op */
    bool is_pure, is_safe; /* safe: nothing can make it impossible, or nobody can tell */
};

/* A required op that shows most of the past; resets [from, to) can lead to it. */
struct check_goal {
    uint32_t op;
    uint32_t from, to;
};

/* The ops: required ones by call, then open ones by call. The list of entries links the calls
 * (1 + op) and ends (1 + count + op) of those that are not done, in the order of events; 0 is its
 * head. An end blocks: what is called behind it must wait for its op. */
struct check_plan {
    struct check_op *ops;
    size_t count, required;
    uint32_t *next, *previous;
    uint32_t *resets; /* ops; of each op, then of each goal */
    size_t reset_count, reset_capacity;
    struct check_goal *goals;
    size_t goal_count;
    uint32_t *always; /* effects that can happen at any time, any number of times */
    size_t always_count;
    size_t window; /* how far behind the first op that is not done a done one can be */
};

/* Makes the plan of a search. Errors: PERI_ENOMEM, PERI_ETOOBIG; the caller deinits it in any
 * case. */
int check_plan_init(struct check_plan *plan, struct check_part *part,
                    const struct check_limits *limits);

/* Bytes that it takes. */
size_t check_plan_memory(const struct check_plan *plan);

void check_plan_deinit(struct check_plan *plan);

#endif
