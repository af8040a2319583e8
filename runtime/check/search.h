/* search.h - what a search works on; for linearizable.c, explore.c and plan.c only. */
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

/* A thing that was done: op, or where that is CHECK_NEVER an effect that may happen any time. */
struct check_frame {
    uint32_t op;
    uint32_t state, first; /* before it */
    uint32_t always;       /* index of the plan's effects that may happen any time */
    bool is_pure;          /* done because nothing speaks against it: there is no choice to undo */
};

enum check_phase { CHECK_SETTLE, CHECK_CHOOSE, CHECK_OVER };

struct check_search {
    struct check_part *part;
    struct check_plan plan;
    struct check_memo memo;
    struct check_transitions transitions;
    struct check_frame *frames;
    size_t depth, frame_capacity;
    uint64_t *done; /* a bit an op: required ones first, open ones from open_at */
    uint64_t *key;  /* scratch: what the memo keeps of a configuration */
    size_t open_at, window_words, open_words;
    uint32_t state, first; /* first: the first required op that is not done */
    uint32_t at;           /* CHECK_CHOOSE: the entry to look at next */
    uint32_t always;       /* CHECK_CHOOSE, behind the last entry: the effect to try next */
    enum check_phase phase;
    int result;
    uint32_t asked_state, asked_effect;
    uint64_t steps;
    size_t memory_max;
    unsigned until_memory;
};

/* Does everything that may be next and changes nothing; then the phase is another. Returns 0,
 * CHECK_ASK, or an error: PERI_ENOMEM, PERI_ETOOBIG. */
int check_search_settle(struct check_search *search);

/* Does one thing that may be next and changes the state, or goes back. Returns as settle does. */
int check_search_choose(struct check_search *search);

#endif
